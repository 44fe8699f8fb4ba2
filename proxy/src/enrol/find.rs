//! The network namespaces of pods, found through the node's `/proc`: one scan for all pods that are looked for.
//!
//! Comes in: the node's `/proc`, UIDs of pods. Goes out: for each pod the namespaces of its processes, open, that of its oldest process first,
//! and what was seen and is not the pod's. Never: an address, a decision about enrolment.
//!
//! A namespace belongs to the pod whose process in it is the oldest. So it stays the pod's when a process of another pod joins it, and a
//! namespace that a pod's process has joined is not taken for the pod's. A namespace is opened first, and only then its process is asked for its
//! cgroup again: a PID that now means another process gives nobody's namespace away.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::cgroup_path::pod_of;
use crate::net::{NetError, Netns, NetnsId, netns};

/// What was seen of a pod.
#[derive(Debug, Default)]
pub struct Seen {
    /// Namespaces of its own, each once, that of the oldest process first.
    pub netns: Vec<Arc<Netns>>,
    /// Why a namespace of a process of the pod is not among them.
    pub other: Option<NotItsOwn>,
}

/// What a process of a pod can be in, beside a namespace of the pod.
#[derive(Debug)]
pub enum NotItsOwn {
    /// The namespace of the node.
    Host {
        /// The process's.
        path: PathBuf,
    },
    /// The namespace that this process is in itself.
    Ours {
        /// The process's.
        path: PathBuf,
    },
    /// The namespace of another pod.
    Foreign {
        /// The process's.
        path: PathBuf,
        /// UID of that pod.
        owner: Arc<str>,
    },
    /// It cannot be opened.
    Closed(NetError),
}

/// What one scan saw.
#[derive(Debug, Default)]
pub struct Found {
    /// By UID; a pod without a process is not in it.
    pub pods: HashMap<Arc<str>, Seen>,
    /// The scan itself failed: nothing is known of any pod.
    pub failure: Option<ScanError>,
}

impl Found {
    /// Where a process of the pod in this namespace is, or why that is not known.
    pub(super) fn process_in(&self, uid: &str, id: NetnsId) -> Result<Option<&Path>, &ScanError> {
        match &self.failure {
            Some(failure) => Err(failure),
            None => Ok(self
                .pods
                .get(uid)
                .and_then(|seen| seen.netns.iter().find(|netns| netns.id() == id))
                .map(|netns| netns.path())),
        }
    }
}

/// Why the node's processes cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// No `/proc`.
    #[error("cannot read the node's processes in {}: {source}; mount the node's /proc by hostPath and name it by --proc", path.display())]
    Proc {
        /// As configured.
        path: PathBuf,
        /// From the kernel.
        source: io::Error,
    },
    /// A namespace that cannot be told from the host's is nobody's.
    #[error(
        "cannot tell which network namespace is the host's: {0}; needs CAP_SYS_PTRACE (and no AppArmor profile that denies ptrace)"
    )]
    Host(NetError),
}

/// A process of a pod.
struct Process {
    pid: u32,
    /// In ticks since the machine's start.
    started: u64,
    pod: Arc<str>,
    netns: Result<NetnsId, NetError>,
}

/// Looks for the pods with these UIDs. Takes some microseconds for each process of the node: not for a thread that others wait for.
#[must_use]
pub fn scan(proc: &Path, wanted: &HashSet<Arc<str>>) -> Found {
    look(proc, wanted).unwrap_or_else(|failure| Found { failure: Some(failure), ..Found::default() })
}

