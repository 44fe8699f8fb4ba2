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
use crate::{build_ebpf, cargo, setup};

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
    ensure!(has_symbols(&bytes) == Some(false), "{} is no binary without symbols: was it stripped?", binary.display());
    Ok(binary)
}

/// Whether an ELF file of 64 bits, little endian, has a section of the type `SHT_SYMTAB` (System V ABI, chapter 4). `None` = it is none.
fn has_symbols(elf: &[u8]) -> Option<bool> {
    let number = |at: usize, size: usize| {
        let bytes = elf.get(at..at.checked_add(size)?)?;
        usize::try_from(bytes.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))).ok()
    };
    elf.starts_with(b"\x7fELF\x02\x01").then_some(())?;
    let (table, size, count) = (number(40, 8)?, number(58, 2)?, number(60, 2)?);
    let types: Option<Vec<_>> =
        (0..count).map(|index| number(table.checked_add(index * size)?.checked_add(4)?, 4)).collect();
    Some(types?.contains(&2))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A test's own program has symbols: rustc strips none.
    #[test]
    fn symbols_are_found() {
        let own = fs::read(env::current_exe().unwrap()).unwrap();
        assert_eq!(has_symbols(&own), Some(true));
        assert_eq!(has_symbols(b"\x7fELF\x02\x01"), None, "half a header");
        let mut without = own;
        without[60..62].fill(0);
        assert_eq!(has_symbols(&without), Some(false), "no section at all");
    }
}
