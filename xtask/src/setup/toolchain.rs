//! A compiler that can build for the BPF target: it needs core's source and unstable cargo flags.
//!
//! Two are supported. rustup's nightly with `rust-src` is the usual one. Debian's `rustc-web` packages are a recent stable compiler with
//! sources, and `RUSTC_BOOTSTRAP=1` lets it take the flags; they work where nothing can be downloaded but packages. What is complete on the
//! machine wins; between two complete ones, rustup's.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use integration::needs::find;

use crate::{
    setup::{linker, packages},
    task,
};

/// The workspace's `rust-version`: (major, minor).
const OLDEST: (u32, u32) = (1, 95);
/// What is installed where there is no nightly: a fixed one, because a later one may come with an LLVM that no distribution has yet.
const NIGHTLY: &str = "nightly-2026-05-20";
/// Debian's packages of the other toolchain.
const DEBIAN: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// A compiler for the BPF target.
#[derive(Clone, Debug)]
pub(crate) struct Toolchain {
    /// What it is and why it was chosen, for the user.
    pub(crate) why: String,
    /// Folder that has `bin/cargo` and `bin/rustc`.
    prefix: PathBuf,
    /// Stable compilers take unstable flags only when told so.
    bootstrap: bool,
    /// Major version of its LLVM: bpf-linker must be able to read its bitcode.
    pub(crate) llvm: u32,
}

impl Toolchain {
    /// Its cargo, without what the calling cargo and rustup left in the environment.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(self.prefix.join("bin/cargo"));
        for (key, _) in env::vars_os() {
            let name = key.to_string_lossy();
            if name.starts_with("CARGO_")
                && name != "CARGO_HOME"
                && !name.starts_with("CARGO_NET_")
                && !name.starts_with("CARGO_HTTP_")
                || [
                    "CARGO",
                    "RUSTC",
                    "RUSTDOC",
                    "RUSTUP_TOOLCHAIN",
                    "RUSTFLAGS",
                    "RUSTC_WRAPPER",
                    "RUSTC_WORKSPACE_WRAPPER",
                ]
                .contains(&&*name)
            {
                command.env_remove(key);
            }
        }
        command.env("RUSTC", self.prefix.join("bin/rustc"));
        if self.bootstrap {
            command.env("RUSTC_BOOTSTRAP", "1");
        }
        command
    }
}

/// What was found of a toolchain.
struct Found {
    toolchain: Toolchain,
    complete: bool,
}

/// The toolchain to use, completed or installed if need be.
pub(crate) fn ensure() -> Result<Toolchain> {
    let found = survey();
    if let Some(found) = found.iter().find(|f| f.complete && linker::possible(&f.toolchain)) {
        return Ok(found.toolchain.clone());
    }
    match compiler(&found) {
        None => println!("No compiler for the BPF target here; installing one."),
        Some(there) => println!("BPF compiler: {}; but no LLVM for its linker. Looking for another pair.", there.why),
    }
    let mut failures = Vec::new();
    for install in [complete_nightly, install_debian, install_nightly] {
        if let Err(error) = install(&found) {
            failures.push(format!("{error:#}"));
            continue;
        }
        if let Some(found) = survey().into_iter().find(|f| f.complete && linker::possible(&f.toolchain)) {
            println!("  chosen: {}", found.toolchain.why);
            return Ok(found.toolchain);
        }
    }
    // A compiler is not what is missing: more compilers would not help.
    if let Some(there) = compiler(&survey()) {
        bail!("{}", linker::impossible(there));
    }
    let debian = if packages::has_apt() {
        format!(
            "\nor (Debian 12 with its security archive)\n    sudo apt-get update\n    sudo apt-get install -y {}",
            DEBIAN.join(" ")
        )
    } else {
        String::new()
    };
    let rustup = if find("rustup").is_some() {
        ""
    } else {
        "\n    curl --proto '=https' -sSf https://sh.rustup.rs | sh -s -- -y\n    . \"$HOME/.cargo/env\""
    };
    bail!(
        "no compiler for the BPF target. Run{rustup}\n    rustup toolchain install {NIGHTLY} --component rust-src --profile minimal{debian}\nand then this again. What was tried:\n    {}",
        failures.join("\n    ")
    )
}

