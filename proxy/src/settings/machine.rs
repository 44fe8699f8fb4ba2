//! The machine: which parts of it are ours, and what is captured there.

use std::{path::PathBuf, sync::Arc, time::Duration};

use crate::{
    cli::{CaptureArgs, KernelLog, MachineArgs},
    net::Mark,
};

/// Which parts of the machine are ours.
#[derive(Clone, Debug)]
pub struct MachineSettings {
    /// The node's cgroup2 root; `None` = find it.
    pub cgroup_root: Option<PathBuf>,
    /// Mount point of the BPF file system.
    pub bpffs: PathBuf,
    /// The node's `/proc`.
    pub proc: PathBuf,
    /// Name of this process's pins, an RFC 1123 label.
    pub instance: Arc<str>,
}

/// What `understudy doctor` looks at.
#[derive(Clone, Debug)]
pub struct DoctorSettings {
    /// Where hooks would be attached and pinned.
    pub machine: MachineSettings,
    /// Mark of our own sockets.
    pub mark: Mark,
}

/// What the hooks are loaded with.
#[derive(Clone, Debug)]
pub struct CaptureSettings {
    /// Where they are attached and pinned.
    pub machine: MachineSettings,
    /// Mark of our own sockets.
    pub mark: Mark,
    /// Entries of the rules map.
    pub max_rules: u32,
    /// Age at which a heartbeat is stale.
    pub heartbeat_stale: Duration,
    /// What the kernel side logs.
    pub kernel_log: KernelLog,
}

/// How pods are enrolled.
#[derive(Clone, Copy, Debug)]
pub struct EnrolSettings {
    /// Whether a pod may name the host's own namespace.
    pub allow_host_netns: bool,
    /// How often what is there is compared with what should be there.
    pub reconcile_interval: Duration,
}

impl From<MachineArgs> for MachineSettings {
    fn from(arguments: MachineArgs) -> Self {
        let MachineArgs { cgroup_root, bpffs, proc, instance } = arguments;
        Self { cgroup_root, bpffs, proc, instance: instance.into() }
    }
}

impl CaptureSettings {
    pub(super) fn new(machine: MachineArgs, arguments: &CaptureArgs) -> Self {
        Self {
            machine: machine.into(),
            mark: arguments.mark,
            max_rules: arguments.max_rules,
            heartbeat_stale: arguments.heartbeat_stale,
            kernel_log: arguments.capture_log_level,
        }
    }
}

impl From<&CaptureArgs> for EnrolSettings {
    fn from(arguments: &CaptureArgs) -> Self {
        Self { allow_host_netns: arguments.allow_host_netns, reconcile_interval: arguments.reconcile_interval }
    }
}
