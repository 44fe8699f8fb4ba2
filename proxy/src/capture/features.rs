//! What this kernel and this process can do. Asked by `doctor`, and by nothing that decides: loading is its own proof.

use std::{fs, path::Path};

use aya::{
    maps::MapType,
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported, is_map_supported, is_program_supported},
};

/// Kernel release as three numbers, and as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Like `(6, 18, 44)`.
    pub version: (u32, u32, u32),
    /// Like `6.18.44-generic`.
    pub release: String,
}

impl Kernel {
    /// The oldest that has everything we use: the namespace cookie in `sock_ops` came with 5.15.
    pub const OLDEST: (u32, u32, u32) = (5, 15, 0);

    /// The running one; none if it does not say.
    #[must_use]
    pub fn running() -> Option<Self> {
        let release = nix::sys::utsname::uname().ok()?.release().to_str()?.to_owned();
        Some(Self { version: version(&release)?, release })
    }
}

fn version(release: &str) -> Option<(u32, u32, u32)> {
    let numbers = release.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
    let mut numbers = numbers.split('.').map(str::parse);
    let major = numbers.next()?.ok()?;
    let minor = numbers.next()?.ok()?;
    Some((major, minor, numbers.next().and_then(Result::ok).unwrap_or(0)))
}

/// A capability (linux/capability.h) and what we need it for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Its name.
    pub name: &'static str,
    bit: u32,
    /// What stops working without it.
    pub needed_for: &'static str,
    /// Who stops working.
    pub needed_by: Needed,
}

/// Which command needs a capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    /// Whatever captures: `run` and `node`.
    Always,
    /// `node` alone: files name network namespaces, a cluster's pods are found by their processes.
    ByNode,
}

/// What the process needs. `CAP_SYS_ADMIN` includes `CAP_BPF`.
pub const CAPABILITIES: [Capability; 4] = [
    Capability { name: "CAP_BPF", bit: 39, needed_for: "loading the hooks", needed_by: Needed::Always },
    Capability {
        name: "CAP_NET_ADMIN",
        bit: 12,
        needed_for: "attaching the hooks and marking sockets",
        needed_by: Needed::Always,
    },
    Capability {
        name: "CAP_SYS_ADMIN",
        bit: 21,
        needed_for: "entering pods' network namespaces",
        needed_by: Needed::Always,
    },
    Capability {
        name: "CAP_SYS_PTRACE",
        bit: 19,
        needed_for: "reading /proc/PID/ns of other users' processes",
        needed_by: Needed::ByNode,
    },
];

/// Which of [`CAPABILITIES`] the process lacks.
#[must_use]
pub fn missing_capabilities() -> Vec<Capability> {
    let effective = fs::read_to_string("/proc/self/status").ok().and_then(|status| effective(&status)).unwrap_or(0);
    missing(effective)
}

fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn missing(effective: u64) -> Vec<Capability> {
    const SYS_ADMIN: u32 = 21;
    let has = |bit: u32| effective & 1 << bit != 0;
    let includes_bpf = |capability: &Capability| capability.name == "CAP_BPF" && has(SYS_ADMIN);
    CAPABILITIES.into_iter().filter(|capability| !has(capability.bit) && !includes_bpf(capability)).collect()
}

/// Does the kernel describe its own types?
#[must_use]
pub fn has_btf() -> bool {
    Path::new("/sys/kernel/btf/vmlinux").exists()
}

/// One thing that the hooks need of the kernel, and whether it is there (`Err`: it could not be asked, mostly for lack of rights).
pub type Probe = (&'static str, Result<bool, String>);

/// Asks for everything that the hooks need.
#[must_use]
pub fn probes() -> Vec<Probe> {
    let helper = |kind, helper| is_helper_supported(kind, helper).map_err(|error| super::chain(&error));
    let program = |kind| is_program_supported(kind).map_err(|error| super::chain(&error));
    let map = |kind| is_map_supported(kind).map_err(|error| super::chain(&error));
    vec![
        ("programs at connect and getpeername (cgroup_sock_addr)", program(ProgramType::CgroupSockAddr)),
        ("programs before the SYN (sock_ops)", program(ProgramType::SockOps)),
        ("storage at sockets (sk_storage)", map(MapType::SkStorage)),
        ("ring buffers", map(MapType::RingBuf)),
        (
            "finding a listener (bpf_sk_lookup_tcp)",
            helper(ProgramType::CgroupSockAddr, BpfHelper::BPF_FUNC_sk_lookup_tcp),
        ),
        ("namespace cookie at connect", helper(ProgramType::CgroupSockAddr, BpfHelper::BPF_FUNC_get_netns_cookie)),
        ("namespace cookie before the SYN", helper(ProgramType::SockOps, BpfHelper::BPF_FUNC_get_netns_cookie)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_all_distributions_are_read() {
        assert_eq!(version("6.18.44-fc-v595"), Some((6, 18, 44)));
        assert_eq!(version("5.15.0-91-generic"), Some((5, 15, 0)));
        assert_eq!(version("6.1-rc3"), Some((6, 1, 0)));
        assert_eq!(version("6.12+"), Some((6, 12, 0)));
        assert_eq!(version("nonsense"), None);
        assert!(Kernel::OLDEST > (5, 10, 200));
    }

    #[test]
    fn missing_capabilities_are_named_and_sys_admin_includes_bpf() {
        let names = |effective| missing(effective).into_iter().map(|missing| missing.name).collect::<Vec<_>>();
        assert_eq!(names(0), ["CAP_BPF", "CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE"]);
        assert_eq!(names(1 << 21), ["CAP_NET_ADMIN", "CAP_SYS_PTRACE"]);
        assert_eq!(names(1 << 39 | 1 << 12 | 1 << 19), ["CAP_SYS_ADMIN"]);
        assert_eq!(effective("Name:\tx\nCapEff:\t000001fffeffffff\n"), Some(0x1ff_feff_ffff));
    }
}
