//! Where the lab finds what it runs and where it writes: all of it under the workspace's `target` folder.
//!
//! `cargo xtask test` hands the places over by variables; without them a plain `cargo test -p integration` finds the same ones.

use std::{
    env,
    path::{Path, PathBuf},
};

use crate::needs;

/// Variable with the path of the `understudy` binary under test.
pub const BIN: &str = "UNDERSTUDY_BIN";
/// Variable with the path of the Python environment that has httpbin and gunicorn.
pub const VENV: &str = "UNDERSTUDY_LAB_VENV";

/// Version of `istio.io/api` whose definitions the scenarios use.
pub const ISTIO_API: &str = "v1.31.4";

/// The workspace's root folder.
#[must_use]
pub fn workspace() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

fn target() -> PathBuf {
    workspace().join("target")
}

fn given(variable: &str, fallback: impl FnOnce() -> PathBuf) -> PathBuf {
    env::var_os(variable).map_or_else(fallback, PathBuf::from)
}

/// The binary under test.
#[must_use]
pub fn binary() -> PathBuf {
    given(BIN, || target().join("debug/understudy"))
}

/// The Python environment.
#[must_use]
pub fn venv() -> PathBuf {
    given(VENV, || target().join("venv"))
}

/// Istio's own definitions of its kinds (YAML).
#[must_use]
pub fn istio_definitions() -> PathBuf {
    target().join(format!("istio/definitions-{ISTIO_API}.yaml"))
}

/// The lab's program in Go.
#[must_use]
pub fn golang_peer() -> PathBuf {
    target().join("golang/peer")
}

/// What renders `deploy/` as kustomize and Helm do.
#[must_use]
pub fn renderer() -> PathBuf {
    target().join("golang/render")
}

/// nginx: the machine's, or the one that was unpacked for the lab.
#[must_use]
pub fn nginx() -> PathBuf {
    needs::find("nginx").unwrap_or_else(|| target().join("nginx/usr/sbin/nginx"))
}

/// Folder of what the benchmark runs and nobody installs: load generators and the proxies that we are compared with.
#[must_use]
pub fn rivals() -> PathBuf {
    target().join("rivals")
}

/// A Python program of the lab.
#[must_use]
pub fn script(name: &str) -> PathBuf {
    workspace().join("tests/scripts").join(name)
}

/// The BPF object that the binary embeds.
#[must_use]
pub fn object() -> PathBuf {
    target().join("ebpf/understudy.bpf.o")
}

/// Folder of all worlds' logs and manifests.
#[must_use]
pub fn lab() -> PathBuf {
    target().join("lab")
}
