//! A stretch of time: what the agent and the API server used in it, and what came over the link between them.

use std::time::{Duration, Instant};

use anyhow::Result;
use integration::Agent;
use nix::unistd::Pid;

use crate::{
    control_plane::ControlPlane,
    meter,
    report::{Section, Unit},
};

/// Where the numbers are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gauge<'a> {
    agent: Pid,
    server: Pid,
    link: &'a str,
}

/// What was used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    /// How long it was.
    pub(crate) time: Duration,
    /// CPU time of the agent.
    pub(crate) agent: Duration,
    /// CPU time of the API server.
    pub(crate) server: Duration,
    /// Bytes from the API server, with all headers.
    pub(crate) received: u64,
}

/// It begins when it is made.
#[derive(Debug)]
pub(crate) struct Window<'a> {
    gauge: Gauge<'a>,
    begun: Instant,
    before: Used,
}

impl<'a> Gauge<'a> {
    /// Of this agent, which is on the node that the control plane is linked to.
    pub(crate) fn new(agent: &Agent, plane: &'a ControlPlane) -> Self {
        Self { agent: agent.pid(), server: plane.pid(), link: plane.pod.host_interface() }
    }

    /// Begins a window.
    ///
    /// # Errors
    /// When one of the processes has ended.
    pub(crate) fn begin(self) -> Result<Window<'a>> {
        Ok(Window { gauge: self, begun: Instant::now(), before: self.read(Duration::ZERO)? })
    }

    fn read(self, time: Duration) -> Result<Used> {
        Ok(Used {
            time,
            agent: meter::cpu(self.agent)?,
            server: meter::cpu(self.server)?,
            received: meter::received(self.agent, self.link)?,
        })
    }
}

impl Window<'_> {
    /// What was used since its beginning.
    ///
    /// # Errors
    /// When one of the processes has ended.
    pub(crate) fn end(&self) -> Result<Used> {
        let now = self.gauge.read(self.begun.elapsed())?;
        Ok(Used {
            agent: now.agent.saturating_sub(self.before.agent),
            server: now.server.saturating_sub(self.before.server),
            received: now.received - self.before.received,
            ..now
        })
    }
}

impl Used {
    /// Bytes beyond what comes anyway, at this rate per second.
    pub(crate) fn beyond(&self, idle: f64) -> f64 {
        (self.received as f64 - idle * self.time.as_secs_f64()).max(0.0)
    }

    /// Adds bytes and CPU of each of so many events.
    pub(crate) fn per(&self, events: usize, what: &str, idle: f64, section: &mut Section) {
        let each = events.max(1) as f64;
        section
            .add("events", &format!("{what}s"), events as f64, Unit::Count)
            .add("time", "time that they took", self.time.as_secs_f64(), Unit::Seconds)
            .add("received", "bytes received in all", self.received as f64, Unit::Bytes)
            .add(
                "each",
                &format!("bytes per {what}, beyond what comes when idle"),
                self.beyond(idle) / each,
                Unit::Bytes,
            )
            .add("agent_cpu", &format!("agent: CPU per {what}"), self.agent.as_secs_f64() * 1e3 / each, Unit::Millis)
            .add(
                "server_cpu",
                &format!("API server: CPU per {what}, writes included"),
                self.server.as_secs_f64() * 1e3 / each,
                Unit::Millis,
            );
    }
}
