//! The proxies that are compared, each configured as somebody would who wants it to win.
//!
//! Sidecars run in the client's pod under a user of their own, and the pod's connections to the services are led to them by iptables REDIRECT, as
//! Istio does. Their endpoints are addresses of pods, as a control plane would give them.

pub(crate) mod envoy;
pub(crate) mod haproxy;
pub(crate) mod nginx;
pub(crate) mod understudy;

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use integration::{Pod, parity::Server};

use crate::world::{PORT, Service, World};

/// The user whose connections are not led back to the proxy; Istio's number.
const USER: &str = "1337";
/// Workers of each: as many as the machine has cores.
pub(crate) const WORKERS: usize = 2;

/// The port at which a sidecar takes a service's connections.
pub(crate) fn port(service: Service) -> u16 {
    15001 + service as u16
}

/// Leads the pod's connections to the services to the sidecar's ports.
fn redirect(client: &Pod, services: &[Service]) -> Result<()> {
    for service in services {
        let (address, to) = (service.address().ip().to_string(), port(*service).to_string());
        let output = client.exec(&[
            "iptables",
            "-w",
            "-t",
            "nat",
            "-A",
            "OUTPUT",
            "-p",
            "tcp",
            "-d",
            &address,
            "--dport",
            &PORT.to_string(),
            "-m",
            "owner",
            "!",
            "--uid-owner",
            USER,
            "-j",
            "REDIRECT",
            "--to-ports",
            &to,
        ])?;
        ensure!(output.status.success(), "iptables: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Writes its configuration, starts it in the client's pod, and leads the services to it.
fn sidecar(
    world: &World,
    client: &Pod,
    name: &str,
    services: &[Service],
    config: &str,
    words: impl FnOnce(PathBuf) -> Vec<String>,
) -> Result<Server> {
    let dir = folder(world, name)?;
    // Envoy goes by the ending; the others do not care.
    let file = dir.join(format!("{name}.yaml"));
    fs::write(&file, config.replace("DIR", &dir.display().to_string()))
        .with_context(|| format!("cannot write {}", file.display()))?;
    let mut all = vec!["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", "--"];
    let own = words(file);
    all.extend(own.iter().map(String::as_str));
    let all: Vec<_> = all.into_iter().map(str::to_owned).collect();
    let first = services.first().copied().unwrap_or(Service::Plain);
    let server = Server::start(&world.node, client, name, port(first), &all)?;
    redirect(client, services)?;
    Ok(server)
}

/// A folder in which the sidecar's user may write.
fn folder(world: &World, name: &str) -> Result<PathBuf> {
    let dir = world.node.dir().join(format!("sidecar-{name}"));
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let user = USER.parse().ok();
    std::os::unix::fs::chown(&dir, user, user).with_context(|| format!("cannot give {} away", dir.display()))?;
    Ok(dir)
}
