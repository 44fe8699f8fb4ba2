//! The cgroup2 root of the node: where the hooks see every pod and live as long as the node.
//!
//! That is what the node's PID 1 sees as `/`. On a machine it is the real root. In kind a node is a container with a cgroup namespace of its
//! own, whose root is a child cgroup of the machine, and right. A pod's own virtual root, or a slice, is wrong: hooks there miss other pods
//! and vanish with that cgroup while everything still looks healthy.
//!
//! The real root tells itself. Any other is looked at from where PID 1 is: a thread that has joined its cgroup namespace reads our mounts, each
//! with its root as PID 1 would see it. So it does not matter in which cgroup namespace we are.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
    thread,
};

use nix::{
    sched::{CloneFlags, setns},
    sys::statfs::{CGROUP2_SUPER_MAGIC, fstatfs},
};

use super::mountinfo::{self, Mount};

/// Why there is no root to attach to.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// Nothing is mounted.
    #[error(
        "no cgroup2 file system is mounted here; on a machine, mount it (`mount -t cgroup2 none /sys/fs/cgroup/unified`), or run outside `ip netns exec`, which hides it; in a pod, mount the node's /sys/fs/cgroup by hostPath (at /host/cgroup)"
    )]
    NotMounted,
    /// Something is, but it is not the node's root.
    #[error("{} is not the node's cgroup2 root but {why}; hooks there would miss pods; {remedy}", path.display())]
    NotTheRoot {
        /// Where.
        path: PathBuf,
        /// What it is.
        why: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// It is not the machine's root, and where the node's is cannot be asked.
    #[error("cannot tell whether {} is the node's cgroup2 root: {doing} {}: {source}; this needs the node's /proc (in a pod, a hostPath that --proc names), CAP_SYS_PTRACE to open and CAP_SYS_ADMIN to enter it", path.display(), what.display())]
    Unknown {
        /// Where.
        path: PathBuf,
        /// What failed.
        doing: &'static str,
        /// On what.
        what: PathBuf,
        /// From the kernel.
        source: io::Error,
    },
    /// It cannot be read.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// What.
        path: PathBuf,
        /// From the kernel.
        source: io::Error,
    },
}

/// Which of the two right answers was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootKind {
    /// The machine's own root.
    Machine,
    /// The root of a node that is a container (kind).
    ContainerNode,
}

/// An open cgroup directory that was found to be the node's root.
#[derive(Debug)]
pub struct CgroupRoot {
    path: PathBuf,
    kind: RootKind,
    directory: fs::File,
}

