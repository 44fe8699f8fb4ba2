//! What a mirrored request costs through Understudy and through what it replaces: the same client, the same v1 and v2, in turns.
//!
//! Comes in: how long it may take. Goes out: a table for each scenario, the figures as JSON, a page with plots, and for each bar that the
//! project has set itself the ratio that was measured. Loads are bounded in time and count and stay in the lab's namespaces; everything is
//! removed at the end, also after a failure and at Ctrl-C. Nothing is claimed without its ratio.

mod bars;
mod check;
mod load;
mod machine;
mod meter;
mod origin;
mod ours;
mod programs;
mod report;
mod rivals;
mod rounds;
mod sample;
mod scenario;
mod special;
mod stats;
mod steady;
mod table;
mod variant;
mod world;

use std::{process::ExitCode, time::Instant};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use integration::{leftovers, needs::Need};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::{programs::Programs, report::Report, variant::Variant, world::World};

/// What the slowest variant is taken to carry where the scenario that finds out was not chosen, requests/s.
const UNKNOWN: f64 = 4000.0;

/// Understudy beside Envoy, HAProxy and nginx.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench")]
struct Options {
    /// About five minutes instead of fourteen: fewer and shorter rounds, wider spreads
    #[arg(long)]
    quick: bool,
    /// Only these scenarios
    #[arg(long, value_name = "SCENARIO", value_delimiter = ',')]
    only: Vec<String>,
    /// Say which scenarios there are
    #[arg(long)]
    list: bool,
    /// Measure nothing else, but keep one variant under load for so long, and say which processes carry it: to look at it with perf
    #[arg(long, value_name = "SECONDS", requires = "variant")]
    steady: Option<f64>,
    /// With `--steady`: `understudy-plain`, `understudy-mirrored`, `envoy-plain`, …; under the load of `--only`, or of the first scenario
    #[arg(long, value_name = "PRODUCT-SERVICE", value_parser = steady::variant, requires = "steady")]
    variant: Option<Variant>,
}

fn main() -> ExitCode {
    match measure(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<()> {
    let all = scenario::table();
    let names = all.iter().map(|s| (s.name, s.title)).chain(special::ALL.iter().map(|s| (s.name, s.title)));
    let names: Vec<_> = names.collect();
    if options.list {
        names.iter().for_each(|(name, title)| println!("{name:<16} {title}"));
        return Ok(());
    }
    if let Some(unknown) = options.only.iter().find(|name| names.iter().all(|(known, _)| known != name)) {
        bail!("no scenario {unknown}; `--list` names them");
    }
    let chosen = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    leftovers::install()?;
    let needs = [Need::Root, Need::NetTools, Need::Nginx, Need::Cgroup2, Need::Btf, Need::Agent];
    let unmet: Vec<_> = needs.into_iter().filter_map(Need::unmet).collect();
    if !unmet.is_empty() {
        bail!("the benchmark needs more than there is:\n  {}", unmet.join("\n  "));
    }
    // 1,000 connections, and as many on each side of a proxy. A container may forbid to go beyond its own limit, which is enough then.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most.min(65_536), most)?;

    let start = Instant::now();
    let programs = Programs::find();
    let mut report = Report::new(options.quick, machine::describe(&programs));
    report.machine.iter().for_each(|line| println!("{line}"));
    let mut world = World::lay(programs)?;
    if let (Some(seconds), Some(variant)) = (options.steady, options.variant) {
        let chosen = all.into_iter().find(|scenario| chosen(scenario.name));
        let scenario = chosen.context("`--steady` needs a scenario with a load")?;
        return steady::play(&mut world, scenario, variant, seconds, UNKNOWN);
    }
    check::all(&mut world)?;
    println!("every variant that is here does what its name says");
    let mut slowest = None;
    for scenario in all.into_iter().filter(|scenario| chosen(scenario.name)) {
        let scenario = if options.quick { scenario.quick() } else { scenario };
        let played = rounds::play(&mut world, &scenario, slowest.unwrap_or(UNKNOWN))?;
        if scenario.name == scenario::CAPACITY {
            slowest = table::slowest(&played);
        }
        print!("{}", table::of(&scenario, &played));
        report.scenarios.push((scenario, played));
        report.write()?;
    }
    for special in special::ALL.into_iter().filter(|special| chosen(special.name)) {
        let outcome = (special.measure)(&mut world, options.quick, slowest.unwrap_or(UNKNOWN));
        let outcome = outcome.map_err(|error| format!("{error:#}"));
        print!("{}", report::figures(&special, &outcome));
        report.specials.push((special, outcome));
        report.write()?;
    }
    report.machine.push(format!("{:.0} s in all", start.elapsed().as_secs_f64()));
    let (data, page) = report.write()?;
    println!("{}\n{:.0} s; {} and {}", report.bars(), start.elapsed().as_secs_f64(), page.display(), data.display());
    Ok(())
}
