//! The foreign programs, where the chores have put them, and why one is not there.

use std::{fs, path::PathBuf};

use integration::{needs, paths};

/// What starts a program: the program, or why there is none.
pub(crate) type Found = Result<PathBuf, String>;

/// All of them.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) wrk: Found,
    pub(crate) h2load: Found,
    pub(crate) envoy: Found,
    pub(crate) haproxy: Found,
    pub(crate) nginx: Found,
}

impl Programs {
    pub(crate) fn find() -> Self {
        Self {
            wrk: find("wrk", "usr/bin/wrk"),
            h2load: find("h2load", "usr/bin/h2load"),
            envoy: find("envoy", "envoy/envoy/_bin/envoy"),
            haproxy: find("haproxy", "usr/sbin/haproxy"),
            nginx: Ok(paths::nginx()).and_then(|path| if path.exists() { Ok(path) } else { Err(hint("nginx")) }),
        }
    }
}

/// Words to put before a program: unpacked libraries are found by the program, and by nobody else.
pub(crate) fn with_libraries() -> [String; 2] {
    let libraries = paths::rivals().join("usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
    ["env".to_owned(), format!("LD_LIBRARY_PATH={}", libraries.display())]
}

fn find(name: &str, unpacked: &str) -> Found {
    let unpacked = paths::rivals().join(unpacked);
    if unpacked.exists() {
        return Ok(unpacked);
    }
    needs::find(name).ok_or_else(|| hint(name))
}

fn hint(name: &str) -> String {
    let why = fs::read_to_string(paths::rivals().join(format!("{name}.why"))).unwrap_or_default();
    if why.is_empty() { format!("no {name} here; `cargo xtask bench` sets it up") } else { why }
}