impl AsFd for CgroupRoot {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

const MOUNT_THE_NODES: &str =
    "mount the node's /sys/fs/cgroup by hostPath (at /host/cgroup); it is found there, or named by --cgroup-root";
const OWN_NAMESPACE: &str = "/proc/self/ns/cgroup";

impl CgroupRoot {
    /// The one that `explicit` names, or the one that is mounted. `proc`: the node's `/proc`.
    ///
    /// # Errors
    /// If there is none, or `explicit` is another cgroup.
    pub fn find(explicit: Option<&Path>, proc: &Path) -> Result<Self, CgroupError> {
        let path = PathBuf::from("/proc/self/mountinfo");
        let text = fs::read_to_string(&path).map_err(|source| CgroupError::Open { path, source })?;
        let mut mounts = mountinfo::cgroup2(&text);
        if let Some(explicit) = explicit {
            let point =
                fs::canonicalize(explicit).map_err(|source| CgroupError::Open { path: explicit.to_owned(), source })?;
            mounts.retain(|mount| mount.point == point);
            if mounts.is_empty() {
                return Err(CgroupError::NotTheRoot {
                    path: point,
                    why: "a directory inside another mount (a child cgroup, or no cgroup at all)",
                    remedy: "name the mount point itself, or leave the option out",
                });
            }
        }
        let mut last = CgroupError::NotMounted;
        let mut others = Vec::new();
        for Mount { point, .. } in &mounts {
            match open(point) {
                // Only the real root lacks this file (Documentation/admin-guide/cgroup-v2.rst, core interface files).
                Ok(directory) if !point.join("cgroup.type").exists() => {
                    return Ok(Self { path: point.clone(), kind: RootKind::Machine, directory });
                }
                Ok(directory) => others.push((point, directory)),
                Err(error) => last = error,
            }
        }
        let Some((first, _)) = others.first() else { return Err(last) };
        let view = NodeView::take(proc).map_err(|(doing, what, source)| CgroupError::Unknown {
            path: first.to_path_buf(),
            doing,
            what,
            source,
        })?;
        for (point, directory) in others {
            match view.judge(point) {
                Ok(()) => return Ok(Self { path: point.clone(), kind: RootKind::ContainerNode, directory }),
                Err((why, remedy)) => last = CgroupError::NotTheRoot { path: point.clone(), why, remedy },
            }
        }
        Err(last)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which of the two it is.
    #[must_use]
    pub fn kind(&self) -> RootKind {
        self.kind
    }
}

fn open(point: &Path) -> Result<fs::File, CgroupError> {
    let at = |source| CgroupError::Open { path: point.to_owned(), source };
    let directory = fs::File::open(point).map_err(at)?;
    if fstatfs(&directory).map_err(|errno| at(errno.into()))?.filesystem_type() == CGROUP2_SUPER_MAGIC {
        return Ok(directory);
    }
    Err(CgroupError::NotTheRoot {
        path: point.to_owned(),
        why: "a file system of another kind, mounted over it",
        remedy: "name the mount point by --cgroup-root",
    })
}

/// Our mounts of cgroup2, as the node's PID 1 would see them.
struct NodeView {
    mounts: Vec<Mount>,
    /// PID 1 lives in the root itself, and so do we: what is taken for the node is the container that we are in.
    all_in_root: bool,
}

/// What failed, on what, and why.
type ViewError = (&'static str, PathBuf, io::Error);

impl NodeView {
    fn take(proc: &Path) -> Result<Self, ViewError> {
        let init = proc.join("1");
        // A thread of its own, which ends in the namespace that it has joined.
        let looking = thread::Builder::new().name("cgroup-view".to_owned()).spawn(move || Self::look(&init));
        let looking = looking.map_err(|source| ("start a thread beside", proc.join("1/ns/cgroup"), source))?;
        looking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn look(init: &Path) -> Result<Self, ViewError> {
        let namespace = init.join("ns/cgroup");
        let file = fs::File::open(&namespace).map_err(|source| ("open", namespace.clone(), source))?;
        if !is_ours(&file) {
            setns(file, CloneFlags::CLONE_NEWCGROUP).map_err(|errno| ("enter", namespace, errno.into()))?;
        }
        let read = |path: PathBuf| fs::read_to_string(&path).map_err(|source| ("read", path, source));
        let in_root = |cgroup: &str| cgroup.lines().any(|line| line == "0::/");
        let [ours, theirs] = [read("/proc/thread-self/cgroup".into())?, read(init.join("cgroup"))?];
        Ok(Self {
            mounts: mountinfo::cgroup2(&read("/proc/thread-self/mountinfo".into())?),
            all_in_root: in_root(&ours) && in_root(&theirs),
        })
    }

    /// Is the node's root mounted here? If not, what is, and what to do.
    fn judge(&self, point: &Path) -> Result<(), (&'static str, &'static str)> {
        // The last mount on a point covers the others.
        match self.mounts.iter().rev().find(|mount| mount.point == point) {
            Some(mount) if mount.root == "/" && !self.all_in_root => Ok(()),
            Some(mount) if mount.root == "/" => Err((
                "the virtual root of this container, whose first process is taken for the node's",
                "mount the node's /proc and /sys/fs/cgroup by hostPath, and name the former by --proc",
            )),
            _ => Err(("a child cgroup, as the node's PID 1 sees it", MOUNT_THE_NODES)),
        }
    }
}

fn is_ours(namespace: &fs::File) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let identity = |meta: &fs::Metadata| (meta.dev(), meta.ino());
    matches!((namespace.metadata(), fs::metadata(OWN_NAMESPACE)), (Ok(a), Ok(b)) if identity(&a) == identity(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(root: &str, all_in_root: bool) -> bool {
        let covered = Mount { root: "/".into(), point: "/host/cgroup".into() };
        let mount = Mount { root: root.into(), point: "/host/cgroup".into() };
        NodeView { mounts: vec![covered, mount], all_in_root }.judge(Path::new("/host/cgroup")).is_ok()
    }

    /// Mutation that breaks it: looking at the first mount of a point.
    #[test]
    fn only_what_the_nodes_init_sees_as_its_root_is_the_nodes_root() {
        assert!(judged("/", false), "a kind node's, from inside and by hostPath");
        assert!(!judged("/", true), "the pod's own, taken for a node");
        assert!(!judged("/kubepods.slice/kubepods-pod1.slice/cri-containerd-2.scope", false), "the pod's own");
        assert!(!judged("/kubepods.slice", false), "a slice");
        assert!(!judged("/../..", false), "above the node");
    }

    #[test]
    fn without_the_nodes_proc_the_remedy_is_named() {
        let Err((doing, what, source)) = NodeView::take(Path::new("/no/such/proc")) else { panic!("found") };
        let path = PathBuf::from("/host/cgroup");
        let text = CgroupError::Unknown { path, doing, what, source }.to_string();
        for words in ["/host/cgroup", "open /no/such/proc/1/ns/cgroup", "hostPath", "CAP_SYS_PTRACE"] {
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn a_folder_that_is_no_mount_point_is_refused_by_name() {
        let error = CgroupRoot::find(Some(Path::new("/proc")), Path::new("/proc")).unwrap_err();
        assert!(matches!(&error, CgroupError::NotTheRoot { path, .. } if path == Path::new("/proc")), "{error}");
    }
}
