//! The matrix with times: rounds with a healthy v2 and rounds with the fault, in turns, at a rate that the machine carries easily.
//!
//! The healthy row compares healthy rounds with healthy ones: what it shows is the noise, and no other row can be more exact than that. So it
//! comes first, and the bounds of all others are by that much wider; when it is above a bound by itself, the machine is too noisy to judge.

use std::{iter, time::Duration};

use anyhow::{Context as _, Result};
use integration::{
    fault_matrix::{
        Fault, Limits, Row, World,
        row::{self, list},
        usage::Usage,
    },
    load::{Load, Report},
};
use serde_json::{Value, json};

use crate::Phase;

/// A connect to a black hole does not take the round's whole time; all else is as it is by default.
pub(crate) const ARGS: [&str; 2] = ["--connect-timeout", "2s"];
/// The default concurrency; shadows that v2 never answers end within the round.
pub(crate) const LIMITS: Limits = Limits { timeout: 1, max_concurrent: 128 };
/// Ways to end that a limit of shadows may choose before v2's fault shows.
pub(crate) const SHED: [&str; 4] = ["shed_concurrency", "shed_memory", "shed_overload", "too_slow"];
/// How much slower the median of rounds with a fault may be.
const BOUNDS: [(f64, f64); 2] = [(0.5, 1.25), (0.99, 1.5)];
/// A difference that two processes taking turns on one CPU make by themselves, microseconds.
const RESOLUTION: f64 = 1000.0;
/// Lanes of each protocol.
const CONNECTIONS: u32 = 6;
const STREAMS: u32 = 2;
const ROUND: Duration = Duration::from_secs(2);

/// One quantile of one kind of request, over all rounds.
struct Compared {
    what: &'static str,
    quantile: f64,
    healthy: f64,
    faulty: f64,
    /// Lowest and highest ratio of neighbouring rounds.
    spread: (f64, f64),
    /// The median of these ratios: what disturbs the machine for some seconds disturbs both neighbours.
    paired: f64,
    bound: f64,
}

impl Compared {
    fn of(pairs: &[(Row, Row)], kind: usize, (quantile, bound): (f64, f64)) -> Self {
        let histogram = |report: &Report| {
            let histogram = if kind == 0 { &report.small } else { &report.uploads };
            histogram.value_at_quantile(quantile) as f64
        };
        let values: Vec<_> = pairs.iter().map(|(a, b)| (histogram(&a.report), histogram(&b.report))).collect();
        let ratios: Vec<_> = values.iter().map(|(a, b)| b / a).collect();
        Self {
            what: ["small", "upload"][kind],
            quantile,
            healthy: median(values.iter().map(|(a, _)| *a).collect()),
            faulty: median(values.iter().map(|(_, b)| *b).collect()),
            spread: ratios.iter().fold((f64::INFINITY, 0.0), |(low, high), ratio| (ratio.min(low), ratio.max(high))),
            paired: median(ratios),
            bound,
        }
    }

    fn ratio(&self) -> f64 {
        self.faulty / self.healthy
    }

    /// A fault is called slow if its median round is, if it is so beside its neighbours as well, and by more than can be told apart.
    fn holds(&self) -> bool {
        self.ratio() <= self.bound || self.paired <= self.bound || self.faulty - self.healthy <= RESOLUTION
    }

    /// How much two rounds of the same differ.
    fn noise(&self) -> f64 {
        if (self.faulty - self.healthy).abs() <= RESOLUTION { 1.0 } else { self.paired.max(1.0 / self.paired) }
    }

    fn cell(&self) -> String {
        let (low, high) = self.spread;
        format!("{:>6.0} {:>6.0} {:>5.2} [{low:.2}–{high:.2}]", self.healthy, self.faulty, self.ratio())
    }

