//! `soak`: what v2 does wrong, measured at v1's users: the fault matrix with times, and minutes of full load.

use std::{
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

use anyhow::{Result, anyhow};
use clap::Args;
use integration::paths;

use crate::{build_ebpf, cargo, setup};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Measure the debug build (built sooner, and not what anybody runs)
    #[arg(long)]
    debug: bool,
    /// `--minutes N`, `--faults A,B`, `--rounds N`, `--rate N`, `--json PATH`; `--help` says more
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn soak(options: &Options) -> Result<ExitCode> {
    build_ebpf::build()?;
    // Choosing packages would choose other features of shared dependencies, and build them again.
    cargo::must(&mut cargo::cargo(&["build", "--bins"]))?;
    let profile = if options.debug { "debug" } else { "release" };
    if !options.debug {
        cargo::must(&mut cargo::cargo(&["build", "--release", "--bin", "understudy"]))?;
    }
    setup::lab()?;
    // It takes our place: signals and exit code are its own.
    let soak = cargo::target().join("debug/soak");
    let error = Command::new(&soak)
        .args(&options.arguments)
        .env(paths::BIN, cargo::target().join(profile).join("understudy"))
        .exec();
    Err(anyhow!("cannot run {}: {error}", soak.display()))
}
