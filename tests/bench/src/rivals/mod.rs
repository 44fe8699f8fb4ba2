//! The rivals: each a sidecar in a pod of its own, behind iptables, as a mesh of sidecars puts it there.
//!
//! Comes in: where v1 and the v2s are. Goes out: a process that carries the pod's requests. Each has a configuration that its own people would
//! call tuned; README.md says why.

mod envoy;
mod haproxy;
mod nginx;
pub(crate) mod redirect;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use anyhow::{Context as _, Result};
use integration::{Node, Pod, parity::Server};
use nix::unistd::Pid;

use crate::{
    programs::{Programs, with_libraries},
    variant::{Product, Protocol},
};

/// Where requests and shadows go: the addresses of pods, which a mesh's control plane would tell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Endpoints {
    pub(crate) v1: Ipv4Addr,
    pub(crate) v2: Ipv4Addr,
    pub(crate) dead: Ipv4Addr,
    pub(crate) hung: Ipv4Addr,
    pub(crate) slow: Ipv4Addr,
}

impl Endpoints {
    /// The pods by the names of their subsets.
    pub(crate) fn named(&self) -> [(&'static str, Ipv4Addr); 5] {
        [("v1", self.v1), ("v2", self.v2), ("dead", self.dead), ("hung", self.hung), ("slow", self.slow)]
    }
}

/// A running sidecar.
#[derive(Debug)]
pub(crate) struct Rival {
    server: Server,
}

impl Rival {
    /// Starts a product in its pod and turns the pod's connections to it.
    pub(crate) fn start(product: Product, programs: &Programs, node: &Node, pod: &Pod, at: &Endpoints) -> Result<Self> {
        let words = match product {
            Product::Envoy => envoy::command(programs.envoy.as_ref(), node, at),
            Product::Haproxy => haproxy::command(programs.haproxy.as_ref(), node, at),
            Product::Nginx => nginx::command(programs.nginx.as_ref(), node, at),
            Product::Direct | Product::Understudy => anyhow::bail!("{} is no rival", product.name()),
        }?;
        // Not root, for the packet filter; but able to read where root's home is closed to others.
        let unprivileged =
            "setpriv --reuid 1337 --regid 1337 --clear-groups --inh-caps +dac_override --ambient-caps +dac_override";
        let mut all: Vec<String> = unprivileged.split(' ').map(str::to_owned).collect();
        all.extend(with_libraries());
        all.extend(words);
        let server = Server::start(node, pod, product.name(), Protocol::Http1.sidecar(), &all)
            .with_context(|| format!("{} does not start", product.name()))?;
        redirect::to_sidecar(pod)?;
        Ok(Self { server })
    }

    /// The leader of its process group.
    pub(crate) fn pid(&self) -> Pid {
        self.server.pid()
    }
}

/// The program, or why there is none.
fn program(found: std::result::Result<&PathBuf, &String>) -> Result<String> {
    found.map(|path| path.display().to_string()).map_err(|why| anyhow::anyhow!("{why}"))
}

/// Where a version listens.
fn endpoint(ip: Ipv4Addr, protocol: Protocol) -> SocketAddr {
    (ip, protocol.target()).into()
}
