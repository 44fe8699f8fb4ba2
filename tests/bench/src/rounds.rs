//! Rounds: every variant once in each, in an order that rotates, so that whatever disturbs the machine disturbs all alike.

use std::{
    panic::resume_unwind,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use integration::{Pod, fault_matrix::Usage};
use nix::unistd::Pid;

use crate::{
    load::{self, Kind, Load, Outcome},
    meter::{Meter, members},
    origin::Seen,
    sample::Sample,
    scenario::Scenario,
    variant::{Flavour, Product, Protocol, Variant},
    world::World,
};

/// How long shadows may come after the last answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the rounds of a scenario gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Played {
    pub(crate) samples: Vec<Sample>,
    /// Variants that could not be measured, and why.
    pub(crate) missing: Vec<(Variant, String)>,
    /// How long all of it took.
    pub(crate) took: Duration,
}

/// Plays a scenario. `slowest` is what paced loads take a share of, requests/s.
pub(crate) fn play(world: &mut World, scenario: &Scenario, slowest: f64) -> Result<Played> {
    let start = Instant::now();
    world.ours.run(&world.node, scenario.args)?;
    let mut played = Played::default();
    let mut variants = Vec::new();
    for variant in &scenario.variants {
        match world.why_not(*variant) {
            Some(why) => played.missing.push((*variant, why.to_owned())),
            None => variants.push(*variant),
        }
    }
    for round in 0..scenario.rounds {
        for offset in 0..variants.len() {
            let Some(variant) = variants.get((round + offset) % variants.len()).copied() else { continue };
            if played.missing.iter().any(|(missing, _)| *missing == variant) {
                continue;
            }
            match one(world, scenario, variant, round, slowest) {
                Ok(sample) => played.samples.push(sample),
                // The others go on: one that cannot be measured is a row that says so.
                Err(error) => played.missing.push((variant, format!("{error:#}"))),
            }
        }
    }
    played.took = start.elapsed();
    Ok(played)
}

/// One run.
pub(crate) fn one(world: &World, scenario: &Scenario, variant: Variant, round: usize, slowest: f64) -> Result<Sample> {
    let carrier = world.carrier(variant.product);
    let client = world.client(variant.product)?;
    let seen = (world.v1.seen()?, world.v2.seen()?);
    let meter = Meter::start(carrier)?;
    let outcome = ask(world, scenario, variant, client, slowest)?;
    let used = meter.end()?;
    let usage = carrier.map(usage).unwrap_or_default();
    ensure!(outcome.requests > 0, "no request was answered well ({} errors)", outcome.errors);
    ensure!(
        outcome.errors * 100 <= outcome.requests,
        "{} errors beside {} good answers: no fair measure",
        outcome.errors,
        outcome.requests
    );
    let counted = match scenario.load {
        Load::Saturating { kind, .. } => kind.counted(),
        Load::Paced { .. } => Kind::Small.counted(),
    };
    let now = settled(world)?;
    let answered = outcome.requests + outcome.warm_up;
    let shadows = (now.1.requests - seen.1.requests) as f64 / (answered * counted) as f64;
    if matches!(scenario.load, Load::Saturating { .. }) {
        // A request without its shadow is cheaper: such a figure would be no comparison.
        let share = f64::from(variant.flavour.percentage()) / 100.0;
        ensure!(
            (share * 0.95 - 0.005..=share * 1.15 + 0.02).contains(&shadows),
            "v2 saw {shadows:.3} requests for each, and {share} were to come"
        );
    }
    let connections = now.0.connections + now.1.connections - seen.0.connections - seen.1.connections;
    Ok(Sample {
        variant,
        round,
        requests: outcome.requests,
        errors: outcome.errors,
        warm_up: outcome.warm_up,
        per_second: outcome.requests as f64 / outcome.seconds,
        shadows,
        connections: connections as f64 / answered as f64,
        used,
        rss_kib: usage.rss,
        fds: usage.fds,
        latency: outcome.latency,
    })
}

/// Plays the load, and beside it what the flavour has another pod ask of v2.
fn ask(world: &World, scenario: &Scenario, variant: Variant, client: &Pod, slowest: f64) -> Result<Outcome> {
    let (load, seconds) = (scenario.load, scenario.seconds);
    let play = || load::play(load, &world.programs, client, variant.flavour, seconds, slowest);
    if variant.flavour != Flavour::Beside {
        return play();
    }
    let (other, v2) = (world.client(Product::Direct)?, world.v2.address(Protocol::Http1));
    ensure!(matches!(load, Load::Paced { .. }), "{variant} is a row of paced loads: `--only latency`");
    thread::scope(|scope| {
        let beside = scope.spawn(|| load::straight(load, other, v2, seconds, slowest));
        let outcome = play();
        let asked = beside.join().unwrap_or_else(|panic| resume_unwind(panic));
        let outcome = outcome?;
        let Outcome { requests, errors, .. } = asked.context("the other pod's load on v2")?;
        ensure!(errors * 100 <= requests, "{errors} of the other pod's requests at v2 went wrong beside {requests}");
        Ok(outcome)
    })
}

/// What both versions have seen once nothing more comes: shadows that are under way belong to this run and to no other.
fn settled(world: &World) -> Result<(Seen, Seen)> {
    let until = Instant::now() + PATIENCE;
    let mut last = (world.v1.seen()?, world.v2.seen()?);
    loop {
        thread::sleep(Duration::from_millis(60));
        let now = (world.v1.seen()?, world.v2.seen()?);
        if (now.0.requests, now.1.requests) == (last.0.requests, last.1.requests) || Instant::now() > until {
            return Ok(now);
        }
        last = now;
    }
}

/// Memory and files of a process group.
fn usage(group: Pid) -> Usage {
    let all = members(group).into_iter().filter_map(|pid| Usage::of(pid).ok());
    all.fold(Usage::default(), |sum, one| Usage { fds: sum.fds + one.fds, rss: sum.rss + one.rss })
}
