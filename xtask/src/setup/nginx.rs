//! nginx in `target/nginx`: its package unpacked and not installed, because an installed one starts a server on the machine's own port 80.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};
use integration::paths;

use crate::{cargo, setup::packages, task};

/// Packages that have the program: Debian's since 12 and Ubuntu's since 24.04, then those of older ones.
const PACKAGES: [&str; 2] = ["nginx", "nginx-core"];

/// Fetches and unpacks it unless there is one.
pub(crate) fn ensure() -> Result<()> {
    if works(&paths::nginx()) {
        return Ok(());
    }
    let dir = cargo::target().join("nginx");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    println!("Missing: nginx; unpacking its package into {}.", dir.display());
    for package in PACKAGES {
        let file = packages::download(package, &dir)?;
        task::run("nginx", "a second", Command::new("dpkg-deb").arg("-x").arg(&file).arg(&dir))?;
        fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
        if works(&paths::nginx()) {
            return Ok(());
        }
    }
    bail!("the unpacked nginx does not start; `{} -v` says why. Or install nginx yourself", paths::nginx().display())
}

fn works(nginx: &Path) -> bool {
    nginx.is_file() && Command::new(nginx).arg("-v").output().is_ok_and(|output| output.status.success())
}
