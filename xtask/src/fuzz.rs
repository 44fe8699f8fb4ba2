//! `fuzz`: inputs that coverage finds, for what reads bytes of peers. It needs a nightly compiler and cargo-fuzz; the same questions are asked of
//! random inputs in `cargo test -p understudy --test data_path_properties`, which needs neither.

use std::{
    fs,
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use crate::{cargo, task};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// A file of `proxy/fuzz/fuzz_targets`; all of them if none is named
    target: Option<String>,
    /// How long to look for each target
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

pub(crate) fn fuzz(options: &Options) -> Result<ExitCode> {
    let known = targets()?;
    let wanted: Vec<_> = known.iter().filter(|name| options.target.as_ref().is_none_or(|one| one == *name)).collect();
    ensure!(!wanted.is_empty(), "no such target; there are {}", known.join(", "));
    let nightly = nightly()?;
    ensure_cargo_fuzz(&nightly)?;
    let mut failed = Vec::new();
    for target in wanted {
        println!("\n== {target}");
        let mut command = on(&nightly);
        // No sanitizer: what is fuzzed has no unsafe code, and is a good deal faster without one.
        command.args(["fuzz", "run", "--sanitizer", "none", target, "--"]);
        command.arg(format!("-max_total_time={}", options.seconds)).current_dir(folder());
        if let Err(error) = cargo::must(&mut command) {
            eprintln!("error: {error:#}");
            failed.push(target.as_str());
        }
    }
    if failed.is_empty() {
        println!("\nnothing found");
        return Ok(ExitCode::SUCCESS);
    }
    println!("\nFAILED: {}; the inputs are in proxy/fuzz/artifacts", failed.join(", "));
    Ok(ExitCode::FAILURE)
}

fn folder() -> PathBuf {
    cargo::root().join("proxy/fuzz")
}

fn targets() -> Result<Vec<String>> {
    let folder = folder().join("fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        names.extend(entry?.path().file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// The first nightly that rustup has.
fn nightly() -> Result<String> {
    let listed = Command::new("rustup").args(["toolchain", "list"]).output();
    let listed = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let found =
        listed.lines().filter_map(|line| line.split_whitespace().next()).find(|name| name.starts_with("nightly"));
    let Some(found) = found else {
        bail!("no nightly compiler. Run\n    rustup toolchain install nightly --profile minimal\nand then this again");
    };
    Ok(found.to_owned())
}

/// The nightly's cargo, without the compiler of ours.
fn on(nightly: &str) -> Command {
    let mut command = Command::new("cargo");
    command.arg(format!("+{nightly}"));
    for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN", "CARGO_TARGET_DIR"] {
        command.env_remove(name);
    }
    command
}

fn ensure_cargo_fuzz(nightly: &str) -> Result<()> {
    let there = on(nightly).args(["fuzz", "--version"]).output().is_ok_and(|output| output.status.success());
    if there {
        return Ok(());
    }
    println!("Missing: cargo-fuzz; installing it.");
    task::run("cargo-fuzz", "two minutes", on(nightly).args(["install", "cargo-fuzz", "--locked"]))
}
