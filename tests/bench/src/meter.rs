//! Who used the CPU between two moments: a process group, and the machine as a whole.
//!
//! A process's time is its threads' run time in nanoseconds, as the scheduler counts it; its split into user and kernel is by the kernel's own
//! sampling. Work of the network stack that is done in passing (softirq) lands on whoever runs at the moment: that is why the machine's time
//! is here too, and why no process's time alone says what a request costs.

use std::{fs, path::Path, time::Instant};

use anyhow::{Context as _, Result};
use nix::unistd::{Pid, SysconfVar, sysconf};
use serde::Serialize;

/// A moment.
#[derive(Debug)]
pub(crate) struct Meter {
    group: Option<Pid>,
    before: Reading,
    start: Instant,
}

#[derive(Clone, Copy, Debug, Default)]
struct Reading {
    /// Nanoseconds of the group's threads.
    run: u64,
    /// Ticks of the group in user mode, and in the kernel.
    user: u64,
    system: u64,
    /// Ticks of the machine that were not idle, those in softirq, and those that the machine below took away.
    busy: u64,
    softirq: u64,
    stolen: u64,
}

/// What was used.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Used {
    /// How long it was watched.
    pub(crate) seconds: f64,
    /// CPU seconds of the process group.
    pub(crate) group: f64,
    /// The part of them that was spent in the kernel, 0 to 1.
    pub(crate) kernel_share: f64,
    /// CPU seconds of the machine, all of it.
    pub(crate) machine: f64,
    /// Those of them that were accounted to softirq.
    pub(crate) softirq: f64,
    /// CPU seconds that another machine had: noise.
    pub(crate) stolen: f64,
}

impl Meter {
    /// Begins.
    pub(crate) fn start(group: Option<Pid>) -> Result<Self> {
        Ok(Self { group, before: Reading::take(group)?, start: Instant::now() })
    }

    /// Ends.
    pub(crate) fn end(self) -> Result<Used> {
        let seconds = self.start.elapsed().as_secs_f64();
        let (now, before) = (Reading::take(self.group)?, self.before);
        let tick = 1.0 / sysconf(SysconfVar::CLK_TCK)?.unwrap_or(100) as f64;
        let ticks = |now: u64, before: u64| now.saturating_sub(before) as f64 * tick;
        let (user, system) = (ticks(now.user, before.user), ticks(now.system, before.system));
        Ok(Used {
            seconds,
            group: now.run.saturating_sub(before.run) as f64 / 1e9,
            kernel_share: if user + system > 0.0 { system / (user + system) } else { 0.0 },
            machine: ticks(now.busy, before.busy),
            softirq: ticks(now.softirq, before.softirq),
            stolen: ticks(now.stolen, before.stolen),
        })
    }
}

impl Reading {
    fn take(group: Option<Pid>) -> Result<Self> {
        let mut reading = Self::default();
        reading.machine()?;
        for pid in group.map(members).unwrap_or_default() {
            // One that ends meanwhile has nothing more to say.
            let _ = reading.process(&Path::new("/proc").join(pid.to_string()));
        }
        Ok(reading)
    }

    fn machine(&mut self) -> Result<()> {
        let text = fs::read_to_string("/proc/stat")?;
        let line = text.lines().next().context("/proc/stat is empty")?;
        let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal
        let at = |index: usize| ticks.get(index).copied().unwrap_or_default();
        self.busy = at(0) + at(1) + at(2) + at(5) + at(6);
        self.softirq = at(6);
        self.stolen = at(7);
        Ok(())
    }

    fn process(&mut self, dir: &Path) -> Result<()> {
        for task in fs::read_dir(dir.join("task"))?.flatten() {
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            self.run += text.split(' ').next().and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
        }
        let fields = stat(dir)?;
        let at = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
        self.user += at(11);
        self.system += at(12);
        Ok(())
    }
}

/// Fields of a process's `stat` from its state on.
fn stat(dir: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(dir.join("stat"))?;
    // The name before may have any character.
    let (_, rest) = text.rsplit_once(')').context("no name in a process's stat")?;
    Ok(rest.split_whitespace().map(str::to_owned).collect())
}

/// The processes of a group.
pub(crate) fn members(group: Pid) -> Vec<Pid> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            let fields = stat(&Path::new("/proc").join(pid.to_string())).unwrap_or_default();
            fields.get(2).and_then(|field| field.parse().ok()) == Some(group.as_raw())
        })
        .map(Pid::from_raw)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{hint::black_box, time::Duration};

    #[test]
    fn a_busy_process_is_seen_and_counts_for_the_machine() {
        let meter = Meter::start(Some(nix::unistd::getpgrp())).unwrap();
        let until = Instant::now() + Duration::from_millis(200);
        while Instant::now() < until {
            black_box(0);
        }
        let used = meter.end().unwrap();
        assert!(used.group > 0.02 && used.machine > 0.02, "{used:?}");
    }
}
