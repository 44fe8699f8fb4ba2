//! What a process holds: open files and resident memory, now and at the highest that was seen.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::unistd::Pid;

/// Open files and memory of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Open file descriptors.
    pub fds: usize,
    /// Resident memory, KiB.
    pub rss: u64,
}

impl Usage {
    /// What the process holds now.
    ///
    /// # Errors
    /// When it has ended.
    pub fn of(pid: Pid) -> Result<Self> {
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).with_context(|| format!("{pid} has ended"))?.count();
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().split(' ').next()?.parse().ok());
        Ok(Self { fds, rss: rss.context("no VmRSS")? })
    }

    /// The higher of each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self { fds: self.fds.max(other.fds), rss: self.rss.max(other.rss) }
    }
}

/// Watches a process until it is asked for the highest that it saw.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Usage>>,
}

impl Watch {
    /// Begins.
    #[must_use]
    pub fn over(pid: Pid) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let thread = thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let mut highest = Usage::default();
                while !stop.load(Ordering::Relaxed) {
                    highest = highest.max(Usage::of(pid).unwrap_or_default());
                    thread::sleep(Duration::from_millis(20));
                }
                highest.max(Usage::of(pid).unwrap_or_default())
            }
        });
        Self { stop, thread: Some(thread) }
    }

    /// The highest of each; ends the watch.
    #[must_use]
    pub fn highest(mut self) -> Usage {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