fn look(proc: &Path, wanted: &HashSet<Arc<str>>) -> Result<Found, ScanError> {
    let members = members(proc, wanted).map_err(|source| ScanError::Proc { path: proc.to_owned(), source })?;
    if !members.iter().any(|(_, pod)| wanted.contains(pod)) {
        return Ok(Found::default());
    }
    let host = netns::init(proc).map_err(ScanError::Host)?;
    let ours = NetnsId::of(Path::new(netns::OWN)).map_err(ScanError::Host)?;
    let mut processes: Vec<_> = members.into_iter().filter_map(|(pid, pod)| process(proc, pid, pod)).collect();
    processes.sort_unstable_by_key(|process| (process.started, process.pid));
    let mut owners = HashMap::new();
    for process in &processes {
        if let Ok(id) = process.netns {
            owners.entry(id).or_insert_with(|| Arc::clone(&process.pod));
        }
    }
    let mut found = Found::default();
    for Process { pid, pod, netns, .. } in processes.into_iter().filter(|process| wanted.contains(&process.pod)) {
        let seen = found.pods.entry(Arc::clone(&pod)).or_default();
        let path = path_of(proc, pid);
        let other = match netns {
            Ok(id) if id == host => NotItsOwn::Host { path },
            Ok(id) if id == ours => NotItsOwn::Ours { path },
            Ok(id) if owners[&id] != pod => NotItsOwn::Foreign { path, owner: Arc::clone(&owners[&id]) },
            Ok(id) if seen.netns.iter().any(|netns| netns.id() == id) => continue,
            Ok(id) => match Netns::open(path) {
                Ok(netns) => {
                    if netns.id() == id && belongs(proc, pid, &pod) {
                        seen.netns.push(Arc::new(netns));
                    }
                    continue;
                }
                Err(error) => NotItsOwn::Closed(error),
            },
            Err(error) => NotItsOwn::Closed(error),
        };
        if !matches!(&other, NotItsOwn::Closed(error) if is_gone(error)) {
            seen.other.get_or_insert(other);
        }
    }
    Ok(found)
}

/// Every process of a pod; one UID is one allocation for those that are wanted.
fn members(proc: &Path, wanted: &HashSet<Arc<str>>) -> io::Result<Vec<(u32, Arc<str>)>> {
    let mut members = Vec::new();
    for entry in fs::read_dir(proc)? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // A process that has ended meanwhile is no error, and neither is one that hides.
        let Ok(text) = fs::read_to_string(proc.join(pid.to_string()).join("cgroup")) else { continue };
        if let Some(pod) = pod_of(&text) {
            members.push((pid, wanted.get(&*pod).cloned().unwrap_or_else(|| Arc::from(&*pod))));
        }
    }
    Ok(members)
}

/// `None` if it has ended.
fn process(proc: &Path, pid: u32, pod: Arc<str>) -> Option<Process> {
    let stat = fs::read_to_string(proc.join(pid.to_string()).join("stat")).ok()?;
    let netns = NetnsId::of(&path_of(proc, pid));
    Some(Process { pid, started: started(&stat)?, pod, netns })
}

fn path_of(proc: &Path, pid: u32) -> PathBuf {
    proc.join(pid.to_string()).join("ns/net")
}

fn belongs(proc: &Path, pid: u32, pod: &str) -> bool {
    fs::read_to_string(proc.join(pid.to_string()).join("cgroup"))
        .is_ok_and(|text| pod_of(&text).as_deref() == Some(pod))
}

/// The process has ended: `ENOENT`, or `ESRCH` of one that nobody has waited for.
fn is_gone(error: &NetError) -> bool {
    matches!(error.os_error(), Some(libc::ENOENT | libc::ESRCH))
}

