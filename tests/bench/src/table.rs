//! A scenario's figures for the terminal.

use std::fmt::Write as _;

use crate::{
    load::Load,
    rounds::Played,
    sample::Sample,
    scenario::Scenario,
    stats::Spread,
    variant::{Product, Variant},
};

/// One figure of a variant over rounds.
pub(crate) fn figure(played: &Played, variant: Variant, of: impl Fn(&Sample) -> f64) -> Option<Spread> {
    Spread::of(played.samples.iter().filter(|sample| sample.variant == variant).map(of))
}

/// A figure of one variant divided by another's, or by something else of it, within each round.
pub(crate) fn ratio(
    played: &Played,
    (above, below): (Variant, Variant),
    of: impl Fn(&Sample) -> f64,
) -> Option<Spread> {
    let all = |variant: Variant| played.samples.iter().filter(move |sample| sample.variant == variant);
    let pairs = all(above).filter_map(|a| all(below).find(|b| b.round == a.round).map(|b| (a, b)));
    Spread::of(pairs.map(|(a, b)| of(a) / of(b)).collect::<Vec<_>>())
}

/// A figure of one variant less another's, within each round.
fn difference(played: &Played, (more, less): (Variant, Variant), of: impl Fn(&Sample) -> f64) -> Option<Spread> {
    let all = |variant: Variant| played.samples.iter().filter(move |sample| sample.variant == variant);
    let pairs = all(more).filter_map(|a| all(less).find(|b| b.round == a.round).map(|b| (a, b)));
    Spread::of(pairs.map(|(a, b)| of(a) - of(b)).collect::<Vec<_>>())
}

/// What the slowest variant carried, requests/s.
pub(crate) fn slowest(played: &Played) -> Option<f64> {
    let variants = played.samples.iter().map(|sample| sample.variant);
    variants.filter_map(|variant| figure(played, variant, |s| s.per_second)).map(|s| s.median).min_by(f64::total_cmp)
}

/// The table.
pub(crate) fn of(scenario: &Scenario, played: &Played) -> String {
    let mut text = format!(
        "\n{}: {} ({} rounds of {} s, {:.0} s in all)\n",
        scenario.name,
        scenario.title,
        scenario.rounds,
        scenario.seconds,
        played.took.as_secs_f64()
    );
    let paced = matches!(scenario.load, Load::Paced { .. });
    let head = if paced {
        ["p50 µs", "p99 µs", "p99.9 µs", "proxy µs/req", "p99 : ours"]
    } else {
        ["requests/s", "proxy µs/req", "machine µs/req", "added µs/req", "proxy CPU : ours"]
    };
    let _ = writeln!(
        text,
        "{:<20} {:>10} {:>13} {:>15} {:>13} {:>21}  {:>7} {:>6} {:>9} {:>8} {:>5}",
        "", head[0], head[1], head[2], head[3], head[4], "kernel", "v2/req", "conns/req", "RSS MiB", "fds"
    );
    for variant in &scenario.variants {
        if let Some((_, why)) = played.missing.iter().find(|(missing, _)| missing == variant) {
            let _ = writeln!(text, "{variant:<20} not measured: {}", why.trim());
            continue;
        }
        let _ = writeln!(text, "{}", row(played, *variant, paced));
    }
    text
}

fn row(played: &Played, variant: Variant, paced: bool) -> String {
    let median = |of: fn(&Sample) -> f64| figure(played, variant, of).map_or(f64::NAN, |spread| spread.median);
    let latency = |of: fn(&crate::load::latency::Latency) -> f64| {
        figure(played, variant, |s| s.latency.as_ref().map_or(f64::NAN, of)).map_or(f64::NAN, |spread| spread.median)
    };
    let direct = Variant::new(Product::Direct, crate::variant::Flavour::Plain);
    let none = "–".to_owned();
    let (cells, versus) = if paced {
        let versus = ratio(played, (variant, variant.ours()), Sample::p99);
        ([latency(|l| l.p50), latency(|l| l.p99), latency(|l| l.p999), median(Sample::proxy)], versus)
    } else {
        let added = difference(played, (variant, direct), Sample::machine).map_or(f64::NAN, |spread| spread.median);
        let versus = ratio(played, (variant, variant.ours()), Sample::proxy);
        ([median(|s| s.per_second), median(Sample::proxy), median(Sample::machine), added], versus)
    };
    let is_direct = variant.product == Product::Direct;
    let versus = versus.filter(|_| paced || !is_direct).map_or(none, |spread| spread.text());
    let cell = |value: f64, digits: usize| {
        if value.is_finite() { format!("{value:.digits$}") } else { "–".to_owned() }
    };
    format!(
        "{variant:<20} {:>10} {:>13} {:>15} {:>13} {versus:>21}  {:>6.0}% {:>6.2} {:>9.3} {:>8.1} {:>5.0}",
        cell(cells[0], 0),
        cell(cells[1], 1),
        cell(cells[2], 1),
        cell(cells[3], 1),
        median(|s| s.used.kernel_share) * 100.0,
        median(|s| s.shadows),
        median(|s| s.connections),
        median(|s| s.rss_kib as f64 / 1024.0),
        median(|s| s.fds as f64)
    )
}
