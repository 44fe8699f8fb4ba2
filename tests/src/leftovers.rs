//! What must be undone whatever happens: process groups, network namespaces, mounts, cgroups, and what takes a command.
//!
//! Every guard of the lab puts its thing here while it lives. At SIGINT and SIGTERM all of them are undone, newest first, and the
//! process ends; after a SIGKILL the next process finds them by their names.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, Once, PoisonError, mpsc},
    thread,
};

use anyhow::{Context as _, Result};
use nix::{
    mount::{MntFlags, umount2},
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::{cgroups, cluster::namespace, needs, owner};

/// Something that outlives its maker unless it is undone.
#[derive(Debug)]
pub(crate) enum Thing {
    Group(Pid),
    Netns(String),
    Mount(PathBuf),
    Cgroup(PathBuf),
    Command(Command),
}

impl Thing {
    fn undo(self) {
        match self {
            Self::Group(leader) => {
                let _ = killpg(leader, Signal::SIGKILL);
            }
            Self::Netns(name) => remove_netns(&name),
            Self::Mount(path) => {
                let _ = umount2(&path, MntFlags::MNT_DETACH);
            }
            Self::Cgroup(path) => cgroups::remove(&path),
            Self::Command(command) => namespace::undo(command),
        }
    }
}

struct Live {
    next: u64,
    things: BTreeMap<u64, Thing>,
}

static LIVE: Mutex<Live> = Mutex::new(Live { next: 0, things: BTreeMap::new() });
static TAKEN: Mutex<Option<mpsc::Sender<()>>> = Mutex::new(None);

/// Undoes its thing when dropped.
#[derive(Debug)]
pub struct Claim(u64);

impl Claim {
    /// The thing was undone in another way.
    pub(crate) fn release(&self) {
        LIVE.lock().unwrap_or_else(PoisonError::into_inner).things.remove(&self.0);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let thing = LIVE.lock().unwrap_or_else(PoisonError::into_inner).things.remove(&self.0);
        if let Some(thing) = thing {
            thing.undo();
        }
    }
}

/// Makes a thing and claims it in one step: a signal in between waits until it is claimed.
pub(crate) fn claim<T>(make: impl FnOnce() -> Result<(T, Thing)>) -> Result<(T, Claim)> {
    let mut live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
    let (value, thing) = make()?;
    let key = live.next;
    live.next += 1;
    live.things.insert(key, thing);
    Ok((value, Claim(key)))
}

/// From now on SIGINT and SIGTERM undo everything that is claimed and end the process with 128 + signal, and what killed
/// processes left behind is removed. Call it first thing in `main`; later calls do nothing.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn install() -> Result<()> {
    static ONCE: Once = Once::new();
    let mut result = Ok(());
    ONCE.call_once(|| {
        result = Signals::new([SIGINT, SIGTERM]).context("cannot handle SIGINT and SIGTERM").map(|signals| {
            thread::spawn(move || undo_at(signals));
        });
        remove_stale();
    });
    result
}

fn undo_at(mut signals: Signals) {
    for signal in signals.forever() {
        if let Some(waiter) = TAKEN.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = waiter.send(());
            continue;
        }
        // The lock is kept to the end: nothing new is made while the process goes away.
        let mut live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
        let things = std::mem::take(&mut live.things);
        if !things.is_empty() {
            eprintln!("\ninterrupted: undoing {} things: processes, namespaces, mounts", things.len());
        }
        things.into_values().rev().for_each(Thing::undo);
        std::process::exit(128 + signal);
    }
}

/// Blocks until the first SIGINT or SIGTERM and returns instead of ending the process.
pub fn wait_for_signal() {
    let (sender, receiver) = mpsc::channel();
    *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
    let _ = receiver.recv();
}

fn remove_netns(name: &str) {
    let _ = Command::new(needs::program("ip"))
        .args(["netns", "del", name])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

/// Removes what processes that no longer run have left: namespaces with our prefix, the processes in them, mounts, cgroups.
pub fn remove_stale() {
    let names = |dir: &Path| -> Vec<String> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.filter_map(|e| e.file_name().into_string().ok()).filter(|n| owner::is_stale(n)).collect()
    };
    for name in names(Path::new("/run/netns")) {
        if let Ok(namespace) = fs::metadata(Path::new("/run/netns").join(&name)) {
            members(namespace.ino()).into_iter().for_each(|pid| {
                let _ = kill(pid, Signal::SIGKILL);
            });
        }
        remove_netns(&name);
    }
    if let Ok(root) = cgroups::root() {
        names(&root).iter().for_each(|name| cgroups::remove(&root.join(name)));
    }
    let lab = crate::paths::lab();
    let stale = names(&lab);
    if stale.is_empty() {
        return;
    }
    for mount in fs::read_to_string("/proc/self/mounts").unwrap_or_default().lines() {
        let Some(path) = mount.split(' ').nth(1).map(Path::new) else { continue };
        let world = path.strip_prefix(&lab).ok().and_then(|p| p.iter().next()).and_then(|n| n.to_str());
        if world.is_some_and(|world| stale.iter().any(|s| s == world)) {
            let _ = umount2(path, MntFlags::MNT_DETACH);
        }
    }
    // The newest logs stay: they explain the last failure.
    let mut dirs: Vec<_> = stale.iter().map(|n| lab.join(n)).collect();
    // Once for each: another test's process may remove them meanwhile.
    dirs.sort_by_cached_key(|d| fs::metadata(d).and_then(|m| m.modified()).ok());
    for dir in dirs.iter().rev().skip(20) {
        let _ = fs::remove_dir_all(dir);
    }
}

fn members(netns: u64) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter(|entry| fs::metadata(entry.path().join("ns/net")).is_ok_and(|ns| ns.ino() == netns))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .map(Pid::from_raw)
        .collect()
}
