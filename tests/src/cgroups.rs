//! cgroups that a test makes and takes away again: a child of the cgroup2 root, and the old `net_cls` controller.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    unistd::Pid,
};

use crate::leftovers::{self, Claim, Thing};

/// Where the machine's cgroup2 is mounted.
///
/// # Errors
/// When it is not.
pub fn root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let line = mounts.lines().find(|line| line.contains(" - cgroup2 ")).context("no cgroup2 mount")?;
    line.split(' ').nth(4).map(PathBuf::from).context("/proc/self/mountinfo is not as it should be")
}

/// A cgroup of the test's own; removed when dropped (what lives in it then goes back to its parent).
#[derive(Debug)]
pub struct Child {
    path: PathBuf,
    claim: Claim,
}

impl Child {
    /// Makes it below another one.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(parent: &Path, name: &str) -> Result<Self> {
        let path = parent.join(name);
        let ((), claim) = leftovers::claim(|| {
            fs::create_dir(&path).with_context(|| format!("cannot make the cgroup {}", path.display()))?;
            Ok(((), Thing::Cgroup(path.clone())))
        })?;
        Ok(Self { path, claim })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Moves the calling thread into it (`net_cls`), or its whole process (cgroup2).
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn join(&self) -> Result<()> {
        let tasks = ["tasks", "cgroup.procs"].map(|file| self.path.join(file));
        let file = tasks.iter().find(|file| file.exists()).context("the cgroup is gone")?;
        fs::write(file, "0").with_context(|| format!("cannot enter {}", self.path.display()))
    }

    /// Moves a process into it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn take(&self, pid: Pid) -> Result<()> {
        fs::write(self.path.join("cgroup.procs"), pid.to_string())
            .with_context(|| format!("cannot move {pid} into {}", self.path.display()))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.claim.release();
        // A thread that has just ended is still in it for a moment.
        for _ in 0..100 {
            if fs::remove_dir(&self.path).is_ok() || !self.path.exists() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        eprintln!("the cgroup {} cannot be removed", self.path.display());
    }
}

/// Removes a cgroup and what is below it; what lives there goes back to its parent.
pub(crate) fn remove(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    if let Some(parent) = path.parent() {
        for pid in fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default().lines() {
            let _ = fs::write(parent.join("cgroup.procs"), pid);
        }
    }
    let _ = fs::remove_dir(path);
}

/// The cgroups of a pod and of a container in it, as a kubelet with the systemd driver and containerd make them. Dropped from the inside out.
#[derive(Debug)]
pub struct PodCgroup {
    container: Child,
    _pod: Child,
    _above: Child,
}

impl PodCgroup {
    /// Makes them in a hierarchy; `world` tells them from those of other worlds.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn create(root: &Path, world: &str, uid: &str) -> Result<Self> {
        let above = Child::create(root, &format!("{world}-{uid}-kubepods.slice"))?;
        let name = format!("{world}-kubepods-besteffort-pod{}.slice", uid.replace('-', "_"));
        let pod = Child::create(above.path(), &name)?;
        let container = Child::create(pod.path(), &format!("cri-containerd-{}.scope", "7".repeat(64)))?;
        Ok(Self { container, _pod: pod, _above: above })
    }

    /// Moves a process into the container.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn take(&self, pid: Pid) -> Result<()> {
        self.container.take(pid)
    }
}

/// The `net_cls` controller of cgroup v1, mounted for a while. Dropping it unmounts it, which also gives the controller back.
#[derive(Debug)]
pub struct NetCls {
    path: PathBuf,
    claim: Claim,
}

fn mount_net_cls(at: &Path) -> nix::Result<()> {
    mount(Some("net_cls"), at, Some("cgroup"), MsFlags::empty(), Some("net_cls"))
}

impl Drop for NetCls {
    fn drop(&mut self) {
        self.claim.release();
        // The hierarchy goes a little after its last mount, but only if it has no child then; a removed one is one for a moment longer.
        for again in [true, true, true, false] {
            let _ = umount2(&self.path, MntFlags::MNT_DETACH);
            for _ in 0..50 {
                if hierarchy() == Some(0) {
                    return;
                }
                thread::sleep(Duration::from_millis(10));
            }
            if again {
                let _ = mount_net_cls(&self.path);
            }
        }
        eprintln!("net_cls cannot be given back");
    }
}

impl NetCls {
    /// Mounts it; `None` where the kernel has none, or where somebody else uses it.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn mount(at: &Path) -> Result<Option<Self>> {
        if hierarchy() != Some(0) {
            return Ok(None);
        }
        fs::create_dir_all(at).with_context(|| format!("cannot make {}", at.display()))?;
        let mounted = leftovers::claim(|| {
            mount_net_cls(at)?;
            Ok(((), Thing::Mount(at.to_owned())))
        });
        Ok(mounted.ok().map(|((), claim)| Self { path: at.to_owned(), claim }))
    }

    /// Its root cgroup.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Number of the hierarchy that `net_cls` belongs to: 0 = none of cgroup v1; `None` = the kernel has no such controller.
#[must_use]
pub fn hierarchy() -> Option<u32> {
    let text = fs::read_to_string("/proc/cgroups").ok()?;
    let line = text.lines().find(|line| line.starts_with("net_cls\t"))?;
    line.split('\t').nth(1)?.parse().ok()
}
