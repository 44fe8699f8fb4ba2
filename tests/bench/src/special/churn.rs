//! Rules that change each second while requests pass: the latency of requests must not have a step.
//!
//! Of each reload are compared the fifth of a second in which it comes into force and one half a second later, in which nothing changes. Whole runs
//! with and without reloads differ by the stalls of the machine.

use std::{
    panic::resume_unwind,
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

/// A source of files waits for 100 ms after the last change before it looks (`DEBOUNCE`); a little less.
const IN_FORCE: Duration = Duration::from_millis(75);
/// From there on, so many slices.
const SLICES: usize = 4;
/// After which it is asked whether that was so: nothing is compared with a reload that came later.
const BY_THEN: Duration = Duration::from_millis(300);
/// From one to what it is compared with.
const LATER: Duration = Duration::from_millis(500);

/// Measures.
pub(crate) fn measure(world: &mut World, quick: bool, slowest: f64) -> Result<Vec<Figure>> {
    world.ours.run(&world.node, AS_IT_COMES)?;
    let (mut reloads, mut steps) = (0, Vec::new());
    for _ in 0..if quick { 2 } else { 4 } {
        let run = run(world, 6.0, slowest)?;
        reloads += run.reloads;
        steps.extend(run.steps);
    }
    world.ours.manifests.apply("rules.yaml", &manifests::documents(&Flavour::ALL.map(rule)))?;
    ensure!(!steps.is_empty(), "none of {reloads} reloads was in force in time, well within a run");
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
        Figure::of("churn-reloads", "reloads in all", "", [f64::from(reloads)]),
        Figure::of(
            "churn-compared",
            "of these, compared: in force when they should be, and well within a run",
            "",
            [steps.len() as f64],
        ),
    ]
    .into_iter()
    .flatten()
    .collect())
}

/// One run.
struct Run {
    reloads: u32,
    steps: Vec<Step>,
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
fn run(world: &World, seconds: f64, slowest: f64) -> Result<Run> {
    let variant = Variant::new(Product::Understudy, Flavour::Mirrored);
    let client = world.client(variant.product)?;
    let load = Load::Paced { share: 0.5, connections: 32 };
    let (outcome, (reloads, in_force)) = thread::scope(|scope| {
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        let reloader = scope.spawn(move || reload_until(world, end));
        let outcome = load::play(load, &world.programs, client, variant.flavour, seconds, slowest);
        let reloads = reloader.join().unwrap_or_else(|panic| resume_unwind(panic));
        anyhow::Ok((outcome?, reloads?))
    })?;
    ensure!(outcome.errors == 0, "{} requests failed", outcome.errors);
    let slices = outcome.slices.context("no latency")?;
    let around = in_force.iter().filter_map(|change| {
        let with = slices.worst(*change + IN_FORCE, SLICES)?;
        Some(Step { with, without: slices.worst(*change + IN_FORCE + LATER, SLICES)? })
    });
    Ok(Run { reloads, steps: around.collect() })
}

/// Changes all rules each second. Returns how often, and when for those that were in force in time.
fn reload_until(world: &World, end: Instant) -> Result<(u32, Vec<Instant>)> {
    let (mut reloads, mut in_force) = (0, Vec::new());
    let mut next = Instant::now() + EVERY / 2;
    while next < end {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        next += EVERY;
        let before = generation(world)?;
        let rules = Flavour::ALL.map(|flavour| format!("{}    timeout: {}s\n", rule(flavour), 10 + reloads));
        world.ours.manifests.apply("rules.yaml", &manifests::documents(&rules))?;
        let change = Instant::now();
        reloads += 1;
        thread::sleep(BY_THEN);
        if generation(world)? > before {
            in_force.push(change);
        }
    }
    Ok((reloads, in_force))
}
