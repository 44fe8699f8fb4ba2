//! `understudy doctor`: looks at everything that capture needs of this machine, changes nothing, and says what to do.

use std::{fs, path::Path};

use aya::programs::{ProgramType, loaded_programs};

use super::{
    cgroup::{CgroupRoot, RootKind},
    cleanup,
    features::{self, Capability, Needed},
    load, pin,
};
use crate::net::{Mark, netns, rlimit};

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// As it should be.
    Ok,
    /// Works, but worth knowing.
    Note,
    /// Capture will not work.
    Problem,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// How it is.
    pub health: Health,
    /// What was found.
    pub found: String,
    /// What to do; empty if nothing.
    pub remedy: String,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, health: Health::Ok, found: found.into(), remedy: String::new() }
    }

    fn note(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, health: Health::Note, found: found.into(), remedy: remedy.into() }
    }

    fn problem(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, health: Health::Problem, found: found.into(), remedy: remedy.into() }
    }
}

/// Runs every check. `proc`: the node's `/proc`.
#[must_use]
pub fn examine(cgroup: Option<&Path>, proc: &Path, bpffs: &Path, mark: Mark) -> Vec<Check> {
    let mut checks = vec![
        object(),
        kernel(),
        btf(),
        capabilities(&features::missing_capabilities()),
        root(cgroup, proc),
        node(proc),
    ];
    checks.extend(features::probes().into_iter().filter_map(probe));
    checks.extend([pins(bpffs), open_files(), marks(mark), neighbours()]);
    checks
}

fn object() -> Check {
    if load::is_built() {
        Check::ok("eBPF object", "built into this binary")
    } else {
        Check::problem("eBPF object", "not built into this binary", "run `cargo xtask build-ebpf` and build again")
    }
}

fn kernel() -> Check {
    let (major, minor, _) = features::Kernel::OLDEST;
    match features::Kernel::running() {
        Some(kernel) if kernel.version >= features::Kernel::OLDEST => Check::ok("kernel", kernel.release),
        Some(kernel) => Check::problem("kernel", kernel.release, format!("{major}.{minor} or newer is needed")),
        None => Check::note("kernel", "release unknown", format!("{major}.{minor} or newer is needed")),
    }
}

fn btf() -> Check {
    if features::has_btf() {
        Check::ok("BTF", "/sys/kernel/btf/vmlinux")
    } else {
        Check::problem("BTF", "no /sys/kernel/btf/vmlinux", "needs a kernel with CONFIG_DEBUG_INFO_BTF")
    }
}

/// What only `node` needs is no problem of a machine on which `run` captures.
fn capabilities(missing: &[Capability]) -> Check {
    const NAME: &str = "capabilities";
    if missing.is_empty() {
        return Check::ok(NAME, "all there");
    }
    let list: Vec<_> = missing.iter().map(|c| format!("{} ({})", c.name, c.needed_for)).collect();
    let found = format!("missing: {}", list.join(", "));
    if missing.iter().all(|capability| capability.needed_by == Needed::ByNode) {
        let remedy = "only `understudy node` needs it: run as root or grant it (as deploy/base/daemonset.yaml does)";
        return Check::note(NAME, found, remedy);
    }
    Check::problem(NAME, found, "run as root or grant them")
}

fn root(explicit: Option<&Path>, proc: &Path) -> Check {
    match CgroupRoot::find(explicit, proc) {
        Ok(root) => {
            let kind = match root.kind() {
                RootKind::Machine => "the machine's root",
                RootKind::ContainerNode => "the root of a node that is a container (kind)",
            };
            Check::ok("cgroup2 root", format!("{}: {kind}", root.path().display()))
        }
        Err(error) => Check::problem("cgroup2 root", error.to_string(), ""),
    }
}

