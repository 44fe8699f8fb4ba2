//! The variants: who stands between the client and v1, and in which pod the client is.

use std::path::PathBuf;

use anyhow::{Result, bail};
use integration::{Pod, parity::Server};
use nix::unistd::Pid;

use crate::{
    rivals::{envoy, haproxy, nginx, understudy},
    world::World,
};

/// Who carries the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Carrier {
    /// Nobody: address translation alone.
    Direct,
    Understudy,
    Envoy,
    Haproxy,
    Nginx,
}

impl Carrier {
    pub(crate) const ALL: [Self; 5] = [Self::Direct, Self::Understudy, Self::Envoy, Self::Haproxy, Self::Nginx];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Understudy => "Understudy",
            Self::Envoy => "Envoy",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
        }
    }

    /// True if it can send a copy to v2.
    pub(crate) fn mirrors(self) -> bool {
        matches!(self, Self::Understudy | Self::Envoy | Self::Nginx)
    }

    /// True if it was set up for HTTP/2 to the server too.
    pub(crate) fn speaks_http2(self) -> bool {
        matches!(self, Self::Direct | Self::Understudy | Self::Envoy)
    }
}

/// What carries, running.
#[derive(Debug)]
enum Running {
    Nobody,
    Agent(Box<understudy::Agent>),
    Sidecar(Server),
}

/// A carrier with its client's pod.
#[derive(Debug)]
pub(crate) struct Variant {
    pub(crate) carrier: Carrier,
    running: Running,
    /// Where the load comes from.
    pub(crate) client: Pod,
}

impl Variant {
    /// Starts it.
    ///
    /// # Errors
    /// When its program is not there, or does not start; the reason is for the report.
    pub(crate) fn start(world: &World, carrier: Carrier) -> Result<Self> {
        let name = format!("client-{}", carrier.name().to_lowercase());
        let client = world.node.pod(&name).start()?;
        let running = match carrier {
            Carrier::Direct => Running::Nobody,
            Carrier::Understudy => Running::Agent(Box::new(understudy::Agent::start(world, &client)?)),
            Carrier::Envoy => Running::Sidecar(envoy::start(world, &client)?),
            Carrier::Haproxy => Running::Sidecar(haproxy::start(world, &client)?),
            Carrier::Nginx => Running::Sidecar(nginx::start(world, &client)?),
        };
        Ok(Self { carrier, running, client })
    }

    /// Its process; nginx' has the workers below it.
    pub(crate) fn pid(&self) -> Option<Pid> {
        match &self.running {
            Running::Nobody => None,
            Running::Agent(agent) => Some(agent.pid()),
            Running::Sidecar(server) => Some(server.process.pid()),
        }
    }

    /// The agent, for what only it can be asked.
    pub(crate) fn agent(&self) -> Option<&understudy::Agent> {
        if let Running::Agent(agent) = &self.running { Some(agent) } else { None }
    }
}

/// A rival's program, unpacked by `cargo xtask bench`, or the system's own.
pub(crate) fn program(unpacked: &str, name: &str) -> Result<PathBuf> {
    let here = integration::paths::workspace().join("target/rivals").join(unpacked);
    if here.is_file() {
        return Ok(here);
    }
    match integration::needs::find(name) {
        Some(found) => Ok(found),
        None => bail!("no {name}: neither {} nor on PATH; `cargo xtask bench` fetches it", here.display()),
    }
}
