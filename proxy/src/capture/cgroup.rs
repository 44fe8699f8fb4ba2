//! The cgroup2 root of the node: where the hooks see every pod and live as long as the node.
//!
//! That is what the node's PID 1 sees as `/`. On a machine it is the real root. In kind a node is a container with a cgroup namespace of its
//! own, whose root is a child cgroup of the machine, and right. A pod's own virtual root, or a slice, is wrong: hooks there miss other pods
//! and vanish with that cgroup while everything still looks healthy.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, fstatfs};

/// Why there is no root to attach to.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// Nothing is mounted.
    #[error(
        "no cgroup2 file system is mounted here; mount it (`mount -t cgroup2 none /sys/fs/cgroup/unified`), or run outside `ip netns exec`, which hides it"
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

/// One line of `/proc/self/mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    /// The mounted part of the file system.
    root: String,
    point: PathBuf,
}

const MOUNT_THE_NODES: &str = "mount the node's root by hostPath and name it by --cgroup-root";

impl CgroupRoot {
    /// The one that `explicit` names, or the one that is mounted.
    ///
    /// # Errors
    /// If there is none, or `explicit` is another cgroup.
    pub fn find(explicit: Option<&Path>) -> Result<Self, CgroupError> {
        let path = PathBuf::from("/proc/self/mountinfo");
        let text = fs::read_to_string(&path).map_err(|source| CgroupError::Open { path, source })?;
        let mounts = mounts(&text);
        if let Some(explicit) = explicit {
            let point =
                fs::canonicalize(explicit).map_err(|source| CgroupError::Open { path: explicit.to_owned(), source })?;
            // The last mount on a point covers the others.
            let Some(mount) = mounts.iter().rev().find(|mount| mount.point == point) else {
                return Err(CgroupError::NotTheRoot {
                    path: point,
                    why: "a directory inside another mount (a child cgroup, or no cgroup at all)",
                    remedy: "name the mount point itself, or leave the option out",
                });
            };
            return Self::open(mount);
        }
        let mut last = CgroupError::NotMounted;
        let mut found = None;
        for mount in &mounts {
            match Self::open(mount) {
                Ok(root) if root.kind == RootKind::Machine => return Ok(root),
                Ok(root) => found = found.or(Some(root)),
                Err(error) => last = error,
            }
        }
        found.ok_or(last)
    }

    fn open(Mount { root, point }: &Mount) -> Result<Self, CgroupError> {
        let at = |source| CgroupError::Open { path: point.clone(), source };
        let directory = fs::File::open(point).map_err(at)?;
        let kind = fstatfs(&directory).map_err(|errno| at(errno.into()))?.filesystem_type();
        if kind != CGROUP2_SUPER_MAGIC {
            return Err(CgroupError::NotTheRoot {
                path: point.clone(),
                why: "a file system of another kind, mounted over it",
                remedy: "name the mount point by --cgroup-root",
            });
        }
        let facts = Facts {
            // Only the real root lacks this file (Documentation/admin-guide/cgroup-v2.rst, core interface files).
            machine: !point.join("cgroup.type").exists(),
            root,
            same_namespace_as_init: same_file("/proc/self/ns/cgroup", "/proc/1/ns/cgroup"),
            init_in_root: fs::read_to_string("/proc/1/cgroup")
                .is_ok_and(|text| text.lines().any(|line| line == "0::/")),
            has_init_scope: point.join("init.scope").exists(),
        };
        match facts.judge() {
            Ok(kind) => Ok(Self { path: point.clone(), kind, directory }),
            Err((why, remedy)) => Err(CgroupError::NotTheRoot { path: point.clone(), why, remedy }),
        }
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

/// What tells a node's root from other cgroups.
struct Facts<'a> {
    machine: bool,
    /// The root field of the mount: relative to our own cgroup namespace, `/..` for what is above it.
    root: &'a str,
    same_namespace_as_init: bool,
    /// PID 1 lives in the root itself: no init system manages a tree below it, as in a pod.
    init_in_root: bool,
    has_init_scope: bool,
}

impl Facts<'_> {
    fn judge(&self) -> Result<RootKind, (&'static str, &'static str)> {
        if self.machine {
            return Ok(RootKind::Machine);
        }
        if self.root == "/" {
            return match (self.same_namespace_as_init, self.init_in_root) {
                (true, false) => Ok(RootKind::ContainerNode),
                (true, true) => Err(("the virtual root of this container", MOUNT_THE_NODES)),
                (false, _) => Err(("the virtual root of this process's own cgroup namespace", MOUNT_THE_NODES)),
            };
        }
        let above = self.root.split('/').skip(1).all(|part| part == "..");
        if above && self.has_init_scope {
            return Ok(RootKind::ContainerNode);
        }
        Err(("a child cgroup", MOUNT_THE_NODES))
    }
}

