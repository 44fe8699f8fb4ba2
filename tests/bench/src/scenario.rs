//! What is measured, in which order.

use anyhow::{Context as _, Result};

use crate::{
    load::{Ask, Load},
    pace::Pace,
    report::Report,
    rounds::{self, Contestant, LatencyRow},
    world::{Service, World},
};

/// What scenarios have.
pub(crate) struct Stage<'a> {
    pub(crate) world: &'a World,
    /// Everybody who can serve it.
    pub(crate) all: &'a dyn Fn(Service) -> Vec<Contestant<'a>>,
    pub(crate) quick: bool,
}

impl<'a> Stage<'a> {
    fn rounds(&self, full: usize) -> usize {
        if self.quick { full.div_ceil(2).max(2) } else { full }
    }

    fn seconds(&self, full: u64) -> u64 {
        if self.quick { full.div_ceil(2) } else { full }
    }

    fn contestants(&self, services: &[Service]) -> Vec<Contestant<'a>> {
        services.iter().flat_map(|service| (self.all)(*service)).collect()
    }

    fn saturate(&self, report: &mut Report, name: &str, services: &[Service], load: Load, rounds: usize) -> Result<()> {
        let load = Load { seconds: self.seconds(load.seconds), ..load };
        let rows = rounds::saturated(self.world, &self.contestants(services), load, self.rounds(rounds))?;
        report.saturated(name, rows);
        Ok(())
    }
}

/// One of them.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) play: fn(&Stage<'_>, &mut Report) -> Result<()>,
}

const BOTH: [Service; 2] = [Service::Plain, Service::Mirrored];

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "keep-alive",
        about: "small bodies on 64 connections that stay",
        play: |stage, report| stage.saturate(report, "keep-alive", &BOTH, load(Ask::Small, 64), 5),
    },
    Scenario {
        name: "close",
        about: "a connection for each request, 16 at a time",
        play: |stage, report| stage.saturate(report, "close", &BOTH, load(Ask::Close, 16), 5),
    },
    Scenario { name: "latency", about: "at half of what the slowest carries, constant rate", play: latency },
    Scenario { name: "reload", about: "latency while a rule changes every second, beside quiet rounds", play: reload },
    Scenario {
        name: "one",
        about: "small bodies on one connection",
        play: |stage, report| stage.saturate(report, "one", &BOTH, load(Ask::Small, 1), 3),
    },
    Scenario {
        name: "thousand",
        about: "small bodies on 1,000 connections",
        play: |stage, report| stage.saturate(report, "thousand", &BOTH, load(Ask::Small, 1000), 3),
    },
    Scenario {
        name: "10k",
        about: "answers of 10 KiB on 64 connections",
        play: |stage, report| stage.saturate(report, "10k", &BOTH, load(Ask::Body10K, 64), 3),
    },
    Scenario {
        name: "1m",
        about: "answers of 1 MiB on 16 connections",
        play: |stage, report| stage.saturate(report, "1m", &BOTH, load(Ask::Body1M, 16), 3),
    },
    Scenario {
        name: "upload",
        about: "uploads of 1 MiB on 8 connections",
        play: |stage, report| stage.saturate(report, "upload", &BOTH, load(Ask::Upload, 8), 3),
    },
    Scenario {
        name: "http2",
        about: "small bodies over HTTP/2, 8 connections of 16 streams",
        play: |stage, report| {
            stage.saturate(report, "http2", &[Service::Plain2, Service::Mirrored2], load(Ask::Http2, 8), 3)
        },
    },
    Scenario {
        name: "tenth",
        about: "a tenth of the requests is mirrored, 64 connections",
        play: |stage, report| stage.saturate(report, "tenth", &[Service::Tenth], load(Ask::Small, 64), 3),
    },
];

fn load(ask: Ask, connections: usize) -> Load {
    Load { ask, connections, seconds: 3 }
}

/// The primary's latency, alone and with its mirrors, at a rate that everybody carries with ease.
fn latency(stage: &Stage<'_>, report: &mut Report) -> Result<()> {
    let contestants = stage.contestants(&[Service::Plain, Service::Mirrored, Service::Dead]);
    let pace = pace(stage, report)?;
    let rows = rounds::paced(&contestants, pace, stage.rounds(5))?;
    report.paced("latency", pace, rows);
    Ok(())
}

/// Half of what the slowest carries.
fn pace(stage: &Stage<'_>, report: &Report) -> Result<Pace> {
    let slowest = match report.slowest("keep-alive") {
        Some(rate) => rate,
        None => {
            let load = Load { seconds: 1, ..load(Ask::Small, 64) };
            let rows = rounds::saturated(stage.world, &stage.contestants(&BOTH), load, 1)?;
            let rates = rows.iter().map(|row| row.spread(|sample| sample.rate).median);
            rates.min_by(f64::total_cmp).context("nobody plays")?
        }
    };
    Ok(Pace { rate: (slowest / 2.0).floor(), connections: 64, seconds: stage.seconds(4) as f64 })
}

/// Quiet rounds and rounds in which the agent gets a changed rule each second.
fn reload(stage: &Stage<'_>, report: &mut Report) -> Result<()> {
    let pace = pace(stage, report)?;
    let all = stage.contestants(&[Service::Mirrored]);
    let own = all.into_iter().find_map(|one| Some((one, one.variant.agent()?))).context("Understudy does not play")?;
    let (contestant, agent) = own;
    let mut rows = vec![LatencyRow::new("quiet"), LatencyRow::new("quiet, a rule changes each second")];
    for round in 0..stage.rounds(5) {
        // Whatever the order does, it does to both.
        for turn in [round % 2, 1 - round % 2] {
            let samples = if turn == 0 {
                rounds::paced(&[contestant], pace, 1)?
            } else {
                agent.restless(|| rounds::paced(&[contestant], pace, 1))?
            };
            if let Some(row) = rows.get_mut(turn) {
                row.samples.extend(samples.into_iter().flat_map(|row| row.samples));
            }
        }
    }
    report.paced("reload", pace, rows);
    Ok(())
}
