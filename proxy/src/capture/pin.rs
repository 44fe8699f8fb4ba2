//! What outlives the process. Links are pinned while a rule is closed and at no other time: a crash then leaves hooks with a stale heartbeat,
//! which refuse for closed rules and pass for all else. (The links keep the programs, the programs keep the maps: nothing else is pinned.)
//!
//! Layout: `BPFFS/understudy/abi-N/INSTANCE/NUMBER/PROGRAM`. Each process takes the next number, so that a new one can pin before the old
//! one's pins go. The living process that pins holds a lock (flock) on INSTANCE's directory: the kernel lets go of it when the process ends,
//! however it ends, so a lock that can be taken means that every pin there is a dead process's. Whoever lives removes those, at its start and
//! later: its own hooks say what is closed now.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use aya::Ebpf;
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};
use proxy_common::ABI;

use super::{
    CaptureError,
    attach::{Attached, PROGRAMS},
    cgroup::CgroupRoot,
    cleanup::{self, TOP},
};
use crate::net;

/// So long a name may be held by somebody who only removes what a dead process has pinned under it.
const REMOVED_AFTER: Duration = Duration::from_millis(200);

/// The pins of this process.
#[derive(Debug)]
pub(super) struct Pins {
    bpffs: PathBuf,
    instance: PathBuf,
    /// The instance's directory, locked, while we pin or are about to.
    lock: Option<fs::File>,
    /// Ours, while something is pinned.
    own: Option<PathBuf>,
    /// bpffs is our mount.
    mounted: bool,
}

impl Pins {
    pub(super) fn new(bpffs: &Path, instance: &str) -> Self {
        // A name from outside must stay one level of the tree.
        let instance = instance.replace(['/', '\0'], "_").replace("..", "_");
        let instance = bpffs.join(TOP).join(format!("abi-{ABI}")).join(instance);
        Self { bpffs: bpffs.to_owned(), instance, lock: None, own: None, mounted: false }
    }

    /// Makes sure that no other living process pins under this instance's name, until [`Pins::unpin`].
    pub(super) fn claim(&mut self) -> Result<(), CaptureError> {
        self.mount().map_err(|error| failed("mounting bpffs at", &self.bpffs, &error))?;
        self.lock()
    }

    fn lock(&mut self) -> Result<(), CaptureError> {
        let failed = |error: io::Error| failed("locking", &self.instance, &error);
        if self.lock.as_ref().is_some_and(|lock| is_at(lock, &self.instance)) {
            return Ok(());
        }
        self.lock = None;
        let start = Instant::now();
        loop {
            fs::create_dir_all(&self.instance).map_err(failed)?;
            let directory = match fs::File::open(&self.instance) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened.map_err(failed)?,
            };
            match directory.try_lock() {
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) if start.elapsed() < REMOVED_AFTER => {
                    thread::sleep(Duration::from_millis(5));
                    continue;
                }
                Err(fs::TryLockError::WouldBlock) => {
                    return Err(CaptureError::InstanceHeld { path: self.instance.clone() });
                }
                Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
            }
            // The former holder may have removed the directory between the two calls; a lock on that would exclude nobody.
            if is_at(&directory, &self.instance) {
                self.lock = Some(directory);
                return Ok(());
            }
        }
    }

    /// Pins every link, unless that is done and still so.
    pub(super) fn pin(
        &mut self,
        links: &mut Attached,
        object: &mut Ebpf,
        root: &CgroupRoot,
    ) -> Result<(), CaptureError> {
        if let Some(own) = &self.own {
            if PROGRAMS.iter().all(|program| own.join(program).exists()) {
                return Ok(());
            }
            tracing::warn!(path = %own.display(), "someone removed our pins: pinning again");
            self.unpin(links);
        }
        self.claim()?;
        let own = self.instance.join(next_number(&self.instance).to_string());
        fs::create_dir_all(&own).map_err(|error| failed("creating", &own, &error))?;
        self.own = Some(own.clone());
        links.pin(object, root, &own).inspect_err(|_| self.unpin(links))
    }

    /// Takes our pins away; the links stay with the process.
    pub(super) fn unpin(&mut self, links: &mut Attached) {
        links.unpin();
        if let Some(own) = self.own.take() {
            for result in cleanup::remove_tree(&own) {
                if let Err((path, error)) = result {
                    tracing::warn!(path = %path.display(), %error, "cannot remove a pin; run `understudy cleanup`");
                }
            }
        }
        self.release();
    }

    /// Removes the pins of this instance that are not ours, and those of every instance whose process is dead. Those of a living process stay.
    ///
    /// The others' too, because under Kubernetes each pod is an instance: what a pod left that never comes back is for whoever follows it.
    pub(super) fn retire_others(&mut self) -> Result<Vec<PathBuf>, CaptureError> {
        let mut retired = Retired::default();
        if self.instance.exists() {
            self.lock()?;
            for number in entries(&self.instance) {
                if self.own.as_deref() != Some(&number) {
                    retired.remove(&number)?;
                }
            }
            if self.own.is_none() {
                self.release();
            }
        }
        for instance in entries(&self.bpffs.join(TOP)).iter().flat_map(|abi| entries(abi)) {
            if instance != self.instance {
                retired.remove_dead(&instance)?;
            }
        }
        Ok(retired.0)
    }

    /// Unmounts the bpffs that we had mounted, if nobody else has put something there.
    pub(super) fn unmount(&mut self) {
        if !std::mem::take(&mut self.mounted) || !is_empty(&self.bpffs) {
            return;
        }
        if let Err(error) = umount2(&self.bpffs, MntFlags::empty()) {
            tracing::warn!(path = %self.bpffs.display(), %error, "cannot unmount the bpffs that we had mounted");
        }
    }

    /// Mounts bpffs where it is missing (a bare machine, a kind node).
    fn mount(&mut self) -> io::Result<()> {
        if is_bpffs(&self.bpffs) {
            return Ok(());
        }
        fs::create_dir_all(&self.bpffs)?;
        mount(Some("bpf"), &self.bpffs, Some("bpf"), MsFlags::empty(), None::<&str>)?;
        self.mounted = true;
        tracing::info!(path = %self.bpffs.display(), "mounted bpffs, because a rule is closed");
        Ok(())
    }

    /// Removes what is empty, then lets go of the name.
    fn release(&mut self) {
        if self.lock.is_some() {
            self.remove_empty_parents();
        }
        self.lock = None;
    }

    fn remove_empty_parents(&self) {
        for directory in self.instance.ancestors().take(3) {
            // Fails while something is in it, which is right.
            if fs::remove_dir(directory).is_err() {
                break;
            }
        }
    }
}

