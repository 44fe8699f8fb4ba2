//! HAProxy as a sidecar, without a mirror (it has none of its own). Tuned: as many threads as cores, no log, connections to the server shared
//! by all clients.

use anyhow::Result;
use integration::{Pod, parity::Server};

use super::{WORKERS, port, sidecar};
use crate::{
    variant,
    world::{HTTP1, Service, World},
};

/// Starts it.
///
/// # Errors
/// When there is no HAProxy, or with what it says.
pub(crate) fn start(world: &World, client: &Pod) -> Result<Server> {
    let program = variant::program("haproxy/usr/sbin/haproxy", "haproxy")?;
    let (port, address) = (port(Service::Plain), world.v1.pod.v4());
    let text = format!(
        "global
  nbthread {WORKERS}
  maxconn 8000
defaults
  mode http
  timeout connect 10s
  timeout client 300s
  timeout server 300s
  http-reuse always
listen plain
  bind 127.0.0.1:{port} backlog 4096
  server v1 {address}:{HTTP1}
"
    );
    sidecar(world, client, "haproxy", &[Service::Plain], &text, |file| {
        vec![program.display().to_string(), "-db".to_owned(), "-f".to_owned(), file.display().to_string()]
    })
}
