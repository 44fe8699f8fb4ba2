//! One variant under one load for as long as somebody wants to look at it: with perf, bpftrace, or by its metrics.

use std::io::{Write as _, stdout};

use anyhow::{Context as _, Result, bail};

use crate::{
    check, meter,
    ours::NO_SHEDDING,
    rounds,
    scenario::Scenario,
    variant::{Flavour, Product, Variant},
    world::World,
};

/// `understudy-mirrored`, `haproxy-plain`, …
pub(crate) fn variant(text: &str) -> Result<Variant, String> {
    let all = || {
        let pairs = Product::ALL.into_iter().flat_map(|p| Flavour::ALL.map(|f| Variant::new(p, f)));
        pairs.filter(|variant| variant.exists())
    };
    let name = |variant: &Variant| format!("{}-{}", variant.product.name(), variant.flavour.host());
    let names = || all().map(|variant| name(&variant)).collect::<Vec<_>>().join(", ");
    all().find(|variant| name(variant) == text).ok_or_else(|| format!("there are {}", names()))
}

/// Plays it and says what came of it.
pub(crate) fn play(
    world: &mut World,
    mut scenario: Scenario,
    variant: Variant,
    seconds: f64,
    slowest: f64,
) -> Result<()> {
    if let Some(why) = world.why_not(variant) {
        bail!("no {variant} here: {why}");
    }
    world.ours.run(&world.node, NO_SHEDDING)?;
    check::one(world, variant).with_context(|| format!("{variant} is not what it should be"))?;
    world.ours.run(&world.node, scenario.args)?;
    scenario.seconds = seconds;
    let processes = world.carrier(variant.product).map(meter::members).unwrap_or_default();
    let processes: Vec<_> = processes.iter().map(ToString::to_string).collect();
    println!("{variant}, {}, for {seconds} s; processes: {}", scenario.title, processes.join(","));
    // Who waits for the line behind a pipe wants it now.
    stdout().flush()?;
    let sample = rounds::one(world, &scenario, variant, 0, slowest)?;
    println!(
        "{:.0} requests/s, {:.1} µs of the proxy and {:.1} µs of the machine for each; {:.3} at v2",
        sample.per_second,
        sample.proxy(),
        sample.machine(),
        sample.shadows
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_has_the_name_of_its_product_and_its_service() {
        assert_eq!(variant("understudy-mirrored"), Ok(Variant::new(Product::Understudy, Flavour::Mirrored)));
        assert!(variant("haproxy-mirrored").is_err_and(|words| words.contains("haproxy-plain")));
    }
}
