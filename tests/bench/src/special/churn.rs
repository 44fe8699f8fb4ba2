//! Rules that change each second while requests pass: the latency of requests must not have a step.
//!
//! Of each reload are compared the fifth of a second in which it comes into force and one half a second later, in which nothing changes. Whole runs
//! with and without reloads differ by the stalls of the machine.

use std::{
    panic::resume_unwind,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use integration::manifests;

use crate::{
    load::{self, Load},
    ours::{AS_IT_COMES, rule},
    special::Figure,
    variant::{Flavour, Product, Variant},
    world::World,
};

const EVERY: Duration = Duration::from_secs(1);

/// A source of files waits for so long after the last change before it looks; a little less.
const IN_FORCE: Duration = Duration::from_millis(75);
/// From there on, so many slices.
const SLICES: usize = 4;
/// From one to what it is compared with.
const LATER: Duration = Duration::from_millis(500);

/// Measures.
pub(crate) fn measure(world: &mut World, quick: bool, slowest: f64) -> Result<Vec<Figure>> {
    world.ours.run(&world.node, AS_IT_COMES)?;
    let (mut reloads, mut steps) = (0.0, Vec::new());
    for _ in 0..if quick { 2 } else { 4 } {
        let before = generation(world)?;
        steps.extend(run(world, 6.0, slowest)?);
        reloads += generation(world)? - before;
    }
    world.ours.manifests.apply("rules.yaml", &manifests::documents(&Flavour::ALL.map(rule)))?;
    ensure!(reloads >= steps.len() as f64, "{reloads} of {} reloads came into force", steps.len());
    Ok([
        Figure::of(
            "churn-p99",
            "p99 in the fifth of a second in which a reload comes into force",
            "µs",
            steps.iter().map(|step| step.with),
        ),
        Figure::of(
            "churn-quiet-p99",
            "the same half a second later, without one",
            "µs",
            steps.iter().map(|step| step.without),
        ),
        Figure::of(
            "churn-step",
            "the one : the other, of the same reload",
            "×",
            steps.iter().map(|step| step.with / step.without),
        ),
        Figure::of("churn-reloads", "reloads that came into force in all", "", [reloads]),
    ]
    .into_iter()
    .flatten()
    .collect())
}

/// p99 around one reload, microseconds.
struct Step {
    with: f64,
    without: f64,
}

fn generation(world: &World) -> Result<f64> {
    Ok(world.ours.agent().map(|agent| agent.metrics()).transpose()?.unwrap_or_default().generation())
}

/// So many seconds of load with a reload in each. Those at the run's edges, which have no whole neighbourhood, are left out.
fn run(world: &World, seconds: f64, slowest: f64) -> Result<Vec<Step>> {
    let variant = Variant::new(Product::Understudy, Flavour::Mirrored);
    let client = world.client(variant.product)?;
    let stop = AtomicBool::new(false);
    let load = Load::Paced { share: 0.5, connections: 32 };
    let (outcome, changes) = thread::scope(|scope| {
        let reloader = scope.spawn(|| -> Result<Vec<Instant>> {
            let (mut changes, mut next) = (Vec::new(), Instant::now() + EVERY / 2);
            while !stop.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(20));
                if Instant::now() >= next {
                    next += EVERY;
                    let timeout = 10 + changes.len();
                    let rules = Flavour::ALL.map(|flavour| format!("{}    timeout: {timeout}s\n", rule(flavour)));
                    world.ours.manifests.apply("rules.yaml", &manifests::documents(&rules))?;
                    changes.push(Instant::now());
                }
            }
            Ok(changes)
        });
        let outcome = load::play(load, &world.programs, client, variant.flavour, seconds, slowest);
        stop.store(true, Ordering::Relaxed);
        let changes = reloader.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        outcome.map(|outcome| (outcome, changes))
    })?;
    ensure!(outcome.errors == 0, "{} requests failed", outcome.errors);
    let slices = outcome.slices.context("no latency")?;
    let around = changes.iter().filter_map(|change| {
        let with = slices.worst(*change + IN_FORCE, SLICES)?;
        Some(Step { with, without: slices.worst(*change + IN_FORCE + LATER, SLICES)? })
    });
    Ok(around.collect())
}
