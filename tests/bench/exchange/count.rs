//! Instructions of the proxy for a number of requests, by callgrind.
//!
//! Two numbers of requests, and their difference: what a start, the first connections and an end cost is in both, and goes. Only instructions in
//! user mode are counted; the kernel's are no part of it.

use std::{
    env, fs,
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum as _;
use integration::{Netns, Process, needs, wait};

use crate::{
    case::Case,
    partners::{self, Rest, V1, V2},
};

/// What jemalloc does by the clock (it looks through its caches every 10 ms, and gives memory back later) would be counted by how slow the machine
/// is. Without that a figure is the same within one or two in a thousand.
const ALLOCATOR: &str = "experimental_tcache_gc:false,background_thread:false,dirty_decay_ms:-1,muzzy_decay_ms:-1";

/// Enough for pools and buffers to be as they stay, and enough more for a figure.
const FEW: u64 = 50;
const MANY: u64 = 550;

/// Instructions for each request of the steady part. The profile of the longer run stays in `dir`.
pub(crate) fn per_request(netns: &Netns, dir: &Path, case: Case) -> Result<f64> {
    let few = whole_run(netns, dir, case, FEW)?;
    let many = whole_run(netns, dir, case, MANY)?;
    ensure!(many > few, "{many} instructions for {MANY} requests, and {few} for {FEW}");
    Ok((many - few) as f64 / (MANY - FEW) as f64)
}

/// Room for the addresses of client, v1 and v2 in a namespace of their own.
pub(crate) fn lay(netns: &Netns) -> Result<()> {
    for address in [Ipv4Addr::new(10, 244, 1, 10), V1, V2] {
        netns.ip(&[&format!("address add {address}/32 dev lo")])?;
    }
    Ok(())
}

fn whole_run(netns: &Netns, dir: &Path, case: Case, requests: u64) -> Result<u64> {
    let name = case.to_possible_value().context("a case without a name")?.get_name().to_owned();
    let (profile, log) = (dir.join(format!("{name}.callgrind")), dir.join(format!("{name}.log")));
    let mut valgrind = Command::new(needs::program("valgrind"));
    valgrind.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", profile.display()));
    valgrind.arg(env::current_exe()?).args(["serve", &name]).env("_RJEM_MALLOC_CONF", ALLOCATOR);
    let mut proxy = Process::start(netns, "the counted proxy", &mut valgrind, &log)?;
    let [clients, end] = wait::until("the counted proxy says its ports", || {
        proxy.must_run()?;
        Ok(ports(&proxy.log()))
    })?;
    netns.run(|| {
        let loopback = |port| (Ipv4Addr::LOCALHOST, port);
        partners::play(case, loopback(clients).into(), Rest(proxy.pid()), requests)?;
        TcpStream::connect(loopback(end)).context("cannot end the counted proxy")?;
        Ok(())
    })?;
    let status = proxy.wait()?;
    if !status.success() {
        bail!("the counted proxy failed ({status}):\n{}", proxy.tail(20));
    }
    let text = fs::read_to_string(&profile).with_context(|| format!("no profile {}", profile.display()))?;
    total(&text).with_context(|| format!("no total in {}", profile.display()))
}

/// The line that the proxy writes, between those of valgrind.
fn ports(log: &str) -> Option<[u16; 2]> {
    log.lines().find_map(|line| {
        let (clients, end) = line.split_once(' ')?;
        Some([clients.parse().ok()?, end.parse().ok()?])
    })
}

fn total(profile: &str) -> Option<u64> {
    profile.lines().rev().find_map(|line| line.strip_prefix("totals: "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valgrind_s_lines_are_no_ports_and_the_last_total_counts() {
        assert_eq!(ports("==12== Callgrind, a profiler\n==12== 1 2\n"), None);
        assert_eq!(ports("==12== Command: x\n40001 40002\n"), Some([40001, 40002]));
        assert_eq!(total("events: Ir\ntotals: 5\nfn=(1)\ntotals: 77\n"), Some(77));
    }
}
