//! What the agent and its pods hold when nothing happens.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use integration::{
    fault_matrix::{Fault, Usage, World},
    in_kernel::InKernel,
    load::Manner,
    sockets::Sockets,
    wait,
};
use serde_json::{Value, json};

use crate::rounds::LIMITS;

/// A TCP connection that only one side has closed is the kernel's for a minute (net.ipv4.tcp_fin_timeout).
const PATIENCE: Duration = Duration::from_secs(90);
/// The allocator gives back what is free within so long; a fall of less than a hundredth is none.
const STILL: Duration = Duration::from_secs(15);

/// The agent at rest.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) usage: Usage,
    /// Tasks of the workers.
    pub(crate) tasks: f64,
    /// Entries of `ORIG`.
    pub(crate) origins: usize,
    /// Entries of `NETNS`.
    pub(crate) netns: usize,
    /// Sockets of the client's pod: the agent's and the client's own.
    pub(crate) client: Sockets,
    pub(crate) v2: Sockets,
    /// Gauges that count what goes on: connections, shadows, bytes that they hold.
    pub(crate) under_way: f64,
}

impl State {
    fn of(world: &World) -> Result<Self> {
        let pid = world.agent.pid();
        let kernel = InKernel::of(pid)?;
        let metrics = world.agent.metrics()?;
        let tasks = metrics.sum("understudy_worker_tasks", &[]);
        ensure!(tasks > 0.0, "the agent does not count its tasks");
        let gauges = ["understudy_connections_open", "understudy_shadows_active", "understudy_shadow_buffered_bytes"];
        Ok(Self {
            usage: Usage::of(pid)?,
            tasks,
            origins: kernel.origins()?,
            netns: kernel.netns()?.keys().count(),
            client: Sockets::of(world.client.netns())?,
            v2: Sockets::of(world.v2_pod.netns())?,
            under_way: gauges.iter().map(|name| metrics.sum(name, &[])).sum(),
        })
    }

    /// Lets go of everything that a fault holds and waits until nothing goes on any more; if that never comes, the state says what is left.
    ///
    /// # Errors
    /// When the agent has ended, or the accounting identity does not hold.
    pub(crate) fn at_rest(world: &World, fds: usize) -> Result<Self> {
        if let Some(healthy) = world.server(Fault::Healthy) {
            healthy.behave(Manner::Answers);
        }
        world.set(Fault::Healthy, LIMITS)?;
        world.agent.settled()?;
        // The agent lets go by itself; v2's held ends are v2's business.
        let mut now = Usage::default();
        let closed = wait::until_or("the agent has closed its connections", PATIENCE, || {
            now = Usage::of(world.agent.pid())?;
            Ok((now.fds <= fds).then_some(()))
        });
        if let Err(error) = closed {
            println!("{error:#}: {} files instead of {fds}", now.fds);
            return Self::of(world);
        }
        world.release();
        let mut state = Self::of(world)?;
        let quiet = wait::until_or("nothing goes on", PATIENCE, || {
            state = Self::of(world)?;
            let alive = state.client.alive() + state.v2.alive();
            Ok((alive == 0 && state.usage.fds <= fds && state.under_way == 0.0).then_some(()))
        });
        if let Err(error) = quiet {
            println!("{error:#}");
        }
        let (mut lowest, mut since) = (Usage::of(world.agent.pid())?, Instant::now());
        let settled = wait::until_or("memory is given back", PATIENCE, || {
            thread::sleep(Duration::from_millis(250));
            let now = Usage::of(world.agent.pid())?;
            if now.rss < lowest.rss - lowest.rss / 100 {
                (lowest, since) = (now, Instant::now());
            }
            Ok((since.elapsed() >= STILL).then_some(()))
        });
        if let Err(error) = settled {
            println!("{error:#}");
        }
        let settled = Self::of(world)?;
        // A scrape of ours may hold a file for a moment.
        let fds = settled.usage.fds.min(Usage::of(world.agent.pid())?.fds);
        Ok(Self { usage: Usage { fds, ..settled.usage }, ..settled })
    }

    /// For people.
    pub(crate) fn line(&self) -> String {
        format!(
            "{} files, {} tasks, {:.1} MiB resident, {} origins, {} namespaces, gauges {}; sockets of the client's pod: {}; of v2's: {}",
            self.usage.fds,
            self.tasks,
            self.usage.rss as f64 / 1024.0,
            self.origins,
            self.netns,
            self.under_way,
            self.client,
            self.v2
        )
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "fds": self.usage.fds, "rss_kib": self.usage.rss, "tasks": self.tasks, "origins": self.origins, "namespaces": self.netns,
            "gauges": self.under_way, "client_sockets": self.client.alive(), "v2_sockets": self.v2.alive(),
        })
    }
}
