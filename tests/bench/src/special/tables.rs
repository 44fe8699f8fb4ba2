//! A large table: what it weighs, and whether a request pays for the rules of others.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use integration::fault_matrix::Usage;

use crate::{
    load::{Kind, Load},
    ours::{NO_SHEDDING, rule, subsets},
    rounds,
    scenario::Scenario,
    special::Figure,
    variant::{Flavour, Product, Variant},
    world::World,
};

const SERVICES: u32 = 10_000;
const RULES: u32 = 1_000;
const FILE: &str = "table.yaml";

/// Measures.
pub(crate) fn measure(world: &mut World, quick: bool, _: f64) -> Result<Vec<Figure>> {
    let variant = Variant::new(Product::Understudy, Flavour::Mirrored);
    let scenario = Scenario {
        name: "table",
        title: "",
        load: Load::Saturating { kind: Kind::Small, connections: 64 },
        variants: vec![variant],
        seconds: 3.0,
        rounds: 1,
        args: NO_SHEDDING,
    };
    let text = manifests();
    let (mut small, mut large, mut memory, mut ready) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..if quick { 1 } else { 3 } {
        world.ours.restart(&world.node, NO_SHEDDING)?;
        small.push(rounds::one(world, &scenario, variant, round, 0.0)?.proxy());
        world.ours.manifests.apply(FILE, &text)?;
        let outcome = (|| {
            let start = std::time::Instant::now();
            world.ours.restart(&world.node, NO_SHEDDING)?;
            ready.push(start.elapsed().as_secs_f64());
            let agent = world.ours.pid().context("no agent")?;
            memory.push(Usage::of(agent)?.rss as f64 / 1024.0);
            large.push(rounds::one(world, &scenario, variant, round, 0.0)?.proxy());
            Ok(())
        })();
        world.ours.manifests.delete(FILE)?;
        outcome.map_err(|error: anyhow::Error| error)?;
    }
    world.ours.stop()?;
    let ratios: Vec<_> = large.iter().zip(&small).map(|(large, small)| large / small).collect();
    Ok([
        Figure::of("table-rss", "RSS with the table, ready, before any request", "MiB", memory),
        Figure::of("table-ready", "from the start to ready", "s", ready),
        Figure::of("table-cpu-ratio", "proxy CPU for each mirrored request, with the table : without", "×", ratios),
    ]
    .into_iter()
    .flatten()
    .collect())
}

/// Services that nobody asks for, of which some have a rule with a mirror.
fn manifests() -> String {
    let mut text = String::new();
    for number in 0..SERVICES {
        let (name, high, low) = (format!("other-{number}"), 1 + number / 250, 1 + number % 250);
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: bench}}\nspec:\n  clusterIP: 10.100.{high}.{low}\n  clusterIPs: [10.100.{high}.{low}]\n\
             \x20 ports: [{{name: http, port: 8000, targetPort: 8080, protocol: TCP}}]\n  selector: {{app: web}}\n"
        );
        if number < RULES {
            let rule = rule(Flavour::Mirrored).replace(Flavour::Mirrored.host(), &name);
            let _ = write!(text, "---\n{}---\n{rule}", subsets(&name));
        }
    }
    text
}
