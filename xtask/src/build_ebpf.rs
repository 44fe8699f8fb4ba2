//! `build-ebpf`: the kernel side as `target/ebpf/understudy.bpf.o`, which the proxy's build script embeds. For another architecture than
//! this machine's it is `understudy-ARCH.bpf.o` beside it, which `image` hands to the build script.

mod debug_info;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};

use crate::{cargo, setup};

const TRIPLE: &str = "bpfel-unknown-none";
const PACKAGE: &str = "proxy-ebpf";
const BINARY: &str = "understudy-ebpf";

pub(crate) fn build_ebpf() -> Result<ExitCode> {
    let object = build()?;
    println!("{}", object.display());
    Ok(ExitCode::SUCCESS)
}

/// Builds the object for this machine.
pub(crate) fn build() -> Result<PathBuf> {
    build_for(env::consts::ARCH)
}

/// Builds the object for nodes of an architecture (Rust's name of it), and replaces the old one only if it is another: the proxy is not
/// built again for nothing.
pub(crate) fn build_for(arch: &str) -> Result<PathBuf> {
    let toolchain = setup::ebpf()?;
    let (dir, object) = if arch == env::consts::ARCH {
        (cargo::target().join("ebpf-build"), integration::paths::object())
    } else {
        let object = integration::paths::object().with_file_name(format!("understudy-{arch}.bpf.o"));
        (cargo::target().join(format!("ebpf-build-{arch}")), object)
    };
    // `--btf` keeps the type information that maps are loaded by; it is made from full debug info, which then goes.
    let flags =
        [format!("--cfg=bpf_target_arch=\"{arch}\""), "-Cdebuginfo=2".to_owned(), "-Clink-arg=--btf".to_owned()];
    let mut paths = vec![setup::tools_bin()];
    paths.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    let mut command = toolchain.cargo();
    command
        .current_dir(cargo::root())
        .args(["build", "--release", "--package", PACKAGE, "--bin", BINARY, "--target", TRIPLE, "-Z", "build-std=core"])
        .env("CARGO_TARGET_DIR", &dir)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env("PATH", env::join_paths(paths)?);
    cargo::must(&mut command).with_context(|| format!("BPF compiler: {}", toolchain.why))?;
    replace(&dir.join(TRIPLE).join("release").join(BINARY), &object)?;
    Ok(object)
}

fn replace(built: &Path, object: &Path) -> Result<()> {
    let new = fs::read(built).with_context(|| format!("cannot read {}", built.display()))?;
    let new = debug_info::remove(&new).with_context(|| format!("cannot strip {}", built.display()))?;
    if fs::read(object).is_ok_and(|old| old == new) {
        return Ok(());
    }
    if let Some(dir) = object.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    fs::write(object, new).with_context(|| format!("cannot write {}", object.display()))
}
