//! What the agent and its pods hold when nothing happens.

use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use integration::{
    fault_matrix::{Fault, Usage, World},
    in_kernel::InKernel,
    load::Manner,
    sockets::Sockets,
    wait,
};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::rounds::LIMITS;

/// A TCP connection that only one side has closed is the kernel's for a minute (net.ipv4.tcp_fin_timeout).
const PATIENCE: Duration = Duration::from_secs(90);
/// Memory is settled when it has not changed for so many looks.
const LOOKS: u32 = 20;
const BETWEEN: Duration = Duration::from_millis(250);

/// The agent at rest.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) usage: Usage,
    /// Memory after the allocator has given back what it keeps for later, KiB; unknown without gdb.
    pub(crate) in_use: Option<u64>,
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
        let gauges = ["understudy_connections_open", "understudy_shadows_active", "understudy_shadow_buffered_bytes"];
        Ok(Self {
            usage: Usage::of(pid)?,
            in_use: None,
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
        let (mut same, mut last) = (0, 0);
        wait::until_or("memory does not change any more", PATIENCE, || {
            thread::sleep(BETWEEN);
            let now = Usage::of(world.agent.pid())?.rss;
            same = if now == last { same + 1 } else { 0 };
            last = now;
            Ok((same >= LOOKS).then_some(()))
        })
        .context("the agent's memory changes although nothing goes on")?;
        let settled = Self::of(world)?;
        let in_use = trimmed(world.agent.pid());
        // While gdb held it the agent was a hung one, which new connections go past: it must have come back before there are any.
        let (kernel, mut beats) = (InKernel::of(world.agent.pid())?, BTreeSet::new());
        wait::until("the agent's heart beats again", || {
            beats.insert(kernel.heartbeat()?);
            Ok((beats.len() > 3).then_some(()))
        })?;
        // A scrape of ours may hold a file for a moment.
        let fds = settled.usage.fds.min(Usage::of(world.agent.pid())?.fds);
        Ok(Self { in_use, usage: Usage { fds, ..settled.usage }, ..settled })
    }

    /// What is compared: memory in use where that is known, else all that is resident.
    pub(crate) fn memory(&self) -> u64 {
        self.in_use.unwrap_or(self.usage.rss)
    }

    /// For people.
    pub(crate) fn line(&self) -> String {
        format!(
            "{} files, {} KiB ({} KiB without what malloc keeps), {} origins, {} namespaces, gauges {}; sockets of the client's pod: {}; of v2's: {}",
            self.usage.fds,
            self.usage.rss,
            self.in_use.map_or("?".to_owned(), |kib| kib.to_string()),
            self.origins,
            self.netns,
            self.under_way,
            self.client,
            self.v2
        )
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "fds": self.usage.fds, "rss_kib": self.usage.rss, "rss_trimmed_kib": self.in_use, "origins": self.origins, "namespaces": self.netns,
            "gauges": self.under_way, "client_sockets": self.client.alive(), "v2_sockets": self.v2.alive(),
        })
    }
}

/// Lets the process's allocator give back what it keeps for later, and looks again. glibc keeps freed memory between chunks that live and at the
/// top of each thread's arena: after a peak it stays resident until somebody needs it or asks for it back (malloc_trim(3)). It is no leak, and it
/// hides one. `None` without gdb, or if the process cannot be asked.
fn trimmed(pid: Pid) -> Option<u64> {
    let mut gdb = Command::new("gdb");
    gdb.args(["-p", &pid.to_string(), "-nx", "-batch", "-ex", "call (int)malloc_trim(0)"]).stdin(Stdio::null());
    let output = gdb.output().ok()?;
    // gdb says `$1 = 1`, or why it could not.
    String::from_utf8_lossy(&output.stdout).contains("$1 = ").then_some(())?;
    Some(Usage::of(pid).ok()?.rss)
}