/// Whose `/proc` it is. `understudy node` must tell the host's network from pods'.
fn node(proc: &Path) -> Check {
    const NAME: &str = "node's processes";
    let at = proc.display();
    let Ok(first) = fs::read_to_string(proc.join("1/comm")) else {
        let remedy = "in a pod, mount the node's /proc by hostPath and name it by --proc";
        return Check::problem(NAME, format!("no process 1 in {at}"), remedy);
    };
    let first = first.trim();
    match netns::init(proc) {
        Ok(host) => {
            let ours = netns::NetnsId::of(Path::new(netns::OWN)).is_ok_and(|ours| ours == host);
            let whose = if ours { "ours too" } else { "not ours" };
            Check::ok(NAME, format!("{at}: PID 1 is {first}, in network namespace {host}, {whose}"))
        }
        Err(error) => Check::note(
            NAME,
            format!("{at}: PID 1 is {first}; {error}"),
            "only `understudy node` needs it: CAP_SYS_PTRACE, and no AppArmor profile that denies ptrace",
        ),
    }
}

/// Only what is missing is worth a line.
fn probe((name, answer): features::Probe) -> Option<Check> {
    match answer {
        Ok(true) => None,
        Ok(false) => {
            Some(Check::problem("kernel feature", format!("{name}: missing"), "needs a kernel of 5.15 or newer"))
        }
        Err(reason) => Some(Check::note("kernel feature", format!("{name}: cannot ask: {reason}"), "run as root")),
    }
}

fn pins(bpffs: &Path) -> Check {
    let at = bpffs.display();
    if !pin::is_bpffs(bpffs) {
        let remedy = "only rules with failure-policy `closed` need it; it is mounted when the first one comes";
        return Check::note("bpffs", format!("not mounted at {at}"), remedy);
    }
    let leftovers = bpffs.join(cleanup::TOP);
    if leftovers.exists() {
        let remedy = "right while an agent with closed rules runs; otherwise `understudy cleanup` removes them";
        return Check::note("bpffs", format!("pins at {}", leftovers.display()), remedy);
    }
    Check::ok("bpffs", format!("mounted at {at}, nothing of ours pinned"))
}

fn open_files() -> Check {
    const ENOUGH: u64 = 16_384;
    let limits = rlimit::current();
    let found = format!("soft {}, hard {}", limits.soft, limits.hard);
    if limits.hard >= ENOUGH {
        return Check::ok("open files", found);
    }
    Check::note("open files", found, "each connection takes two or three; raise RLIMIT_NOFILE (LimitNOFILE of systemd)")
}

fn marks(mark: Mark) -> Check {
    match mark.clash() {
        None => Check::ok("socket mark", mark.to_string()),
        Some(whose) => {
            Check::note("socket mark", format!("{mark} overlaps the marks of {whose}"), "choose another bit by --mark")
        }
    }
}

/// Others who steer connects or rename peers, told by their programs' kind. Our own go by our names.
fn neighbours() -> Check {
    const NAME: &str = "other connect hooks";
    let mut names: Vec<String> = loaded_programs()
        .filter_map(Result::ok)
        .filter(|info| info.program_type() == ProgramType::CgroupSockAddr.into())
        .filter_map(|info| info.name_as_str().map(str::to_owned))
        .filter(|name| !super::attach::PROGRAMS.contains(&name.as_str()))
        .collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        return Check::ok(NAME, "none");
    }
    let remedy = "one that translates Services (Cilium, Calico eBPF) may hide the Service from us; with Cilium set socketLB.hostNamespaceOnly=true";
    Check::note(NAME, names.join(", "), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails if `node` is told that all is well although it will find no pod, or if `run` is told not to work.
    #[test]
    fn what_only_node_needs_is_noted_with_its_remedy_and_is_no_problem() {
        let lacking = |names: &[&str]| {
            let missing = features::CAPABILITIES.into_iter().filter(|capability| names.contains(&capability.name));
            capabilities(&missing.collect::<Vec<_>>())
        };
        assert_eq!(lacking(&[]).health, Health::Ok);
        let check = lacking(&["CAP_SYS_PTRACE"]);
        assert_eq!(check.health, Health::Note);
        assert!(check.found.contains("CAP_SYS_PTRACE") && check.remedy.contains("`understudy node`"), "{check:?}");
        let check = lacking(&["CAP_SYS_PTRACE", "CAP_NET_ADMIN"]);
        assert_eq!(check.health, Health::Problem);
        assert!(check.found.contains("CAP_SYS_PTRACE"), "{check:?}");
    }
}
