//! A network namespace by path, and what makes it the same one as another.

use std::{
    fmt, fs, io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use nix::sys::statfs::{NSFS_MAGIC, PROC_SUPER_MAGIC, fstatfs};

use super::NetError;

/// Identity of a namespace while somebody holds it: device and inode of its file in nsfs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NetnsId {
    device: u64,
    inode: u64,
}

impl fmt::Display for NetnsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "net:[{}]", self.inode)
    }
}

impl NetnsId {
    /// What the path leads to now.
    ///
    /// # Errors
    /// If it leads nowhere.
    pub fn of(path: &Path) -> Result<Self, NetError> {
        let at = |source| NetError::Open { path: path.to_owned(), source };
        fs::metadata(path).map(|meta| Self { device: meta.dev(), inode: meta.ino() }).map_err(at)
    }
}

/// An open network namespace. Holding it keeps the namespace alive: drop it when the pod is gone.
#[derive(Debug)]
pub struct Netns {
    path: PathBuf,
    file: fs::File,
    id: NetnsId,
}

impl Netns {
    /// Opens a namespace file (`/run/netns/NAME`, `/proc/PID/ns/net`).
    ///
    /// # Errors
    /// If there is none, or it is a file of another kind.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, NetError> {
        let path = path.into();
        let at = |source| NetError::Open { path: path.clone(), source };
        let file = fs::File::open(&path).map_err(at)?;
        let kind = fstatfs(&file).map_err(|errno| at(io::Error::from(errno)))?.filesystem_type();
        // Kernels before 3.19 showed namespaces as files of procfs.
        if kind != NSFS_MAGIC && kind != PROC_SUPER_MAGIC {
            return Err(NetError::NotANamespace { path });
        }
        let meta = file.metadata().map_err(at)?;
        let id = NetnsId { device: meta.dev(), inode: meta.ino() };
        Ok(Self { path, file, id })
    }

    /// As given to [`Netns::open`].
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Identity.
    #[must_use]
    pub fn id(&self) -> NetnsId {
        self.id
    }

    /// Does the path still lead to this namespace? A new sandbox under an old name is another pod.
    #[must_use]
    pub fn is_current(&self) -> bool {
        NetnsId::of(&self.path).is_ok_and(|now| now == self.id)
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The namespace of this process.
pub(crate) const OWN: &str = "/proc/self/ns/net";

/// The namespace of the node's PID 1. `proc`: the node's `/proc`.
///
/// # Errors
/// Without the right to look at PID 1.
pub(crate) fn init(proc: &Path) -> Result<NetnsId, NetError> {
    NetnsId::of(&proc.join("1/ns/net"))
}

/// Namespaces that are never a pod's: this process's own and that of the node's PID 1. One that cannot be read (no rights for PID 1) is left
/// out.
#[must_use]
pub fn host(proc: &Path) -> Vec<NetnsId> {
    [NetnsId::of(Path::new(OWN)), init(proc)].into_iter().filter_map(Result::ok).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_namespace_is_a_host_namespace_and_stays_what_it_is() {
        let own = Netns::open("/proc/self/ns/net").unwrap();
        assert!(host(Path::new("/proc")).contains(&own.id()));
        assert!(own.is_current());
    }

    /// In a pod, the node's PID 1 is another one than that of our own `/proc`. Mutation that breaks it: asking for `/proc/1`.
    #[test]
    fn the_nodes_init_is_that_of_the_nodes_proc() {
        let proc = tempfile::tempdir().unwrap();
        fs::create_dir_all(proc.path().join("1/ns")).unwrap();
        std::os::unix::fs::symlink("/proc/self/ns/uts", proc.path().join("1/ns/net")).unwrap();
        let node = NetnsId::of(Path::new("/proc/self/ns/uts")).unwrap();
        assert_eq!(host(proc.path()), [NetnsId::of(Path::new(OWN)).unwrap(), node]);
    }

    #[test]
    fn a_path_that_leads_nowhere_says_so() {
        let error = Netns::open("/run/netns/understudy-no-such").unwrap_err();
        assert!(matches!(&error, NetError::Open { .. }), "{error}");
        assert!(error.to_string().contains("/run/netns/understudy-no-such"));
    }

    #[test]
    fn an_ordinary_file_is_not_a_namespace() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(Netns::open(file.path()), Err(NetError::NotANamespace { .. })));
    }

    #[test]
    fn a_namespace_of_another_kind_is_another_identity() {
        let net = NetnsId::of(Path::new("/proc/self/ns/net")).unwrap();
        let mount = NetnsId::of(Path::new("/proc/self/ns/mnt")).unwrap();
        assert_ne!(net, mount);
    }
}
