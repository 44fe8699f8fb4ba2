//! `ci`: format, lints, tests. A step that fails does not hide what the later ones have to say.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::{cargo, test};

pub(crate) fn ci() -> Result<ExitCode> {
    let lints: [(&str, Command); 3] = [
        ("format", cargo::cargo(&["fmt", "--all", "--check"])),
        ("clippy", cargo::cargo(&["clippy", "--all-targets", "--", "-D", "warnings"])),
        // The kernel side's binary has no host build; its library has.
        (
            "clippy of the kernel side",
            cargo::cargo(&["clippy", "--package", "proxy-ebpf", "--lib", "--", "-D", "warnings"]),
        ),
    ];
    let mut failed = Vec::new();
    for (name, mut command) in lints {
        println!("\n== {name}");
        if let Err(error) = cargo::must(&mut command) {
            eprintln!("error: {error:#}");
            failed.push(name);
        }
    }
    let tests = test::test(&test::Options::default())?;
    if failed.is_empty() {
        return Ok(tests);
    }
    println!("FAILED: {}", failed.join(", "));
    Ok(ExitCode::FAILURE)
}