/// What was removed.
#[derive(Default)]
struct Retired(Vec<PathBuf>);

impl Retired {
    fn remove(&mut self, directory: &Path) -> Result<(), CaptureError> {
        for pin in entries(directory) {
            // Until its hooks are detached they refuse for their closed rules, whatever we do. The end of the last pin alone leaves that to a work
            // queue of the kernel (`bpf_link_put`), and even a link's number is gone before its program is.
            if let Err(error) = net::detach_pinned_link(&pin) {
                tracing::warn!(pin = %pin.display(), %error, "closed rules may refuse until the kernel has detached what a dead process left");
            }
        }
        for result in cleanup::remove_tree(directory) {
            match result {
                Ok(path) => self.0.push(path),
                Err((path, error)) => return Err(failed("removing", &path, &error)),
            }
        }
        Ok(())
    }

    /// Removes what an instance has pinned, unless its process lives.
    fn remove_dead(&mut self, instance: &Path) -> Result<(), CaptureError> {
        let numbers = entries(instance);
        if !numbers.is_empty() {
            let Ok(directory) = fs::File::open(instance) else { return Ok(()) };
            if directory.try_lock().is_err() || !is_at(&directory, instance) {
                return Ok(());
            }
            numbers.iter().try_for_each(|number| self.remove(number))?;
        }
        // An empty directory may be that of a process that is about to lock it: it makes it again.
        for directory in instance.ancestors().take(2) {
            if fs::remove_dir(directory).is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// What is in a directory; a missing one has nothing.
fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// One more than the highest there is.
fn next_number(instance: &Path) -> u32 {
    let entries = fs::read_dir(instance).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .max()
        .map_or(1, |last| last.saturating_add(1))
}

/// Is there a bpffs at this path?
pub(super) fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|stat| stat.filesystem_type() == BPF_FS_MAGIC)
}

/// Is the open directory the one at this path?
fn is_at(directory: &fs::File, path: &Path) -> bool {
    let (Ok(open), Ok(there)) = (directory.metadata(), fs::metadata(path)) else { return false };
    (open.dev(), open.ino()) == (there.dev(), there.ino())
}

/// Is there nothing but what the kernel itself puts into a bpffs (kernel/bpf/preload)?
fn is_empty(bpffs: &Path) -> bool {
    let preloaded = |entry: &fs::DirEntry| ["maps.debug", "progs.debug"].iter().any(|name| entry.file_name() == *name);
    fs::read_dir(bpffs).is_ok_and(|entries| entries.flatten().all(|entry| preloaded(&entry)))
}

fn failed(doing: &'static str, path: &Path, error: &io::Error) -> CaptureError {
    CaptureError::Pin { doing, path: path.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_takes_the_next_number() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(next_number(&directory.path().join("none")), 1);
        for name in ["1", "12", "notes"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        assert_eq!(next_number(directory.path()), 13);
    }

    #[test]
    fn an_instance_name_cannot_leave_its_place() {
        let pins = Pins::new(Path::new("/sys/fs/bpf"), "../../etc/x");
        assert_eq!(pins.instance, Path::new(&format!("/sys/fs/bpf/understudy/abi-{ABI}/____etc_x")));
    }

    #[test]
    fn retiring_spares_our_own_pins_and_empty_folders_go() {
        let directory = tempfile::tempdir().unwrap();
        let mut pins = Pins::new(directory.path(), "node");
        for number in ["1", "2"] {
            fs::create_dir_all(pins.instance.join(number)).unwrap();
            fs::write(pins.instance.join(number).join("connect4"), "").unwrap();
        }
        pins.own = Some(pins.instance.join("2"));
        let removed = pins.retire_others().unwrap();
        assert_eq!(removed, [pins.instance.join("1/connect4"), pins.instance.join("1")]);
        assert!(pins.instance.join("2/connect4").exists());
        pins.unpin(&mut Attached::default());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left");
    }

    /// Mutation that breaks it: removing without asking for the lock.
    #[test]
    fn the_pins_of_a_living_process_are_not_removed_and_those_of_a_dead_one_are() {
        let directory = tempfile::tempdir().unwrap();
        let (mut living, mut other) = (Pins::new(directory.path(), "node"), Pins::new(directory.path(), "node"));
        living.lock().unwrap();
        let pins = living.instance.join("1");
        fs::create_dir(&pins).unwrap();
        fs::write(pins.join("connect4"), "").unwrap();
        assert!(matches!(other.retire_others(), Err(CaptureError::InstanceHeld { .. })));
        assert!(matches!(other.lock(), Err(CaptureError::InstanceHeld { .. })));
        assert!(pins.join("connect4").exists());
        // What the kernel does at the end of a process.
        drop(living);
        assert_eq!(other.retire_others().unwrap(), [pins.join("connect4"), pins]);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left");
    }

    /// A pod's agent was killed with its pod, and the next pod has another name. Mutations that break it: looking at the own instance only, or
    /// at one version only; removing without asking for the lock.
    #[test]
    fn the_pins_of_other_instances_go_if_their_process_is_dead() {
        let directory = tempfile::tempdir().unwrap();
        let pins = |instance: &str| {
            let mut pins = Pins::new(directory.path(), instance);
            pins.lock().unwrap();
            fs::create_dir_all(pins.instance.join("1")).unwrap();
            fs::write(pins.instance.join("1/connect4"), "").unwrap();
            pins
        };
        let living = pins("understudy-aaaaa");
        let dead = pins("understudy-bbbbb").instance.join("1");
        let older = directory.path().join(TOP).join("abi-0/understudy-ccccc/1");
        fs::create_dir_all(&older).unwrap();

        let mut next = Pins::new(directory.path(), "understudy-ddddd");
        let mut removed = next.retire_others().unwrap();
        removed.sort();
        assert_eq!(removed, [older, dead.clone(), dead.join("connect4")]);
        assert!(living.instance.join("1/connect4").exists());
        assert!(!directory.path().join(TOP).join("abi-0").exists(), "empty folders go");
        drop(living);
        next.retire_others().unwrap();
        assert_eq!(fs::read_dir(directory.path().join(TOP)).unwrap().count(), 0);
    }

    /// A container that was killed is started again under its name while another agent removes what it had left. Mutation that breaks it: giving
    /// up at once.
    #[test]
    fn a_name_that_is_being_cleared_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let (mut one, mut two) = (Pins::new(directory.path(), "node"), Pins::new(directory.path(), "node"));
        one.lock().unwrap();
        let clearing = thread::spawn(move || {
            thread::sleep(REMOVED_AFTER / 10);
            drop(one);
        });
        two.lock().unwrap();
        clearing.join().unwrap();
    }

    #[test]
    fn what_the_kernel_itself_pins_does_not_keep_a_bpffs_mounted() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("maps.debug"), "").unwrap();
        fs::write(directory.path().join("progs.debug"), "").unwrap();
        assert!(is_empty(directory.path()));
        fs::create_dir(directory.path().join("cilium")).unwrap();
        assert!(!is_empty(directory.path()));
    }

    #[test]
    fn instances_of_different_names_do_not_wait_for_each_other() {
        let directory = tempfile::tempdir().unwrap();
        let (mut one, mut two) = (Pins::new(directory.path(), "one"), Pins::new(directory.path(), "two"));
        one.lock().unwrap();
        two.lock().unwrap();
        one.lock().unwrap();
    }

    /// Mutation that breaks it: not comparing the locked directory with the one at the path.
    #[test]
    fn a_lock_on_a_directory_that_was_removed_is_taken_anew() {
        let directory = tempfile::tempdir().unwrap();
        let (mut one, mut two) = (Pins::new(directory.path(), "node"), Pins::new(directory.path(), "node"));
        one.lock().unwrap();
        fs::remove_dir(&one.instance).unwrap();
        two.lock().unwrap();
        assert!(matches!(one.lock(), Err(CaptureError::InstanceHeld { .. })));
    }
}