fn same_file(a: &str, b: &str) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let identity = |path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
    matches!((identity(a), identity(b)), (Ok(a), Ok(b)) if a == b)
}

/// The cgroup2 mounts of a mountinfo text (proc_pid_mountinfo(5)).
fn mounts(text: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let (head, tail) = line.split_once(" - ")?;
        if tail.split(' ').next()? != "cgroup2" {
            return None;
        }
        let mut fields = head.split(' ').skip(3);
        Some(Mount { root: unescape(fields.next()?), point: PathBuf::from(unescape(fields.next()?)) })
    };
    text.lines().filter_map(mount).collect()
}

/// Undoes the octal escapes of blanks and backslashes.
fn unescape(field: &str) -> String {
    let mut parts = field.split('\\');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                text.push(char::from(byte));
                text.push_str(part.get(3..).unwrap_or_default());
            }
            None => {
                text.push('\\');
                text.push_str(part);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
";

    #[test]
    fn the_mount_is_found_by_type_also_on_a_hybrid_machine() {
        assert_eq!(mounts(HYBRID), [Mount { root: "/".into(), point: "/sys/fs/cgroup/unified".into() }]);
        let unified = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(mounts(unified), [Mount { root: "/".into(), point: "/sys/fs/cgroup".into() }]);
    }

    #[test]
    fn a_mount_point_with_a_blank_is_read_right() {
        let text = "41 31 0:38 /../.. /host\\040cgroup rw - cgroup2 cgroup2 rw";
        assert_eq!(mounts(text), [Mount { root: "/../..".into(), point: "/host cgroup".into() }]);
        assert_eq!(unescape("a\\134b\\x"), "a\\b\\x");
    }

    fn facts(root: &str) -> Facts<'_> {
        Facts { machine: false, root, same_namespace_as_init: true, init_in_root: false, has_init_scope: true }
    }

    #[test]
    fn the_real_root_is_right_wherever_it_is_mounted() {
        for root in ["/", "/../../.."] {
            assert_eq!(Facts { machine: true, ..facts(root) }.judge(), Ok(RootKind::Machine));
        }
    }

    #[test]
    fn a_kind_nodes_root_is_right_from_inside_and_by_host_path() {
        assert_eq!(facts("/").judge(), Ok(RootKind::ContainerNode));
        assert_eq!(facts("/../../..").judge(), Ok(RootKind::ContainerNode));
    }

    #[test]
    fn every_other_child_is_refused() {
        assert!(facts("/kubepods.slice").judge().is_err(), "a slice");
        assert!(facts("/../besteffort").judge().is_err(), "a sibling");
        assert!(Facts { same_namespace_as_init: false, ..facts("/") }.judge().is_err(), "unshare --cgroup");
        assert!(Facts { init_in_root: true, ..facts("/") }.judge().is_err(), "a pod");
        assert!(Facts { has_init_scope: false, ..facts("/../..") }.judge().is_err(), "some ancestor that is no node");
    }

    #[test]
    fn a_folder_that_is_no_mount_point_is_refused_by_name() {
        let error = CgroupRoot::find(Some(Path::new("/proc"))).unwrap_err();
        assert!(matches!(&error, CgroupError::NotTheRoot { path, .. } if path == Path::new("/proc")), "{error}");
    }
}