    fn json(&self) -> Value {
        json!({
            "kind": self.what, "quantile": self.quantile, "healthy_us": self.healthy, "faulty_us": self.faulty,
            "ratio": self.ratio(), "lowest_ratio": self.spread.0, "highest_ratio": self.spread.1, "median_ratio_of_neighbours": self.paired, "bound": self.bound,
        })
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Plays every fault and prints its row.
pub(crate) fn play(world: &World, faults: &[Fault], rounds: usize, rate: u32) -> Result<Phase> {
    let pace = Duration::from_secs(1) * (CONNECTIONS + STREAMS) / rate;
    let requests = ROUND.as_millis() / pace.as_millis().max(1);
    let load = Load {
        connections: CONNECTIONS.into(),
        streams: STREAMS.into(),
        pace: Some(pace),
        requests: Some(requests as u64),
        small: false,
    };
    println!(
        "\nmatrix: {rounds} rounds of {} s with a healthy v2 and {rounds} with each fault, in turns; {rate} requests/s on {CONNECTIONS} connections of HTTP/1.1 \
         and {STREAMS} streams of HTTP/2, a fifth of them uploads (64 KiB and 1 MiB)\nµs: median of rounds healthy, faulty, their ratio, [lowest–highest ratio of neighbours]; bounds: p50 {} and p99 {}, \
         or {RESOLUTION} µs more, broken if neighbours say so too",
        ROUND.as_secs(),
        BOUNDS[0].1,
        BOUNDS[1].1
    );
    println!(
        "{:<22} {:>8} {:>5}  {:<33} {:<33} {:<33} {:<33} {:>14} {:>20}  outcomes",
        "v2", "requests", "wrong", "small p50", "small p99", "upload p50", "upload p99", "open files", "memory MiB"
    );
    let (mut numbers, mut broken) = (Vec::new(), Vec::new());
    // Nothing of the first requests' own costs is anybody's fault.
    row::play(world, Fault::Healthy, LIMITS, &load)?;
    let mut noise = [1.0; 4];
    let others = faults.iter().copied().filter(|fault| *fault != Fault::Healthy);
    for fault in iter::once(Fault::Healthy).chain(others) {
        let mut pairs = Vec::with_capacity(rounds);
        for round in 0..rounds {
            let played =
                |fault| row::play(world, fault, LIMITS, &load).with_context(|| format!("{fault:?}, round {round}"));
            // Whatever the order does, it does to both.
            pairs.push(if round % 2 == 0 {
                let healthy = played(Fault::Healthy)?;
                (healthy, played(fault)?)
            } else {
                let faulty = played(fault)?;
                (played(Fault::Healthy)?, faulty)
            });
        }
        for row in pairs.iter().flat_map(|(a, b)| [a, b]) {
            let promises = [row.check_bounds(&load), row.check_outcomes(&SHED)];
            broken.extend(promises.into_iter().filter_map(|kept| kept.err().map(|error| format!("{error:#}"))));
        }
        let mut compared: Vec<_> =
            [0, 1].into_iter().flat_map(|kind| BOUNDS.map(|bound| Compared::of(&pairs, kind, bound))).collect();
        if fault == Fault::Healthy {
            noise = std::array::from_fn(|at| compared.get(at).map_or(1.0, Compared::noise));
        } else {
            compared.iter_mut().zip(noise).for_each(|(compared, noise)| compared.bound *= noise);
        }
        for slow in compared.iter().filter(|compared| !compared.holds()) {
            let verdict = if fault == Fault::Healthy { "the machine is too noisy to judge: " } else { "" };
            broken.push(format!(
                "{verdict}{}: {} p{:.0} is {:.2} times as long as with a healthy v2; the bound is {:.2}",
                fault.name(),
                slow.what,
                slow.quantile * 100.0,
                slow.ratio(),
                slow.bound
            ));
        }
        numbers.push(print(fault, &pairs, &compared));
        if fault == Fault::Healthy {
            let [small50, small99, upload50, upload99] = noise;
            println!(
                "noise, by which the bounds are wider: {small50:.2} and {small99:.2}, uploads {upload50:.2} and {upload99:.2}"
            );
        }
    }
    for (fault, server) in &world.v2 {
        if server.broken() > 0 {
            broken.push(format!("{}: v2 got {} uploads with wrong bytes", fault.name(), server.broken()));
        }
    }
    Ok(Phase { numbers: json!({ "rounds": numbers }), broken })
}

fn print(fault: Fault, pairs: &[(Row, Row)], compared: &[Compared]) -> Value {
    let rows = || pairs.iter().map(|(_, row)| row);
    let sum = |of: fn(&Row) -> u64| rows().map(of).sum::<u64>();
    let mut outcomes: Vec<(&'static str, u64)> = Vec::new();
    for (name, count) in rows().flat_map(|row| &row.outcomes) {
        match outcomes.iter_mut().find(|(known, _)| known == name) {
            Some((_, total)) => *total += count,
            None => outcomes.push((name, *count)),
        }
    }
    let highest = rows().fold(Usage::default(), |highest, row| highest.max(row.highest));
    let before = rows().next().map_or_else(Usage::default, |row| row.before);
    let after = rows().next_back().map_or_else(Usage::default, |row| row.after);
    let mib = |usage: Usage| usage.rss as f64 / 1024.0;
    let (requests, wrong) = (sum(|row| row.report.requests), sum(|row| row.report.wrong));
    let cells: Vec<_> = compared.iter().map(|compared| format!("{:<33}", compared.cell())).collect();
    println!(
        "{:<22} {requests:>8} {wrong:>5}  {} {:>14} {:>20}  {}",
        fault.name(),
        cells.join(" "),
        format!("{} ↑{} →{}", before.fds, highest.fds, after.fds),
        format!("{:.1} ↑{:.1} →{:.1}", mib(before), mib(highest), mib(after)),
        list(&outcomes)
    );
    json!({
        "fault": fault.name(), "requests": requests, "wrong": wrong,
        "latency": compared.iter().map(Compared::json).collect::<Vec<_>>(),
        "fds": {"before": before.fds, "highest": highest.fds, "after": after.fds},
        "rss_kib": {"before": before.rss, "highest": highest.rss, "after": after.rss},
        "outcomes": outcomes.into_iter().map(|(name, count)| (name.to_owned(), count.into())).collect::<serde_json::Map<_, _>>(),
    })
}