/// `starttime` of a stat text (proc_pid_stat(5), field 22). The name in brackets before it may have blanks and brackets.
fn started(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_start_is_read_past_a_hostile_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        assert_eq!(started(stat), Some(4711));
        assert_eq!(started(&fs::read_to_string("/proc/self/stat").unwrap()).map(|ticks| ticks > 0), Some(true));
        assert_eq!(started("7 (a"), None);
    }

    /// A `/proc` in which `1` is in the mount namespace of ours (which is no network namespace, but an identity), and others as given.
    struct Proc(tempfile::TempDir);

    impl Proc {
        fn new() -> Self {
            let proc = Self(tempfile::tempdir().unwrap());
            proc.add(1, "0::/init.scope", 1, "/proc/self/ns/mnt");
            fs::create_dir(proc.0.path().join("sys")).unwrap();
            proc
        }

        fn add(&self, pid: u32, cgroup: &str, started: u64, netns: &str) {
            let folder = self.0.path().join(pid.to_string());
            fs::create_dir_all(folder.join("ns")).unwrap();
            fs::write(folder.join("cgroup"), cgroup).unwrap();
            fs::write(folder.join("stat"), format!("{pid} (x) S{} {started} 0\n", " 0".repeat(18))).unwrap();
            symlink(netns, folder.join("ns/net")).unwrap();
        }

        fn scan(&self, uids: &[&str]) -> Found {
            scan(self.0.path(), &uids.iter().map(|uid| Arc::from(*uid)).collect())
        }
    }

    fn cgroup(uid: &str) -> String {
        format!("0::/kubepods/pod{uid}/x")
    }

    /// Files of nsfs that are none of ours, one of PID 1's and not a network namespace.
    const A: &str = "/proc/self/ns/uts";
    const B: &str = "/proc/self/ns/ipc";

    fn paths(found: &Found, uid: &str) -> Vec<String> {
        found.pods.get(uid).map_or(Vec::new(), |seen| {
            seen.netns.iter().map(|netns| netns.path().parent().unwrap().parent().unwrap()).map(name).collect()
        })
    }

    fn name(path: &Path) -> String {
        path.file_name().unwrap().to_string_lossy().into_owned()
    }

    /// Mutation that breaks it: leaving the order of the directory as it is.
    #[test]
    fn each_namespace_is_found_once_and_that_of_the_oldest_process_first() {
        let proc = Proc::new();
        proc.add(10, &cgroup("a"), 300, A);
        proc.add(11, &cgroup("a"), 200, B);
        proc.add(12, &cgroup("a"), 100, A);
        let found = proc.scan(&["a", "b"]);
        assert_eq!(paths(&found, "a"), ["12", "11"]);
        assert!(!found.pods.contains_key("b") && found.failure.is_none());
        let id = NetnsId::of(Path::new(A)).unwrap();
        assert_eq!(found.process_in("a", id).unwrap().map(|path| path.ends_with("12/ns/net")), Some(true));
        assert_eq!(found.process_in("b", id).unwrap(), None);
    }

    /// T08. Mutation that breaks it: leaving the comparison out.
    #[test]
    fn the_hosts_namespace_and_our_own_are_no_pods() {
        let proc = Proc::new();
        proc.add(10, &cgroup("a"), 100, "/proc/self/ns/mnt");
        proc.add(11, &cgroup("b"), 100, "/proc/self/ns/net");
        proc.add(12, &cgroup("c"), 100, "/proc/self/ns/mnt");
        proc.add(13, &cgroup("c"), 200, A);
        let found = proc.scan(&["a", "b", "c"]);
        assert!(matches!(found.pods["a"].other, Some(NotItsOwn::Host { .. })) && found.pods["a"].netns.is_empty());
        assert!(matches!(found.pods["b"].other, Some(NotItsOwn::Ours { .. })) && found.pods["b"].netns.is_empty());
        assert_eq!(paths(&found, "c"), ["13"], "one process of the pod in the host's network hides none of the others");
    }

    /// T09. Mutation that breaks it: leaving owners out; making the wanted pods the only owners.
    #[test]
    fn a_namespace_stays_the_pods_whose_process_was_there_first() {
        let proc = Proc::new();
        proc.add(10, &cgroup("a"), 100, A);
        proc.add(11, &cgroup("b"), 200, A);
        let found = proc.scan(&["a", "b"]);
        assert_eq!(paths(&found, "a"), ["10"]);
        assert!(found.pods["b"].netns.is_empty());
        assert!(matches!(&found.pods["b"].other, Some(NotItsOwn::Foreign { owner, .. }) if **owner == *"a"));
        // Also if nobody looks for the owner.
        assert!(matches!(&proc.scan(&["b"]).pods["b"].other, Some(NotItsOwn::Foreign { .. })));
    }

    #[test]
    fn a_process_that_ends_during_the_scan_is_no_error() {
        let proc = Proc::new();
        proc.add(10, &cgroup("a"), 100, "/proc/self/ns/no-such");
        proc.add(11, &cgroup("a"), 200, A);
        fs::create_dir(proc.0.path().join("12")).unwrap();
        let found = proc.scan(&["a"]);
        assert_eq!(paths(&found, "a"), ["11"]);
        assert!(found.pods["a"].other.is_none());
    }

    #[test]
    fn nothing_is_found_while_the_host_cannot_be_told() {
        let proc = Proc::new();
        proc.add(10, &cgroup("a"), 100, A);
        fs::remove_file(proc.0.path().join("1/ns/net")).unwrap();
        let failure = proc.scan(&["a"]).failure.unwrap();
        assert!(matches!(&failure, ScanError::Host(_)), "{failure}");
        let failure = scan(Path::new("/no/such"), &HashSet::new()).failure.unwrap();
        assert!(failure.to_string().contains("--proc"), "{failure}");
    }
}
