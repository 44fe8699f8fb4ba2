//! A Python environment in `target/venv` with the server of Istio's mirroring task, httpbin under gunicorn, and the libraries that the
//! conformance tests speak with.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

use crate::{cargo, setup::packages, task};

/// gunicorn 23 is the last that runs on every Python from 3.7 on and keeps no control socket in the user's home; httpbin 0.10.4 is its
/// newest, and Flask and Werkzeug are the versions that it was seen with.
const REQUIREMENTS: [&str; 4] = ["httpbin==0.10.4", "gunicorn==23.0.0", "Flask==3.1.3", "Werkzeug==3.1.9"];
/// grpcio 1.76.0 has wheels for Python 3.9 to 3.14, websockets 15.0.1 is pure Python where it has none, and aiosmtpd 1.4.6 is its newest.
const PEERS: [&str; 3] = ["grpcio==1.76.0", "websockets==15.0.1", "aiosmtpd==1.4.6"];
/// Never built here: that would take a compiler and minutes.
const ONLY_WHEELS: &str = "--only-binary=grpcio,websockets,aiosmtpd";

/// Where it is.
pub(crate) fn venv() -> PathBuf {
    cargo::target().join("venv")
}

fn stamp() -> PathBuf {
    venv().join("understudy-requirements")
}

/// Makes the environment unless it is there.
pub(crate) fn ensure() -> Result<()> {
    let wanted = [&REQUIREMENTS[..], &PEERS].concat().join("\n");
    if fs::read_to_string(stamp()).is_ok_and(|has| has == wanted) && venv().join("bin/gunicorn").exists() {
        return Ok(());
    }
    println!("Missing: a Python environment with {}; making it in target/venv.", wanted.replace('\n', ", "));
    let python = match can_make(Path::new("python3")) {
        true => PathBuf::from("python3"),
        false => {
            packages::ensure(&["python3".to_owned(), "python3-venv".to_owned()], "the toy world's httpbin")?;
            PathBuf::from("/usr/bin/python3")
        }
    };
    task::run("python", "some seconds", Command::new(python).args(["-m", "venv", "--clear"]).arg(venv()))?;
    let mut pip = Command::new(venv().join("bin/pip"));
    pip.args(["install", "--no-input", "--disable-pip-version-check", ONLY_WHEELS]).args(wanted.lines());
    task::run("httpbin and others", "some seconds", &mut pip)?;
    fs::write(stamp(), wanted).context("cannot write into target/venv")
}

/// Debian's Python has `venv` without the `ensurepip` that it needs unless python3-venv is installed.
fn can_make(python: &Path) -> bool {
    let mut command = Command::new(python);
    command.args(["-c", "import ensurepip, venv"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
