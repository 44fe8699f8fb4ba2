//! Rules that change each second while requests pass: the latency of requests must not have a step.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use integration::manifests;

use crate::{
    load::{self, Load, latency::Latency},
    ours::{AS_IT_COMES, rule},
    special::Figure,
    variant::{Flavour, Product, Variant},
    world::World,
};

const EVERY: Duration = Duration::from_secs(1);

/// Measures.
pub(crate) fn measure(world: &mut World, quick: bool, slowest: f64) -> Result<Vec<Figure>> {
    world.ours.run(&world.node, AS_IT_COMES)?;
    let seconds = if quick { 3.0 } else { 4.0 };
    let (mut quiet, mut churned, mut reloads) = (Vec::new(), Vec::new(), 0.0);
    for round in 0..if quick { 2 } else { 4 } {
        // Which is first changes from round to round.
        for churn in if round % 2 == 0 { [false, true] } else { [true, false] } {
            let before = world.ours.agent().map(|agent| agent.metrics()).transpose()?.unwrap_or_default().generation();
            let latency = run(world, seconds, slowest, churn)?;
            let after = world.ours.agent().map(|agent| agent.metrics()).transpose()?.unwrap_or_default().generation();
            if churn {
                ensure!(after > before, "no reload came into force");
                reloads += after - before;
                churned.push(latency);
            } else {
                quiet.push(latency);
            }
        }
    }
    world.ours.manifests.apply("rules.yaml", &manifests::documents(&Flavour::ALL.map(rule)))?;
    let ratios =
        |of: fn(&Latency) -> f64| quiet.iter().zip(&churned).map(move |(q, c)| of(c) / of(q)).collect::<Vec<_>>();
    Ok([
        Figure::of("churn-quiet-p99", "p99 without reloads", "µs", quiet.iter().map(|l| l.whole_p99)),
        Figure::of("churn-p99", "p99 with a reload each second", "µs", churned.iter().map(|l| l.whole_p99)),
        Figure::of("churn-p99-ratio", "with : without, in the same round", "×", ratios(|l| l.whole_p99)),
        Figure::of("churn-p999-ratio", "p99.9, with : without, in the same round", "×", ratios(|l| l.p999)),
        Figure::of("churn-reloads", "reloads that came into force in all", "", [reloads]),
    ]
    .into_iter()
    .flatten()
    .collect())
}

fn run(world: &World, seconds: f64, slowest: f64, churn: bool) -> Result<Latency> {
    let variant = Variant::new(Product::Understudy, Flavour::Mirrored);
    let client = world.client(variant.product)?;
    let stop = AtomicBool::new(false);
    let load = Load::Paced { share: 0.5, connections: 32 };
    let outcome = thread::scope(|scope| {
        let reloader = scope.spawn(|| -> Result<()> {
            let (mut timeout, mut next) = (10, Instant::now() + EVERY / 2);
            while churn && !stop.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(20));
                if Instant::now() >= next {
                    next += EVERY;
                    timeout += 1;
                    let rules = Flavour::ALL.map(|flavour| format!("{}    timeout: {timeout}s\n", rule(flavour)));
                    world.ours.manifests.apply("rules.yaml", &manifests::documents(&rules))?;
                }
            }
            Ok(())
        });
        let outcome = load::play(load, &world.programs, client, variant.flavour, seconds, slowest);
        stop.store(true, Ordering::Relaxed);
        reloader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        outcome
    })?;
    ensure!(outcome.errors == 0, "{} requests failed", outcome.errors);
    outcome.latency.ok_or_else(|| anyhow::anyhow!("no latency"))
}
