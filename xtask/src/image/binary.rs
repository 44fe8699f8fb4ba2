//! The static binary for an architecture: no loader, no library, nothing that a root file system would have to have.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::Arch;
use crate::{build_ebpf, cargo, elf, setup};

/// Builds it, stripped, and returns where it is.
pub(super) fn build(arch: Arch, profile: &str) -> Result<PathBuf> {
    let triple = format!("{}-unknown-linux-gnu", arch.rust());
    let own = Arch::own().ok() == Some(arch);
    let cc = if own { None } else { Some(setup::c_compiler(&format!("{}-linux-gnu", arch.rust()), arch.name())?) };
    let object = build_ebpf::build_for(arch.rust())?;
    let mut command = compiler(arch, &triple)?;
    // The package alone: the tests' features of shared libraries have no place in what is shipped.
    command
        .args(["build", "--locked", "--package", "understudy", "--bin", "understudy", "--profile", profile])
        // With a target named, flags are not for build scripts and procedural macros, which cannot be static.
        .args(["--target", &triple])
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static")
        // In both places: with a setting of its own for the package, cargo (1.95) forgets what the profile says of symbols.
        .args(["--config", &format!("profile.{profile}.strip='symbols'")])
        .args(["--config", &format!("profile.{profile}.package.understudy.strip='symbols'")])
        .env("UNDERSTUDY_EBPF_OBJECT", object)
        .env("CARGO_TARGET_DIR", cargo::target())
        .current_dir(cargo::root());
    if arch == Arch::Arm64 {
        // Kernels for arm64 have pages of 4, 16 or 64 KiB. The allocator must be told the largest; smaller ones are then fine, too.
        command.env("JEMALLOC_SYS_WITH_LG_PAGE", "16");
    }
    if let Some(cc) = cc {
        command
            .env(format!("CARGO_TARGET_{}_LINKER", variable(&triple)), &cc)
            .env(format!("CC_{}", triple.replace('-', "_")), &cc);
    }
    cargo::must(&mut command)?;
    let folder = if profile == "dev" { "debug" } else { profile };
    let binary = cargo::target().join(triple).join(folder).join("understudy");
    let bytes = fs::read(&binary).with_context(|| format!("cannot read {}", binary.display()))?;
    ensure!(
        !elf::has_symbols(&bytes)?,
        "{} has its symbols: cargo was told to strip it, and did not",
        binary.display()
    );
    Ok(binary)
}

/// The cargo that can build for a target: the calling one if its compiler has the target's standard library; otherwise the BPF object's, which
/// has the source to build one.
fn compiler(arch: Arch, triple: &str) -> Result<Command> {
    if has_std(triple)? {
        println!("{}: by the calling cargo, whose compiler has the standard library of {triple}", arch.name());
        return Ok(cargo::cargo(&[]));
    }
    let toolchain = setup::ebpf()?;
    println!(
        "{}: with the standard library from source, by {}; after `rustup target add {triple}` it is the calling cargo",
        arch.name(),
        toolchain.why
    );
    let mut cargo = toolchain.cargo();
    cargo.arg("-Zbuild-std=std");
    Ok(cargo)
}

/// True if the compiler of the calling cargo has the standard library of a target.
fn has_std(triple: &str) -> Result<bool> {
    let output = Command::new(env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc")))
        .args(["--print", "target-libdir", "--target", triple])
        .current_dir(cargo::root())
        .output()
        .context("cannot run rustc")?;
    let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let entries = Path::new(&path).read_dir().into_iter().flatten().flatten();
    Ok(output.status.success()
        && entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-")))
}

/// A name as a part of a variable's.
fn variable(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}
