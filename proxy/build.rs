//! Embeds the BPF object that `cargo xtask build-ebpf` made. Without one the binary still builds (unit tests, `check`),
//! and loading says how to make it.

use std::{env, fs, path::PathBuf};

fn main() {
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
