//! Why a pod is not enrolled: a sentence for people, a word for metrics.

use std::{io, net::IpAddr, path::PathBuf, sync::Arc};

use super::find::{NotItsOwn, ScanError};
use crate::{capture::CaptureError, net::NetError};

/// Why a pod is not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It cannot be entered, or has no room for listeners.
    #[error(transparent)]
    Net(#[from] NetError),
    /// No process of it is there yet.
    #[error("no process of the pod runs on this node yet")]
    NotFound,
    /// Its namespace has no address yet.
    #[error("its network is not set up yet: its namespace has no address")]
    NotReady,
    /// It is not a pod's namespace.
    #[error("{} is the network namespace of the host, where redirecting would concern every process; hostNetwork pods are never enrolled (--allow-host-netns overrides this where a manifest names a namespace)", path.display())]
    Host {
        /// As the configuration names it, or of a process.
        path: PathBuf,
    },
    /// Its processes are in the host's namespace, as what a runtime starts first is for a moment.
    #[error("the pod's processes are in the network namespace of the host ({}), and none in one of their own; hostNetwork pods are never enrolled", path.display())]
    HostProcess {
        /// Of the oldest process.
        path: PathBuf,
    },
    /// It is the namespace of this process's own pod.
    #[error("{} is Understudy's own network namespace; take the label off its pod, or off its Namespace", path.display())]
    Ours {
        /// Of a process.
        path: PathBuf,
    },
    /// It is another pod's namespace, by its addresses.
    #[error("network namespace {} has none of the pod's addresses ({}); it may belong to another pod, or the address is not set yet", path.display(), list(ips))]
    ForeignAddress {
        /// As the configuration names it.
        path: PathBuf,
        /// As the configuration names them.
        ips: Vec<IpAddr>,
    },
    /// It is another pod's namespace, by its processes.
    #[error("a process of the pod is in the network namespace of the pod with UID {owner} ({}), whose it stays, and in none of its own", path.display())]
    ForeignProcess {
        /// Of the process.
        path: PathBuf,
        /// Whose it is.
        owner: Arc<str>,
    },
    /// Two pods, one namespace.
    #[error("its network namespace is already enrolled as pod {namespace}/{name}")]
    Taken {
        /// Namespace of the other pod.
        namespace: Arc<str>,
        /// Name of the other pod.
        name: Arc<str>,
    },
    /// Its connections are made out of our sight.
    #[error(
        "runtime class {class} has a kernel or a network stack of its own, as its name says: the node's kernel does not see the pod's connections; mirror its requests with a sidecar or a gateway, or run it under another class"
    )]
    RuntimeClass {
        /// `spec.runtimeClassName`.
        class: Arc<str>,
    },
    /// The node's processes cannot be looked at.
    #[error("{0}")]
    Scan(String),
    /// A listener does not say where it is.
    #[error("cannot use the pod's listener: {0}")]
    Listener(io::Error),
    /// The hook cannot be told.
    #[error(transparent)]
    Table(#[from] CaptureError),
}

impl Refusal {
    /// Every [`Refusal::word`].
    pub const WORDS: [&str; 10] = [
        "cannot_enter",
        "not_found",
        "not_ready",
        "host_network",
        "own_pod",
        "foreign_namespace",
        "taken",
        "runtime_class",
        "cannot_look",
        "no_room",
    ];

    /// Label of the metric.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Net(_) | Self::Listener(_) => "cannot_enter",
            Self::NotFound => "not_found",
            Self::NotReady => "not_ready",
            Self::Host { .. } | Self::HostProcess { .. } => "host_network",
            Self::Ours { .. } => "own_pod",
            Self::ForeignAddress { .. } | Self::ForeignProcess { .. } => "foreign_namespace",
            Self::Taken { .. } => "taken",
            Self::RuntimeClass { .. } => "runtime_class",
            Self::Scan(_) => "cannot_look",
            Self::Table(_) => "no_room",
        }
    }

    /// Every pod goes through this at its start.
    #[must_use]
    pub fn is_usual_at_first(&self) -> bool {
        // Its first address comes some moments before its last.
        matches!(self, Self::NotFound | Self::NotReady | Self::HostProcess { .. } | Self::ForeignAddress { .. })
    }
}

impl From<&NotItsOwn> for Refusal {
    fn from(other: &NotItsOwn) -> Self {
        match other {
            NotItsOwn::Host { path } => Self::HostProcess { path: path.clone() },
            NotItsOwn::Ours { path } => Self::Ours { path: path.clone() },
            NotItsOwn::Foreign { path, owner } => Self::ForeignProcess { path: path.clone(), owner: Arc::clone(owner) },
            NotItsOwn::Closed(error) => Self::Scan(error.to_string()),
        }
    }
}

impl From<&ScanError> for Refusal {
    fn from(error: &ScanError) -> Self {
        Self::Scan(error.to_string())
    }
}

fn list(ips: &[IpAddr]) -> String {
    if ips.is_empty() {
        return "it has none".to_owned();
    }
    ips.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}
