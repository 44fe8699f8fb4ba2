//! Who made a namespace: its name carries the process, so that what a killed process left can be told from what is in use.
//!
//! A name is `us-PID-START-N-NAME`: the maker's process id and start time (so that a reused id does not count), the number of the world in
//! that process, and what it is.

use std::{
    fs,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result};

/// First letters of every name that the lab makes outside of `target`.
pub const PREFIX: &str = "us-";

static WORLDS: AtomicU32 = AtomicU32::new(0);

/// Start time of a process in clock ticks after boot; `None` if there is no such process.
#[must_use]
pub fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets and may contain anything; field 22 is the start time (proc_pid_stat(5)).
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

/// A fresh id for a world of this process.
///
/// # Errors
/// When /proc is not there.
pub fn new_id() -> Result<String> {
    let pid = std::process::id();
    let start = start_time(pid).context("cannot read /proc/self/stat; is /proc mounted?")?;
    Ok(format!("{PREFIX}{pid}-{start}-{}", WORLDS.fetch_add(1, Ordering::Relaxed)))
}

/// True if the name is one of the lab's and the process that made it is gone.
#[must_use]
pub fn is_stale(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else { return false };
    let mut parts = rest.splitn(3, '-');
    let (Some(Ok(pid)), Some(Ok(start))) = (parts.next().map(str::parse::<u32>), parts.next().map(str::parse::<u64>))
    else {
        return false;
    };
    start_time(pid) != Some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_names_are_in_use() {
        assert!(!is_stale(&format!("{}-node", new_id().unwrap())));
    }

    #[test]
    fn a_name_of_a_reused_process_id_is_stale() {
        assert!(is_stale(&format!("us-{}-1-0-node", std::process::id())));
    }

    #[test]
    fn foreign_names_are_left_alone() {
        assert!(!is_stale("us-east"));
        assert!(!is_stale("cni-1234"));
        assert!(!is_stale("us-sleep"));
    }
}
