//! `run`: the demo, or the binary with arguments of the user's own.

use std::{
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

use anyhow::{Result, anyhow, bail};
use clap::Args;
use nix::unistd::geteuid;

use crate::{build_ebpf, cargo, demo, setup};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Leave the demo's world up after its last step, with instructions, until Ctrl-C.
    #[arg(long, conflicts_with = "arguments")]
    keep: bool,
    /// Run `understudy` with these instead of the demo.
    #[arg(last = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if options.arguments.is_empty() && !geteuid().is_root() {
        bail!(
            "the demo makes network namespaces and attaches BPF programs: it needs root. Run\n    sudo -E env \"PATH=$PATH\" cargo xtask run"
        );
    }
    build_ebpf::build()?;
    cargo::must(&mut cargo::cargo(&["build", "--package", "understudy"]))?;
    if options.arguments.is_empty() {
        setup::lab()?;
        return demo::play(options.keep);
    }
    // It takes our place: signals and exit code are its own.
    let binary = integration::paths::binary();
    let error = Command::new(&binary).args(&options.arguments).exec();
    Err(anyhow!("cannot run {}: {error}", binary.display()))
}
