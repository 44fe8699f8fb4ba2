//! Debian and Ubuntu packages: which are missing, and their installation by apt.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use integration::needs::{self, find};
use nix::unistd::geteuid;

use crate::task;

/// Programs of the toy world, and the package that has each.
pub(crate) const WORLD: &[(&str, &str)] =
    &[("ip", "iproute2"), ("nft", "nftables"), ("nsenter", "util-linux"), ("curl", "curl")];
/// Counts the instructions of a request.
pub(crate) const COUNTING: &[(&str, &str)] =
    &[("valgrind", "valgrind"), ("ip", "iproute2"), ("nft", "nftables"), ("nsenter", "util-linux")];
/// What building the binary needs beside Rust and its linker: its allocator is C.
pub(crate) const BUILD: &[(&str, &str)] = &[("make", "make")];
/// Programs of the conformance tests. redis-tools has the server's program too, and starts none (see `integration::redis`).
pub(crate) const PEERS: &[(&str, &str)] = &[("redis-cli", "redis-tools")];

/// What the package managers of other systems call Debian's packages, where the name differs: dnf, pacman, zypper.
const ELSEWHERE: [(&str, [&str; 3]); 6] = [
    ("iproute2", ["iproute", "iproute2", "iproute2"]),
    ("python3", ["python3", "python", "python3"]),
    ("python3-venv", ["python3-pip", "python-pip", "python3-pip"]),
    ("nftables", ["nftables"; 3]),
    ("curl", ["curl"; 3]),
    ("make", ["make"; 3]),
];
/// How each of them installs, in the same order.
const MANAGERS: [(&str, &str); 3] =
    [("dnf", "dnf install -y"), ("pacman", "pacman -S --noconfirm"), ("zypper", "zypper install -y")];

/// Packages of programs that are not there.
pub(crate) fn missing(programs: &[(&str, &str)]) -> Vec<String> {
    programs.iter().filter(|(program, _)| find(program).is_none()).map(|(_, package)| (*package).to_owned()).collect()
}

/// A command for each package, to be typed where there is no apt.
fn commands(packages: &[String], manager: Option<usize>) -> String {
    let command = |package: &String| match manager {
        Some(index) => {
            let name =
                ELSEWHERE.iter().find(|(debian, _)| debian == package).map_or(&**package, |(_, names)| names[index]);
            format!("\n    sudo {} {name}", MANAGERS[index].1)
        }
        None => format!("\n    {package} (its name in Debian), by this system's package manager"),
    };
    packages.iter().map(command).collect()
}

/// True where apt can be asked.
pub(crate) fn has_apt() -> bool {
    find("apt-get").is_some()
}

/// True if apt knows a package with an installable version, after its lists were fetched if they had to be.
pub(crate) fn available(package: &str) -> bool {
    candidate(package) || (has_apt() && geteuid().is_root() && update_once().is_ok() && candidate(package))
}

fn candidate(package: &str) -> bool {
    let output = Command::new("apt-cache").args(["policy", package]).env("LC_ALL", "C").output();
    output.is_ok_and(|o| {
        String::from_utf8_lossy(&o.stdout)
            .lines()
            .any(|line| line.trim().strip_prefix("Candidate: ").is_some_and(|version| version != "(none)"))
    })
}

/// Installs packages, or says exactly what to type where that cannot be done from here.
pub(crate) fn ensure(packages: &[String], what_for: &str) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    if !has_apt() {
        let manager = MANAGERS.iter().position(|(program, _)| find(program).is_some());
        bail!(
            "{what_for} needs packages, and there is no apt-get here. Run{}\nand then this again",
            commands(packages, manager)
        );
    }
    if !geteuid().is_root() {
        bail!(
            "{what_for} needs packages, which only root can install. Run\n    sudo apt-get update\n    sudo apt-get install -y --no-install-recommends {list}\nand then this again"
        );
    }
    println!("{what_for} needs packages: {list}");
    update_once()?;
    let mut install = apt();
    install.args(["install", "-y", "--no-install-recommends"]).args(packages);
    task::run("packages", "up to a minute", &mut install)
}

/// Downloads a package's file into a folder and installs nothing.
pub(crate) fn download(package: &str, dir: &Path) -> Result<PathBuf> {
    if !has_apt() {
        bail!("there is no apt-get here to fetch {package} with; install it yourself");
    }
    if !candidate(package) && geteuid().is_root() {
        update_once()?;
    }
    task::run(package, "some seconds", apt().current_dir(dir).args(["download", package]))?;
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let ours = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("{package}_")))
    };
    entries.flatten().map(|entry| entry.path()).find(ours).with_context(|| format!("apt downloaded no {package}"))
}

fn update_once() -> Result<()> {
    use std::sync::OnceLock;
    static DONE: OnceLock<()> = OnceLock::new();
    if DONE.get().is_none() {
        task::run("package lists", "some seconds", apt().arg("update"))?;
        let _ = DONE.set(());
    }
    Ok(())
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    // dpkg refuses to work where PATH lacks the folders of root's programs.
    if let Ok(path) = env::join_paths(needs::search_path()) {
        apt.env("PATH", path);
    }
    apt.env("DEBIAN_FRONTEND", "noninteractive").args(["-o", "DPkg::Lock::Timeout=300"]);
    apt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_piece_has_its_command_in_the_words_of_the_system() {
        let packages = ["iproute2".to_owned(), "curl".to_owned()];
        assert_eq!(commands(&packages, Some(0)), "\n    sudo dnf install -y iproute\n    sudo dnf install -y curl");
        assert!(commands(&packages, None).contains("iproute2 (its name in Debian)"));
    }
}
