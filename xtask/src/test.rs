//! `test`: every test that needs no cluster, the privileged ones included.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result};
use clap::Args;
use integration::{needs, paths};

use crate::{build_ebpf, cargo, setup};

#[derive(Debug, Default, Args)]
pub(crate) struct Options {
    /// Arguments of the test binaries: a part of a test's name, `--nocapture`, …
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// What is run. The first is all default members at once, as `cargo test` takes them: choosing packages would choose other features of
/// shared dependencies, and build them again.
const SUITES: [(&str, &[&str]); 2] =
    [("workspace", &[]), ("kernel side's decisions", &["--package", "proxy-ebpf", "--lib"])];

pub(crate) fn test(options: &Options) -> Result<ExitCode> {
    build_ebpf::build()?;
    // This builds the binary too, in the very shape that the tests of its package use.
    cargo::must(&mut cargo::cargo(&["test", "--no-run"]))?;
    for set_up in [setup::lab, setup::peers] {
        if let Err(error) = set_up() {
            // Without rights the other tests still count; the toy world's say themselves what they lack.
            if needs::required() {
                return Err(error);
            }
            eprintln!("warning: {error:#}");
        }
    }
    let mut closing = Vec::new();
    let mut failed = Vec::new();
    for (name, packages) in SUITES {
        println!("\n== {name}");
        let (passed, lines) = suite(packages, &options.arguments)?;
        if !passed {
            failed.push(name);
        }
        closing.push((name, lines));
    }
    println!("\n== results");
    for (name, lines) in &closing {
        for line in lines {
            println!("{name}: {line}");
        }
    }
    if failed.is_empty() {
        println!("all passed");
        return Ok(ExitCode::SUCCESS);
    }
    println!("FAILED: {}", failed.join(", "));
    Ok(ExitCode::FAILURE)
}

/// Runs `cargo test` to its end, shows what it says, and keeps the runners' closing lines.
fn suite(packages: &[&str], arguments: &[String]) -> Result<(bool, Vec<String>)> {
    let mut command: Command = cargo::cargo(&["test", "--no-fail-fast"]);
    command
        .args(packages)
        .arg("--")
        .args(arguments)
        .env(paths::BIN, paths::binary())
        .env(paths::VENV, setup::venv())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot run cargo test")?;
    let mut closing = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            println!("{line}");
            // A binary without tests, or whose tests were all filtered out, has nothing to say.
            if line.starts_with("test result:") && !line.contains(" 0 passed; 0 failed; 0 ignored;") {
                closing.push(line);
            }
        }
    }
    let status = child.wait()?;
    if closing.is_empty() {
        closing.push(if status.success() { "no test of that name" } else { "did not build or run" }.to_owned());
    }
    Ok((status.success(), closing))
}
