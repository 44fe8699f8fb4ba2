//! Sockets and network namespaces: where connections come from and where ours are made.
//!
//! Comes in: namespace paths, addresses. Goes out: listeners and sockets that live in a pod's namespace and carry our mark.
//! Never: HTTP, BPF maps, decisions about routing.
//!
//! [`netns`] names a namespace, [`factory`] makes sockets inside it (the only place that enters another namespace), [`listener`] opens a
//! pod's listeners, [`mark`] says which sockets are ours, [`dscp`] which packets may be dropped first, [`rlimit`] makes room for descriptors, [`sys`] holds the unsafe calls.

pub mod addr;
pub mod client_stream;
pub mod dscp;
pub mod factory;
pub mod listener;
pub mod mark;
pub mod netns;
pub mod prefixed;
pub mod rlimit;
#[expect(unsafe_code, reason = "the one module with unsafe system calls")]
mod sys;

pub use addr::NetnsCookie;
pub use dscp::Dscp;
pub use factory::{Class, Family, SocketFactory};
pub use listener::Listeners;
pub use mark::Mark;
pub use netns::{Netns, NetnsId};
pub(crate) use sys::{detach_pinned_link, give_back_free_memory, watch_readable};

use std::{io, path::PathBuf};

/// Why a namespace or a socket in it is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The path does not lead to a namespace that can be opened.
    #[error("cannot open network namespace {}: {source}{}", path.display(), open_hint(source))]
    Open {
        /// As given.
        path: PathBuf,
        /// From the kernel.
        source: io::Error,
    },
    /// The path leads to a file of another kind.
    #[error("{} is not a network namespace; give a path like /run/netns/NAME or /proc/PID/ns/net", path.display())]
    NotANamespace {
        /// As given.
        path: PathBuf,
    },
    /// `setns` refused.
    #[error("cannot enter network namespace {}: {source}{}", path.display(), hint(source))]
    Enter {
        /// As given.
        path: PathBuf,
        /// From the kernel.
        source: io::Error,
    },
    /// A socket could not be made or set up inside the namespace.
    #[error("cannot {doing} in network namespace {}: {source}{}", path.display(), hint(source))]
    Socket {
        /// What was tried.
        doing: &'static str,
        /// As given.
        path: PathBuf,
        /// From the kernel.
        source: io::Error,
    },
    /// So many descriptors are open that the rest is kept for primaries and clients.
    #[error(
        "no socket for a shadow: {open} file descriptors are open and the rest is for primaries; raise RLIMIT_NOFILE"
    )]
    Reserved {
        /// At least so many.
        open: u32,
    },
    /// The factory's thread has ended, which it does only when the process ends.
    #[error("the socket factory has ended; the process is shutting down")]
    Gone,
}

impl NetError {
    /// The kernel's error number, if it came from there.
    #[must_use]
    pub fn os_error(&self) -> Option<i32> {
        match self {
            Self::Open { source, .. } | Self::Enter { source, .. } | Self::Socket { source, .. } => {
                source.raw_os_error()
            }
            Self::NotANamespace { .. } | Self::Reserved { .. } | Self::Gone => None,
        }
    }
}

fn open_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; is the pod still there, and is the path right?",
        io::ErrorKind::PermissionDenied => "; needs root, or CAP_SYS_PTRACE for a path below /proc",
        _ => hint(error),
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => "; the limit of open files is reached, raise RLIMIT_NOFILE",
        Some(libc::EPERM) => "; needs CAP_SYS_ADMIN to enter and CAP_NET_ADMIN to mark",
        _ => "",
    }
}
