//! What a process has used, and what came over a link: read from `/proc`, so that looking costs the one that is looked at nothing.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use nix::unistd::{Pid, SysconfVar, sysconf};
use serde_json::Value;

/// Memory of a process, in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// All that is resident.
    pub(crate) resident: u64,
    /// Of it, what no file stands behind.
    pub(crate) anonymous: u64,
}

/// A process's memory now.
///
/// # Errors
/// When it has ended.
pub(crate) fn memory(pid: Pid) -> Result<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("no process {pid}"))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').trim().split(' ').next()?.parse().ok()
    };
    Ok(Memory { resident: field("VmRSS").context("no VmRSS")?, anonymous: field("RssAnon").context("no RssAnon")? })
}

/// CPU time of all threads of a process, also of those that have ended; exact to a tick.
///
/// # Errors
/// When it has ended.
pub(crate) fn cpu(pid: Pid) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("no process {pid}"))?;
    // The second field is a name in brackets that may contain anything; utime and stime are fields 14 and 15 (proc_pid_stat(5)).
    let (_, rest) = stat.rsplit_once(')').context("no name")?;
    let ticks: u64 = rest.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    let rate = sysconf(SysconfVar::CLK_TCK)?.and_then(|rate| u32::try_from(rate).ok()).context("no clock tick")?;
    Ok(Duration::from_secs(ticks) / rate)
}

/// Bytes that came in over a link of the process's network namespace.
///
/// # Errors
/// When there is no such link.
pub(crate) fn received(pid: Pid, link: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/net/dev")).with_context(|| format!("no process {pid}"))?;
    of_link(&text, link)
}

fn of_link(text: &str, link: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(link)?.strip_prefix(':'));
    line.and_then(|fields| fields.split_whitespace().next()?.parse().ok()).with_context(|| format!("no link {link}"))
}

/// Connections of the process's network namespace that are established with a port elsewhere.
///
/// # Errors
/// When the process has ended.
pub(crate) fn connections(pid: Pid, port: u16) -> Result<usize> {
    let text = fs::read_to_string(format!("/proc/{pid}/net/tcp")).with_context(|| format!("no process {pid}"))?;
    let remote = format!(":{port:04X}");
    let established = |line: &&str| {
        let mut fields = line.split_whitespace().skip(2);
        fields.next().is_some_and(|field| field.ends_with(&remote)) && fields.next() == Some("01")
    };
    Ok(text.lines().filter(established).count())
}

/// Requests of the agents, by verb and resource, from the API server's audit log.
#[derive(Debug)]
pub(crate) struct Requests {
    log: PathBuf,
    seen: usize,
}

impl Requests {
    /// From now on.
    pub(crate) fn from_now(log: PathBuf) -> Self {
        let seen = fs::read(&log).map_or(0, |text| text.len());
        Self { log, seen }
    }

    /// What was asked since the last call: `list pods`, `watch pods`; a watch that has ended counts less.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(crate) fn take(&mut self) -> Result<BTreeMap<String, i64>> {
        let text = fs::read(&self.log).with_context(|| format!("cannot read {}", self.log.display()))?;
        let new = &text[self.seen.min(text.len())..];
        let whole = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.seen += whole;
        Ok(tally(&String::from_utf8_lossy(&new[..whole])))
    }
}

fn tally(lines: &str) -> BTreeMap<String, i64> {
    let mut counts = BTreeMap::new();
    for line in lines.lines() {
        let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
        let (Some(verb), Some(stage)) = (event["verb"].as_str(), event["stage"].as_str()) else { continue };
        let what = event["objectRef"]["resource"].as_str().unwrap_or("the API itself");
        let change = match (verb, stage) {
            ("watch", "ResponseStarted") => 1,
            ("watch", "ResponseComplete") => -1,
            (_, "ResponseComplete") => 1,
            _ => continue,
        };
        *counts.entry(format!("{verb} {what}")).or_default() += change;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_memory_and_time_are_read() {
        let memory = memory(Pid::this()).unwrap();
        assert!(memory.resident >= memory.anonymous && memory.anonymous > 0);
        let before = cpu(Pid::this()).unwrap();
        let start = std::time::Instant::now();
        while start.elapsed() < Duration::from_millis(100) {}
        assert!(cpu(Pid::this()).unwrap() > before);
        assert!(received(Pid::this(), "lo").is_ok() && received(Pid::this(), "no-such-link").is_err());
    }

    /// Fails if a watch counts once when it begins and once more when it ends.
    #[test]
    fn watches_that_have_ended_are_not_held() {
        let line = |verb: &str, stage: &str| {
            format!("{{\"verb\":\"{verb}\",\"stage\":\"{stage}\",\"objectRef\":{{\"resource\":\"pods\"}}}}\n")
        };
        let log = [
            line("list", "ResponseComplete"),
            line("watch", "ResponseStarted"),
            line("watch", "ResponseStarted"),
            line("watch", "ResponseComplete"),
        ];
        assert_eq!(tally(&log.concat()), [("list pods".to_owned(), 1), ("watch pods".to_owned(), 1)].into());
    }
}
