//! Embeds the BPF object that `cargo xtask build-ebpf` made. Without one the binary still builds (unit tests, `check`),
//! and loading says how to make it. Tells the linker how the binary's relocations are kept.

use std::{env, fs, path::PathBuf, process::Command};

fn main() {
    embed();
    if knows_packed_relocations() {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// A position-independent binary lists every address that it holds, 24 bytes for each: 0.85 MB, all of it read into memory at each start. Packed
/// (DT_RELR) it is a hundredth of that. glibc applies such a list since 2.36 (its NEWS), and one that does not would start no such binary: so only
/// where the C library of this build is known.
fn knows_packed_relocations() -> bool {
    let set = |name| env::var(name).unwrap_or_default();
    if set("HOST") != set("TARGET") || set("CARGO_CFG_TARGET_ENV") != "gnu" {
        return false;
    }
    let version = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let mut numbers = version.trim().trim_start_matches("glibc ").split('.').map(str::parse::<u32>);
    matches!((numbers.next(), numbers.next()), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (2, 36))
}

fn embed() {
    let Some(out) = env::var_os("OUT_DIR").map(PathBuf::from) else { panic!("cargo sets OUT_DIR") };
    println!("cargo::rerun-if-env-changed=UNDERSTUDY_EBPF_OBJECT");
    let object = env::var_os("UNDERSTUDY_EBPF_OBJECT").map_or_else(
        || PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../target/ebpf/understudy.bpf.o"),
        PathBuf::from,
    );
    println!("cargo::rerun-if-changed={}", object.display());
    let embedded = out.join("understudy.bpf.o");
    if object.exists() {
        if let Err(error) = fs::copy(&object, &embedded) {
            panic!("cannot copy {} to {}: {error}", object.display(), embedded.display());
        }
    } else if let Err(error) = fs::write(&embedded, []) {
        panic!("cannot write {}: {error}", embedded.display());
    }
}
