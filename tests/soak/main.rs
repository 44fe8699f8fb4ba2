//! The long form of the fault matrix: with times, and with minutes of full load.
//!
//! Comes in: how long, and which faults. Goes out: a table for each phase, a line with the verdict, the numbers as JSON, and the exit code. It
//! judges by bounds that it prints; what it cannot measure it says.

mod endurance;
mod rounds;
mod state;

use std::{fs, path::PathBuf, process::ExitCode, thread};

use anyhow::{Context as _, Result};
use clap::Parser;
use integration::{
    fault_matrix::{Fault, World},
    leftovers, paths,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};

/// Whatever v2 does, v1's users cannot tell: measured.
#[derive(Debug, Parser)]
struct Options {
    /// Length of the soak; 0 = the matrix alone
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Only these faults of v2 [default: all]
    #[arg(long, value_delimiter = ',')]
    faults: Vec<Fault>,
    /// Rounds with a healthy v2, and with each fault, in turns; 0 = the soak alone
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Requests a second in these rounds; below what the machine can carry
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Where the numbers go
    #[arg(long, default_value_os_t = paths::workspace().join("target/soak.json"))]
    json: PathBuf,
}

/// What a phase found.
struct Phase {
    numbers: Value,
    /// Promises that were broken.
    broken: Vec<String>,
}

fn main() -> ExitCode {
    match soak(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn soak(options: &Options) -> Result<bool> {
    leftovers::install()?;
    // Both ends of everything but the agent are this process's.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let faults = match &options.faults[..] {
        [] => Fault::ALL.map(|(fault, _)| fault).to_vec(),
        some => some.to_vec(),
    };
    let cpus = thread::available_parallelism().map_or(0, usize::from);
    println!("{} on {cpus} CPUs, which the client, v1 and v2 share with it", paths::binary().display());
    let mut phases = Vec::new();
    if options.rounds > 0 {
        let world = World::start(&rounds::ARGS, rounds::LIMITS)?;
        phases.push(("matrix", rounds::play(&world, &faults, options.rounds, options.rate)?));
    }
    if options.minutes > 0.0 {
        let world = World::start(&endurance::ARGS, rounds::LIMITS)?;
        phases.push(("soak", endurance::endure(&world, &faults, options.minutes)?));
    }
    let broken: Vec<_> = phases.iter().flat_map(|(_, phase)| &phase.broken).collect();
    let numbers: serde_json::Map<_, _> =
        phases.iter().map(|(name, phase)| ((*name).to_owned(), phase.numbers.clone())).collect();
    let report = json!({
        "binary": paths::binary(), "cpus": cpus, "minutes": options.minutes, "rounds": options.rounds, "rate": options.rate,
        "phases": numbers, "broken": broken, "passed": broken.is_empty(),
    });
    fs::write(&options.json, serde_json::to_string_pretty(&report)?)
        .with_context(|| format!("cannot write {}", options.json.display()))?;
    println!("\nnumbers: {}", options.json.display());
    for promise in &broken {
        println!("broken: {promise}");
    }
    println!("verdict: {}", if broken.is_empty() { "PASSED" } else { "FAILED" });
    Ok(broken.is_empty())
}
