//! `bench`: what only a measurement can tell. Each benchmark is a program of its own; it is built here, with what it measures.

use std::{
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

use anyhow::{Result, anyhow};
use clap::{Args, Subcommand};
use integration::paths;

use crate::{build_ebpf, cargo, setup};

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    which: Which,
}

#[derive(Debug, Subcommand)]
enum Which {
    /// What one node costs the API server of a large cluster: a real kube-apiserver with thousands of objects
    Scale(Scale),
}

#[derive(Debug, Args)]
struct Scale {
    /// Measure the debug build (built sooner, and not what anybody runs)
    #[arg(long)]
    debug: bool,
    /// `--services N`, `--pods N`, `--rules N`, `--kube-apiserver FILE`, `--etcd FILE`, …; `-- --help` says more
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn bench(options: &Options) -> Result<ExitCode> {
    match &options.which {
        Which::Scale(scale) => run("scale", scale.debug, &scale.arguments),
    }
}

fn run(name: &str, debug: bool, arguments: &[String]) -> Result<ExitCode> {
    build_ebpf::build()?;
    // Choosing packages would choose other features of shared dependencies, and build them again.
    cargo::must(&mut cargo::cargo(&["build", "--bins"]))?;
    let profile = if debug { "debug" } else { "release" };
    if !debug {
        cargo::must(&mut cargo::cargo(&["build", "--release", "--bin", "understudy"]))?;
    }
    setup::lab()?;
    // It takes our place: signals and exit code are its own.
    let program = cargo::target().join("debug").join(name);
    let error =
        Command::new(&program).args(arguments).env(paths::BIN, cargo::target().join(profile).join("understudy")).exec();
    Err(anyhow!("cannot run {}: {error}", program.display()))
}
