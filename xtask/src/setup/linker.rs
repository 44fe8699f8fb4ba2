//! bpf-linker in `target/tools`, built against the distribution's LLVM that reads the compiler's bitcode.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    cargo,
    setup::{Toolchain, packages},
    task,
};

const VERSION: &str = "0.13.0";
/// The LLVM versions that this bpf-linker can be built with.
const LLVMS: std::ops::RangeInclusive<u32> = 21..=23;

/// Folder that has bpf-linker, to be put in front of PATH.
pub(crate) fn tools_bin() -> PathBuf {
    cargo::target().join("tools/bin")
}

fn stamp() -> PathBuf {
    cargo::target().join("tools/bpf-linker.version")
}

fn built_with() -> Option<u32> {
    let text = fs::read_to_string(stamp()).ok()?;
    let llvm = text.trim().strip_prefix(&format!("{VERSION} llvm-"))?.parse().ok()?;
    tools_bin().join("bpf-linker").exists().then_some(llvm)
}

fn prefix(llvm: u32) -> PathBuf {
    PathBuf::from(format!("/usr/lib/llvm-{llvm}"))
}

fn has_dev(llvm: u32) -> bool {
    prefix(llvm).join("bin/llvm-config").exists() && prefix(llvm).join("include/llvm-c").is_dir()
}

/// The versions that read a compiler's bitcode: its own, then later ones.
fn readers(toolchain: &Toolchain) -> impl Iterator<Item = u32> {
    LLVMS.filter({
        let own = toolchain.llvm;
        move |llvm| *llvm >= own
    })
}

/// True if there is, or can be, a linker for what the compiler writes.
pub(crate) fn possible(toolchain: &Toolchain) -> bool {
    built_with().is_some_and(|llvm| llvm >= toolchain.llvm)
        || readers(toolchain).any(has_dev)
        || readers(toolchain).any(|llvm| packages::available(&package(llvm)))
}

fn package(llvm: u32) -> String {
    format!("llvm-{llvm}-dev")
}

/// True if this bpf-linker can be built for what the compiler writes, wherever its LLVM comes from.
pub(crate) fn supports(toolchain: &Toolchain) -> bool {
    toolchain.llvm <= *LLVMS.end()
}

/// What to type where the compiler is there and no LLVM for its linker is.
pub(crate) fn impossible(toolchain: &Toolchain) -> String {
    let llvm = toolchain.llvm.max(*LLVMS.start());
    let os = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let why = format!("the compiler for the BPF target is there ({}), but bpf-linker {VERSION} needs", toolchain.why);
    match codename(&os).filter(|_| packages::has_apt()) {
        Some(codename) => format!(
            "{why} {}, which apt does not know. Run\n{}\nand then this again",
            package(llvm),
            archive(llvm, codename)
        ),
        None => format!(
            "{why} the development files of LLVM {llvm}, with bin/llvm-config and include/llvm-c under {0}. Get that version's archive for Linux from https://github.com/llvm/llvm-project/releases, run\n    \
             sudo mkdir -p {0}\n    sudo tar -xf ARCHIVE -C {0} --strip-components=1\nand then this again",
            prefix(llvm).display()
        ),
    }
}

/// Commands that add LLVM's own archive for a release of Debian or Ubuntu.
fn archive(llvm: u32, codename: &str) -> String {
    format!(
        "    sudo apt-get update && sudo apt-get install -y --no-install-recommends ca-certificates curl\n    \
         curl -fsSL https://apt.llvm.org/llvm-snapshot.gpg.key | sudo tee /etc/apt/trusted.gpg.d/apt.llvm.org.asc >/dev/null\n    \
         echo 'deb https://apt.llvm.org/{codename}/ llvm-toolchain-{codename}-{llvm} main' | sudo tee /etc/apt/sources.list.d/llvm-{llvm}.list\n    \
         sudo apt-get update && sudo apt-get install -y --no-install-recommends {}",
        package(llvm)
    )
}

fn codename(os_release: &str) -> Option<&str> {
    let value = os_release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?.trim_matches('"');
    (!value.is_empty()).then_some(value)
}

/// Builds the linker unless it is there.
pub(crate) fn ensure(toolchain: &Toolchain) -> Result<()> {
    if built_with().is_some_and(|llvm| llvm >= toolchain.llvm) {
        return Ok(());
    }
    println!("BPF compiler: {}", toolchain.why);
    println!("Missing: bpf-linker {VERSION}; building it into target/tools.");
    let llvm = match readers(toolchain).find(|llvm| has_dev(*llvm)) {
        Some(llvm) => llvm,
        None => {
            let llvm = readers(toolchain)
                .find(|llvm| packages::available(&package(*llvm)))
                .with_context(|| impossible(toolchain))?;
            packages::ensure(&[package(llvm)], "bpf-linker")?;
            llvm
        }
    };
    build(llvm)
}

fn build(llvm: u32) -> Result<()> {
    let root = cargo::target().join("tools");
    let feature = format!("llvm-{llvm}");
    let mut install = cargo::cargo(&["install", "bpf-linker", "--version", VERSION, "--locked", "--force"]);
    install
        .args(["--no-default-features", "--features", &feature, "--root"])
        .arg(&root)
        .env("LLVM_PREFIX", prefix(llvm))
        .env(format!("LLVM_SYS_{llvm}1_PREFIX"), prefix(llvm))
        .env("CARGO_TARGET_DIR", root.join("build"));
    task::run("bpf-linker", "one to three minutes", &mut install)?;
    works(&tools_bin().join("bpf-linker"))?;
    // Some hundred MB that nobody needs again.
    let _ = fs::remove_dir_all(root.join("build"));
    fs::write(stamp(), format!("{VERSION} llvm-{llvm}\n")).context("cannot write target/tools/bpf-linker.version")
}

fn works(linker: &Path) -> Result<()> {
    let output =
        Command::new(linker).arg("--version").output().with_context(|| format!("cannot run {}", linker.display()))?;
    if !output.status.success() {
        bail!("{} does not start: {}", linker.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_that_of_this_release() {
        let os = "PRETTY_NAME=\"Ubuntu 24.04 LTS\"\nVERSION_CODENAME=noble\nID=ubuntu\n";
        assert_eq!(codename(os), Some("noble"));
        assert_eq!(codename("ID=arch\n"), None);
        let commands = archive(22, "noble");
        assert!(commands.contains("https://apt.llvm.org/noble/ llvm-toolchain-noble-22 main"), "{commands}");
        assert!(commands.ends_with("llvm-22-dev"), "{commands}");
    }
}
