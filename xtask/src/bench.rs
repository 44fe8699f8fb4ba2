//! `bench`: what only a measurement can tell. Each benchmark is a program of its own; it is built here, with what it measures.

use std::{
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

use anyhow::{Result, anyhow, bail};
use clap::{Args, Subcommand};
use integration::paths;

use crate::{build_ebpf, cargo, setup};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    which: Option<Which>,
    /// Count the instructions of a request instead, and fail if they are more than `tests/bench/baseline.json` allows
    #[arg(long)]
    gate: bool,
    /// With `--gate`: take the figures of now as what later ones are compared with
    #[arg(long, requires = "gate")]
    accept: bool,
    #[command(flatten)]
    versus: Measured,
}

#[derive(Debug, Subcommand)]
enum Which {
    /// What one node costs the API server of a large cluster: a real kube-apiserver with thousands of objects
    Scale(Measured),
}

#[derive(Debug, Args)]
struct Measured {
    /// Measure the debug build (built sooner, and not what anybody runs)
    #[arg(long)]
    debug: bool,
    /// Of the comparison: `--quick`, `--only SCENARIO`, `--list`; of `scale`: `--services N`, `--rules N`, …; `-- --help` says all
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn bench(options: &Options) -> Result<ExitCode> {
    match &options.which {
        None if options.gate => gate(options),
        None => {
            setup::lab()?;
            setup::rivals()?;
            run("versus", &options.versus)
        }
        Some(Which::Scale(scale)) => run("scale", scale),
    }
}

/// What is counted is compiled as the binary is, into a program of its own.
fn gate(options: &Options) -> Result<ExitCode> {
    if options.versus.debug {
        bail!("the baseline is the release build's: leave --debug out");
    }
    setup::counting()?;
    build_ebpf::build()?;
    cargo::must(&mut cargo::cargo(&["build", "--release", "--bin", "exchange"]))?;
    let program = cargo::target().join("release/exchange");
    let accept = options.accept.then_some("--accept");
    let error = Command::new(&program).args(accept).args(&options.versus.arguments).exec();
    Err(anyhow!("cannot run {}: {error}", program.display()))
}

fn run(name: &str, measured: &Measured) -> Result<ExitCode> {
    build_ebpf::build()?;
    let profile = if measured.debug { "debug" } else { "release" };
    // Both at once, and not half of it a second time in another profile: a new machine builds for minutes.
    let release: &[&str] = if measured.debug { &[] } else { &["--release"] };
    cargo::must(&mut cargo::cargo(&[&["build", "--bin", "understudy", "--bin", name][..], release].concat()))?;
    setup::lab()?;
    // It takes our place: signals and exit code are its own.
    let program = cargo::target().join(profile).join(name);
    let binary = cargo::target().join(profile).join("understudy");
    let error = Command::new(&program).args(&measured.arguments).env(paths::BIN, binary).exec();
    Err(anyhow!("cannot run {}: {error}", program.display()))
}