/// A compiler that only lacks its linker, if there is one.
fn compiler(found: &[Found]) -> Option<&Toolchain> {
    found.iter().find(|f| f.complete && linker::supports(&f.toolchain)).map(|f| &f.toolchain)
}

/// All toolchains that are there: rustup's nightlies, the newest first, then Debian's.
fn survey() -> Vec<Found> {
    let mut names: Vec<_> = fs::read_dir(rustup_home().join("toolchains"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("nightly")))
        .collect();
    names.sort();
    let mut found: Vec<_> = names.iter().rev().filter_map(|prefix| inspect(prefix, false)).collect();
    found.extend(inspect(Path::new("/usr"), true));
    found
}

fn inspect(prefix: &Path, bootstrap: bool) -> Option<Found> {
    let output = Command::new(prefix.join("bin/rustc")).arg("-vV").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (version, llvm) = versions(&text)?;
    let complete = prefix.join("lib/rustlib/src/rust/library/core").is_dir()
        && prefix.join("bin/cargo").exists()
        && version >= OLDEST;
    let first = text.lines().next().unwrap_or_default();
    let why = if bootstrap {
        format!("{first} of the distribution with RUSTC_BOOTSTRAP=1 (no complete rustup nightly), LLVM {llvm}")
    } else {
        let name = prefix.file_name().unwrap_or_default().to_string_lossy();
        format!("rustup's {name}, which has rust-src: {first}, LLVM {llvm}")
    };
    Some(Found { toolchain: Toolchain { why, prefix: prefix.to_owned(), bootstrap, llvm }, complete })
}

/// (major, minor) of rustc, and its LLVM's major, from `rustc -vV`.
fn versions(text: &str) -> Option<((u32, u32), u32)> {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
    let mut release = value("release: ")?.split('.').map(str::parse::<u32>);
    let llvm = value("LLVM version: ")?.split('.').next()?.parse().ok()?;
    Some(((release.next()?.ok()?, release.next()?.ok()?), llvm))
}

fn rustup_home() -> PathBuf {
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".rustup");
    env::var_os("RUSTUP_HOME").map_or_else(home, PathBuf::from)
}

fn complete_nightly(found: &[Found]) -> Result<()> {
    let nightly = found
        .iter()
        .find(|f| !f.toolchain.bootstrap && !f.complete)
        .context("rustup has no nightly that only lacks rust-src")?;
    let name = nightly.toolchain.prefix.file_name().unwrap_or_default();
    task::run(
        "rust-src",
        "some seconds",
        Command::new("rustup").args(["component", "add", "rust-src", "--toolchain"]).arg(name),
    )
}

fn install_debian(_: &[Found]) -> Result<()> {
    if !DEBIAN.iter().all(|package| packages::available(package)) {
        bail!("apt knows no {}", DEBIAN.join(", "));
    }
    packages::ensure(&DEBIAN.map(str::to_owned), "the BPF compiler")
}

fn install_nightly(found: &[Found]) -> Result<()> {
    if compiler(found).is_some_and(|toolchain| !toolchain.bootstrap) {
        bail!("rustup has a complete nightly already");
    }
    find("rustup").context("no rustup on PATH")?;
    let words = ["toolchain", "install", NIGHTLY, "--component", "rust-src", "--profile", "minimal"];
    task::run("nightly Rust", "about a minute", Command::new("rustup").args(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_rustc() {
        let text = "rustc 1.97.0-nightly (e50aa6fba 2026-05-19)\nbinary: rustc\nrelease: 1.97.0-nightly\nLLVM version: 22.1.4\n";
        assert_eq!(versions(text), Some(((1, 97), 22)));
        assert_eq!(versions("rustc 1.0\n"), None);
    }
}
