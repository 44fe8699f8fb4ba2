//! What a stretch of load costs: CPU of a process with all that it started, CPU of the whole machine, memory and descriptors.
//!
//! Comes in: a process. Goes out: differences between two moments. The kernel's work for a packet that arrives is charged to whoever runs at
//! that moment, so a process's own figure is not the whole of what it causes: that is why the machine's is taken as well.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};
use nix::unistd::Pid;

/// Ticks of `/proc/*/stat` in a second (`USER_HZ`, the same on every Linux).
const TICKS: f64 = 100.0;

/// Counters at a moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meter {
    /// CPU of the process and its descendants.
    process: Duration,
    /// The same in ticks, of user code and of the kernel.
    user: f64,
    system: f64,
    /// Everything that the machine's cores have done, seconds.
    machine: f64,
}

/// Between two moments.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// CPU seconds of the process.
    pub(crate) process: f64,
    /// The part of it that was the kernel's, 0 to 1.
    pub(crate) in_kernel: f64,
    /// CPU seconds of the whole machine.
    pub(crate) machine: f64,
}

/// What it holds at a moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held {
    pub(crate) rss_kib: u64,
    pub(crate) descriptors: usize,
}

impl Meter {
    /// Reads them.
    ///
    /// # Errors
    /// When the process has ended.
    pub(crate) fn read(pid: Option<Pid>) -> Result<Self> {
        let mut meter = Self { machine: machine()?, ..Self::default() };
        for pid in pid.into_iter().flat_map(family) {
            for task in fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("process {pid} has ended"))? {
                let path = task?.path();
                // A thread that has just ended takes its own share with it.
                let Ok(text) = fs::read_to_string(path.join("schedstat")) else { continue };
                meter.process +=
                    Duration::from_nanos(text.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(0));
            }
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
            // The name in parentheses may have spaces.
            let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0);
            meter.user += ticks(11);
            meter.system += ticks(12);
        }
        Ok(meter)
    }

    /// What happened since.
    pub(crate) fn until(self, later: Self) -> Cost {
        let (user, system) = (later.user - self.user, later.system - self.system);
        Cost {
            process: later.process.saturating_sub(self.process).as_secs_f64(),
            in_kernel: if user + system > 0.0 { system / (user + system) } else { 0.0 },
            machine: later.machine - self.machine,
        }
    }
}

impl Held {
    /// Reads them.
    ///
    /// # Errors
    /// When the process has ended.
    pub(crate) fn read(pid: Option<Pid>) -> Result<Self> {
        let mut held = Self::default();
        for pid in pid.into_iter().flat_map(family) {
            let status = fs::read_to_string(format!("/proc/{pid}/status"))
                .with_context(|| format!("process {pid} has ended"))?;
            let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            held.rss_kib += rss.and_then(|rss| rss.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0);
            held.descriptors += fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        }
        Ok(held)
    }
}

/// A process and all below it.
fn family(pid: Pid) -> Vec<Pid> {
    let mut all = vec![pid];
    let mut at = 0;
    while let Some(parent) = all.get(at) {
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
        all.extend(children.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw));
        at += 1;
    }
    all
}

/// Seconds in which a core was not idle.
fn machine() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    let first = stat.lines().next().unwrap_or_default();
    let fields: Vec<f64> = first.split_whitespace().skip(1).filter_map(|ticks| ticks.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq
    let busy = [0, 1, 2, 5, 6].into_iter().filter_map(|at| fields.get(at)).sum::<f64>();
    Ok(busy / TICKS)
}
