//! What a test needs of the machine, and what to do where it is missing.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use nix::unistd::geteuid;

use crate::paths;

/// Something that a test cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Namespaces and BPF programs.
    Root,
    /// `ip`, `nft` and `nsenter`.
    NetTools,
    /// curl, the client of Istio's mirroring task.
    Curl,
    /// httpbin and gunicorn.
    Httpbin,
    /// The Python libraries of the conformance tests.
    PythonPeers,
    /// The lab's program in Go.
    GolangPeer,
    /// kustomize and Helm, as a program of the lab.
    Renderer,
    /// nginx.
    Nginx,
    /// Redis: server and client.
    Redis,
    /// A cgroup2 file system to attach to.
    Cgroup2,
    /// The kernel's own type information.
    Btf,
    /// The binary under test with its BPF object.
    Agent,
}

impl Need {
    /// For a world without agent.
    pub const WORLD: &[Self] = &[Self::Root, Self::NetTools];
    /// For the world of Istio's mirroring task and an agent in it.
    pub const ALL: &[Self] =
        &[Self::Root, Self::NetTools, Self::Curl, Self::Httpbin, Self::Cgroup2, Self::Btf, Self::Agent];

    /// Why it is not met and what to do; `None` if it is.
    #[must_use]
    pub fn unmet(self) -> Option<String> {
        let set_up = "`cargo xtask test` sets it up";
        match self {
            Self::Root => (!geteuid().is_root()).then(|| "not root: run as root or with `sudo -E`".to_owned()),
            Self::NetTools => {
                let missing: Vec<_> = ["ip", "nft", "nsenter"].into_iter().filter(|p| find(p).is_none()).collect();
                (!missing.is_empty()).then(|| format!("no {} on PATH; {set_up}", missing.join(", ")))
            }
            Self::Curl => find("curl").is_none().then(|| format!("no curl on PATH; {set_up}")),
            Self::Httpbin => missing(&paths::venv().join("bin/gunicorn"), set_up),
            Self::PythonPeers => {
                let stamp = paths::venv().join("understudy-requirements");
                let has = fs::read_to_string(&stamp).unwrap_or_default();
                let complete = ["grpcio", "websockets", "aiosmtpd"].iter().all(|name| has.contains(name));
                (!complete)
                    .then(|| format!("no grpcio, websockets and aiosmtpd in {}; {set_up}", paths::venv().display()))
            }
            Self::GolangPeer => missing(&paths::golang_peer(), set_up),
            Self::Renderer => missing(&paths::renderer(), set_up),
            Self::Nginx => missing(&paths::nginx(), set_up),
            Self::Redis => find("redis-cli").is_none().then(|| format!("no redis-cli on PATH; {set_up}")),
            Self::Cgroup2 => {
                let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
                let found = mounts.lines().any(|l| l.contains(" - cgroup2 "));
                (!found).then(|| "no cgroup2 mount: `mount -t cgroup2 none /sys/fs/cgroup/unified`".to_owned())
            }
            Self::Btf => {
                let vmlinux = "/sys/kernel/btf/vmlinux";
                fs::metadata(vmlinux).is_err().then(|| format!("no {vmlinux}: the kernel lacks CONFIG_DEBUG_INFO_BTF"))
            }
            Self::Agent => [paths::binary(), paths::object()]
                .into_iter()
                .find(|file| !file.exists())
                .map(|file| format!("no {}; `cargo xtask test` builds it", file.display())),
        }
    }
}

fn missing(file: &Path, set_up: &str) -> Option<String> {
    (!file.exists()).then(|| format!("no {}; {set_up}", file.display()))
}

/// True where an unmet need is a failure and not a reason to leave a test out.
#[must_use]
pub fn required() -> bool {
    env::var_os("CI").is_some_and(|value| value == "true" || value == "1")
}

/// A program on PATH, or where Debian keeps root's programs (an `su` without `-` leaves those out of PATH).
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    search_path().into_iter().map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// What to start a program by: where [`find`] sees it, else its name, so that the error tells what is missing.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    find(name).unwrap_or_else(|| PathBuf::from(name))
}

/// PATH and the folders that [`find`] adds to it.
#[must_use]
pub fn search_path() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_keeps_its_name_and_a_path_stays_one() {
        assert_eq!(program("no-such-program-of-ours"), PathBuf::from("no-such-program-of-ours"));
        assert_eq!(program("/bin/sh"), PathBuf::from("/bin/sh"));
    }

    #[test]
    fn the_folders_of_root_s_programs_are_always_looked_into() {
        assert!(search_path().contains(&PathBuf::from("/usr/sbin")));
        assert!(find("sh").is_some_and(|file| file.is_absolute()));
    }
}
