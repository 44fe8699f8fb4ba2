//! `cargo xtask bench`: Understudy beside the proxies that it replaces.
//!
//! Comes in: how long it may take, and which scenarios. Goes out: tables in the terminal, `target/bench/report.json` and `report.html`. The client,
//! v1 and v2, and the pods are the same for all; rounds are interleaved; every figure has its ratio. All load stays in namespaces without a way
//! out, is bounded in time, and is gone at the end, also after a failure and at Ctrl-C. README.md says what is measured, and what is not.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures of a report"
)]

mod check;
mod cost;
mod load;
mod pace;
mod report;
mod rivals;
mod rounds;
mod scenario;
mod stats;
mod variant;
mod world;

use std::{process::ExitCode, time::Instant};

use anyhow::{Result, bail};
use clap::Parser;
use integration::leftovers;

use crate::{
    load::{Ask, Load},
    report::Report,
    rounds::Contestant,
    scenario::SCENARIOS,
    variant::{Carrier, Variant},
    world::{Service, World},
};

/// Understudy beside its rivals, on this machine, in the same minutes.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench")]
struct Options {
    /// Fewer and shorter rounds: minutes, and wider spreads
    #[arg(long)]
    quick: bool,
    /// Load one service (plain, mirrored, …) through Understudy alone for so many seconds, for a profiler to look at
    #[arg(long, num_args = 2, value_names = ["SERVICE", "SECONDS"])]
    steady: Vec<String>,
    /// Only say which scenarios there are
    #[arg(long)]
    list: bool,
    /// Only these
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<String>,
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
    if options.list {
        SCENARIOS.iter().for_each(|scenario| println!("{:12} {}", scenario.name, scenario.about));
        return Ok(());
    }
    if let Some(unknown) = options.scenarios.iter().find(|name| !SCENARIOS.iter().any(|one| one.name == **name)) {
        bail!("no scenario `{unknown}`; `--list` names them");
    }
    leftovers::install()?;
    let start = Instant::now();
    let world = World::new()?;
    if let [service, seconds] = &options.steady[..] {
        return steady(&world, service, seconds.parse()?);
    }
    let mut report = Report::new();
    let mut variants = Vec::new();
    for carrier in Carrier::ALL {
        match Variant::start(&world, carrier) {
            Ok(variant) => variants.push(variant),
            // Without ourselves, or without anybody, there is nothing to compare.
            Err(error) if matches!(carrier, Carrier::Direct | Carrier::Understudy) => return Err(error),
            Err(error) => report.missing(carrier, &format!("{error:#}")),
        }
    }
    let all = |service: Service| -> Vec<Contestant<'_>> {
        variants
            .iter()
            .filter(|variant| plays(variant.carrier, service))
            .map(|variant| Contestant { variant, service })
            .collect()
    };
    for service in Service::ALL {
        for one in all(service) {
            check::check(&world, one)?;
        }
    }
    println!("every contestant does what its row says ({:.0} s)", start.elapsed().as_secs_f32());
    let stage = scenario::Stage { world: &world, all: &all, quick: options.quick };
    for scenario in SCENARIOS {
        if options.scenarios.is_empty() || options.scenarios.iter().any(|name| name == scenario.name) {
            println!("\n== {}: {}", scenario.name, scenario.about);
            let begin = Instant::now();
            (scenario.play)(&stage, &mut report)?;
            println!("   ({:.0} s)", begin.elapsed().as_secs_f32());
        }
    }
    if let Some(agent) = variants.iter().find_map(Variant::agent) {
        report.outcomes(agent.outcomes()?);
    }
    report.finish(start.elapsed())
}

fn steady(world: &World, service: &str, seconds: u64) -> Result<()> {
    let variant = Variant::start(world, Carrier::Understudy)?;
    let Some(service) = Service::ALL.into_iter().find(|one| one.name() == service) else {
        bail!("no service `{service}`: {:?}", Service::ALL.map(Service::name));
    };
    println!("Understudy is process {}", variant.pid().map_or(0, nix::unistd::Pid::as_raw));
    let ask = if service.target() == world::HTTP2 { Ask::Http2 } else { Ask::Small };
    let rows = rounds::saturated(
        world,
        &[Contestant { variant: &variant, service }],
        Load { ask, connections: 64, seconds },
        1,
    )?;
    Report::new().saturated("steady", rows);
    Ok(())
}

/// Whether it can do what the service asks for.
fn plays(carrier: Carrier, service: Service) -> bool {
    match service {
        Service::Plain => true,
        Service::Plain2 => carrier.speaks_http2(),
        Service::Mirrored => carrier.mirrors(),
        Service::Mirrored2 => carrier.mirrors() && carrier.speaks_http2(),
        Service::Tenth | Service::Dead => matches!(carrier, Carrier::Understudy | Carrier::Envoy),
    }
}
