//! What a mirrored request costs through Understudy and through what it replaces: the same client, the same v1 and v2, in turns.
//!
//! Comes in: how long it may take. Goes out: a table for each scenario, the figures as JSON, a page with plots, and for each bar that the
//! project has set itself the ratio that was measured. Loads are bounded in time and count and stay in the lab's namespaces; everything is
//! removed at the end, also after a failure and at Ctrl-C. Nothing is claimed without its ratio.

mod check;
mod load;
mod meter;
mod origin;
mod ours;
mod programs;
mod rivals;
mod rounds;
mod sample;
mod scenario;
mod stats;
mod table;
mod variant;
mod world;

use std::{process::ExitCode, time::Instant};

use anyhow::{Result, bail};
use clap::Parser;
use integration::{leftovers, needs::Need};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::{programs::Programs, world::World};

/// Understudy beside Envoy, HAProxy and nginx.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench")]
struct Options {
    /// About five minutes instead of twenty: fewer and shorter rounds, wider spreads
    #[arg(long)]
    quick: bool,
    /// Only these scenarios
    #[arg(long, value_name = "SCENARIO", value_delimiter = ',')]
    only: Vec<String>,
    /// Say which scenarios there are
    #[arg(long)]
    list: bool,
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
    if options.list {
        all.iter().for_each(|scenario| println!("{:<16} {}", scenario.name, scenario.title));
        return Ok(());
    }
    if let Some(unknown) = options.only.iter().find(|name| all.iter().all(|scenario| scenario.name != **name)) {
        bail!("no scenario {unknown}; `--list` names them");
    }
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
    let mut world = World::lay(Programs::find())?;
    check::all(&mut world)?;
    println!("every variant does what its name says ({:.0} s)", start.elapsed().as_secs_f64());
    let mut slowest = None;
    for scenario in all {
        if !options.only.is_empty() && !options.only.iter().any(|name| name == scenario.name) {
            continue;
        }
        let scenario = if options.quick { scenario.quick() } else { scenario };
        let rate = slowest.unwrap_or(4000.0);
        let played = rounds::play(&mut world, &scenario, rate)?;
        if scenario.name == scenario::CAPACITY {
            slowest = table::slowest(&played);
        }
        println!("{}", table::of(&scenario, &played));
    }
    println!("{:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}
