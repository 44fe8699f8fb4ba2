//! Rounds: each runs every contestant once, one after the other, in an order that turns by one each time. What disturbs the machine for some
//! seconds disturbs neighbours alike; ratios are formed within a round, and what is reported is their median, lowest and highest.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result};

use crate::{
    cost::{Held, Meter},
    load::{Done, Load},
    pace::Pace,
    stats::Spread,
    variant::Variant,
    world::{Service, World},
};

/// A carrier and the service that is asked for through it.
#[derive(Clone, Copy)]
pub(crate) struct Contestant<'a> {
    pub(crate) variant: &'a Variant,
    pub(crate) service: Service,
}

impl Contestant<'_> {
    /// As the tables call it.
    pub(crate) fn name(&self) -> String {
        let carrier = self.variant.carrier.name();
        match self.service {
            Service::Plain | Service::Plain2 => carrier.to_owned(),
            Service::Mirrored | Service::Mirrored2 => format!("{carrier} + mirror"),
            Service::Tenth => format!("{carrier} + mirror 10 %"),
            Service::Dead => format!("{carrier} + dead mirror"),
        }
    }
}

/// One contestant in one round at saturation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) failed: u64,
    /// Requests a second.
    pub(crate) rate: f64,
    /// CPU of the proxy for each request, microseconds.
    pub(crate) proxy: f64,
    /// The kernel's part of it, 0 to 1.
    pub(crate) in_kernel: f64,
    /// CPU of the whole machine for each request: client, proxy and servers.
    pub(crate) machine: f64,
    /// Requests that v2 got for each that the client sent.
    pub(crate) copies: f64,
    pub(crate) held: Held,
}

/// All rounds of a contestant.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) samples: Vec<Sample>,
}

impl Row {
    pub(crate) fn spread(&self, of: fn(&Sample) -> f64) -> Spread {
        Spread::of(self.samples.iter().map(of))
    }

    /// Its values over another's, round by round.
    pub(crate) fn ratio(&self, to: &Self, of: fn(&Sample) -> f64) -> Spread {
        Spread::of(self.samples.iter().zip(&to.samples).map(|(own, other)| of(own) / of(other)))
    }
}

/// Between two stretches of load: what was under way ends, and is not charged to the next.
const REST: Duration = Duration::from_millis(150);

/// Plays the rounds at saturation.
///
/// # Errors
/// When a generator or a proxy fails.
pub(crate) fn saturated(world: &World, contestants: &[Contestant<'_>], load: Load, rounds: usize) -> Result<Vec<Row>> {
    let mut rows: Vec<_> = contestants.iter().map(|one| Row { name: one.name(), samples: Vec::new() }).collect();
    // What the first connections cost belongs to nobody.
    for one in contestants {
        Load { seconds: 1, ..load }.run(&one.variant.client, one.service).with_context(|| one.name())?;
    }
    for round in 0..rounds {
        for turn in 0..contestants.len() {
            let at = (round + turn) % contestants.len();
            let (Some(one), Some(row)) = (contestants.get(at), rows.get_mut(at)) else { continue };
            row.samples
                .push(sample(world, *one, load).with_context(|| format!("{}, round {}", one.name(), round + 1))?);
        }
    }
    Ok(rows)
}

fn sample(world: &World, one: Contestant<'_>, load: Load) -> Result<Sample> {
    thread::sleep(REST);
    let pid = one.variant.pid();
    let copies = world.v2.requests()?;
    let before = Meter::read(pid)?;
    let Done { requests, seconds, failed } = load.run(&one.variant.client, one.service)?;
    let cost = before.until(Meter::read(pid)?);
    let held = Held::read(pid)?;
    thread::sleep(REST);
    // The question itself is one request.
    let copies = world.v2.requests()?.saturating_sub(copies + 1);
    let each = requests.max(1) as f64;
    Ok(Sample {
        failed,
        rate: requests as f64 / seconds,
        proxy: cost.process * 1e6 / each,
        in_kernel: cost.in_kernel,
        machine: cost.machine * 1e6 / each,
        copies: copies as f64 / each,
        held,
    })
}

/// One contestant in one round at a constant rate, microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) failed: u64,
}

/// All rounds of a contestant.
#[derive(Clone, Debug)]
pub(crate) struct LatencyRow {
    pub(crate) name: String,
    pub(crate) samples: Vec<Latency>,
}

impl LatencyRow {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), samples: Vec::new() }
    }

    pub(crate) fn spread(&self, of: fn(&Latency) -> f64) -> Spread {
        Spread::of(self.samples.iter().map(of))
    }

    pub(crate) fn ratio(&self, to: &Self, of: fn(&Latency) -> f64) -> Spread {
        Spread::of(self.samples.iter().zip(&to.samples).map(|(own, other)| of(own) / of(other)))
    }
}

/// Plays rounds at a constant rate.
///
/// # Errors
/// When a proxy breaks a connection.
pub(crate) fn paced(contestants: &[Contestant<'_>], pace: Pace, rounds: usize) -> Result<Vec<LatencyRow>> {
    let mut rows: Vec<_> = contestants.iter().map(|one| LatencyRow { name: one.name(), samples: Vec::new() }).collect();
    for round in 0..rounds {
        for turn in 0..contestants.len() {
            let at = (round + turn) % contestants.len();
            let (Some(one), Some(row)) = (contestants.get(at), rows.get_mut(at)) else { continue };
            thread::sleep(REST);
            let done = pace.run(&one.variant.client, one.service).with_context(|| one.name())?;
            let at = |quantile| done.latency.value_at_quantile(quantile) as f64 / 1e3;
            row.samples.push(Latency { p50: at(0.5), p99: at(0.99), p999: at(0.999), failed: done.failed });
        }
    }
    Ok(rows)
}
