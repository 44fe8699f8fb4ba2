//! The user side of eBPF: loads the hooks, attaches them to the node's cgroup2 root, and keeps their maps in step with the configuration.
//!
//! Comes in: a [`CapturePlan`] (destinations with a rule), namespaces to enrol. Goes out: original destinations of accepted connections,
//! counters, events. Never: HTTP, sockets of pods, a half-attached state (whatever fails, nothing stays behind).
//!
//! | module | does |
//! | --- | --- |
//! | [`cgroup`], `mountinfo` | finds the root to attach to |
//! | [`features`] | asks what this kernel and this process can do |
//! | `load` | object → kernel |
//! | `attach` | kernel → cgroup |
//! | `maps` | names and handles of the maps |
//! | [`sync`] | plan → `RULES` |
//! | [`heartbeat`], [`origins`] | handles for the workers |
//! | [`events`] | kernel → log |
//! | `pin`, [`cleanup`] | what outlives the process, and how it goes away |
//! | [`doctor`] | says what is wrong with this machine |

mod attach;
pub mod cgroup;
pub mod cleanup;
pub mod doctor;
pub mod events;
pub mod features;
pub mod heartbeat;
mod load;
mod maps;
mod mountinfo;
pub mod origins;
mod pin;
pub mod sync;

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use proxy_common::{
    ABI,
    config::{CaptureConfig, DEFAULT_STALE_NS},
    netns::NetnsEntry,
    stats::Counter,
};

use crate::{
    control::plan::CapturePlan,
    net::{Mark, NetnsCookie},
};

pub use cgroup::{CgroupError, CgroupRoot};
pub use events::Events;
pub use heartbeat::Heartbeat;
pub use origins::{Origin, Origins};
pub use sync::SyncReport;

/// Every counter of the kernel side, in the order of [`Counter::ALL`].
pub type Stats = [u64; Counter::COUNT as usize];

/// How to capture.
#[derive(Clone, Debug)]
pub struct CaptureOptions {
    /// The cgroup2 root to attach to; none = find it.
    pub cgroup: Option<PathBuf>,
    /// The node's `/proc`; its PID 1 knows which root is the node's.
    pub proc: PathBuf,
    /// Where bpffs is (or is to be) mounted; used only while a rule is closed.
    pub bpffs: PathBuf,
    /// Tells several agents on one kernel apart in bpffs; the node's name is a good one.
    pub instance: String,
    /// What our own sockets carry.
    pub mark: Mark,
    /// A heartbeat older than this is a hang.
    pub stale_after: Duration,
    /// Most destinations with a rule.
    pub max_rules: u32,
    /// Most enrolled pods.
    pub max_pods: u32,
    /// Most connections between connect and accept.
    pub max_origins: u32,
    /// Level of the kernel side's own log: 0 = none (the verifier removes the code), 1 error … 5 trace.
    pub log_level: u8,
}

impl Default for CaptureOptions {
    fn default() -> Self {
        Self {
            cgroup: None,
            proc: PathBuf::from("/proc"),
            bpffs: PathBuf::from("/sys/fs/bpf"),
            instance: "default".to_owned(),
            mark: Mark::default(),
            stale_after: Duration::from_nanos(DEFAULT_STALE_NS),
            max_rules: 65_536,
            max_pods: 8_192,
            max_origins: 65_536,
            log_level: 0,
        }
    }
}

/// Why capture does not work.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The binary was built without the kernel side.
    #[error("the eBPF object is not built into this binary; run `cargo xtask build-ebpf` and build again")]
    NotBuilt,
    /// No root to attach to.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The kernel did not take the object.
    #[error("cannot load {what}: {reason}{hint}")]
    Load {
        /// The object, a program or a map.
        what: String,
        /// From aya, with its sources.
        reason: String,
        /// Likely cause and remedy.
        hint: &'static str,
    },
    /// A program was loaded, but the cgroup did not take it.
    #[error("cannot attach {program} to {}: {reason}; needs CAP_NET_ADMIN and a kernel of 5.15 or newer", cgroup.display())]
    Attach {
        /// Name of the program.
        program: &'static str,
        /// Where to.
        cgroup: PathBuf,
        /// From aya, with its sources.
        reason: String,
    },
    /// A map did not take or give an entry.
    #[error("cannot {doing} in map {map}: {reason}")]
    Map {
        /// What was tried.
        doing: &'static str,
        /// Name of the map.
        map: &'static str,
        /// From aya, with its sources.
        reason: String,
    },
    /// Pins have one owner at a time.
    #[error(
        "another living process keeps closed rules closed under this instance's name ({}): stop it, or give one of the two another --instance or --bpffs", path.display()
    )]
    InstanceHeld {
        /// The instance's directory in bpffs.
        path: PathBuf,
    },
    /// bpffs did not take a pin, so a closed rule would open if the process died.
    #[error("cannot keep closed rules closed past the end of this process: {doing} {} failed: {reason}", path.display())]
    Pin {
        /// What was tried.
        doing: &'static str,
        /// In bpffs.
        path: PathBuf,
        /// From the kernel.
        reason: String,
    },
}

/// An error and everything below it, in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

/// The attached hooks. Dropping it detaches them (unless a closed rule has them pinned, see [`Capture::detach`]).
///
/// Every method may be called from any thread; none is for the request path.
pub struct Capture {
    root: CgroupRoot,
    state: Mutex<State>,
    origins: maps::Shared,
    heartbeat: maps::Shared,
}

struct State {
    // Fields drop in this order: the links go first.
    links: attach::Attached,
    pins: pin::Pins,
    rules: sync::Rules,
    netns: maps::NetnsMap,
    stats: maps::StatsMap,
    config: maps::ConfigMap,
    /// Taken once, by [`Capture::events`].
    events: Option<Events>,
    _object: aya::Ebpf,
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Capture {
    /// Finds the root, loads, attaches and configures. No connection is redirected before a rule and a pod are there.
    ///
    /// Hooks that a former process of this instance left pinned (it had closed rules) go on refusing until
    /// [`Capture::retire_dead`].
    ///
    /// # Errors
    /// With one line for the operator. Nothing stays attached or pinned then.
    pub fn start(options: &CaptureOptions) -> Result<Self, CaptureError> {
        let root = CgroupRoot::find(options.cgroup.as_deref(), &options.proc)?;
        let mut object = load::load(options)?;
        let maps = maps::Maps::take(&mut object)?;
        let events = Events::new(maps.events, &mut object, options.log_level > 0);
        let links = attach::Attached::all(&mut object, &root)?;
        let config = CaptureConfig {
            stale_ns: u64::try_from(options.stale_after.as_nanos()).unwrap_or(u64::MAX),
            abi: ABI,
            mark: options.mark.value,
            mark_mask: options.mark.mask,
            flags: 0,
        };
        let mut state = State {
            links,
            pins: pin::Pins::new(&options.bpffs, &options.instance),
            rules: sync::Rules::new(maps.rules),
            netns: maps.netns,
            stats: maps.stats,
            config: maps.config,
            events: Some(events),
            _object: object,
        };
        // Everything is in place: this switches the hooks on.
        state.config.set(config)?;
        Ok(Self { root, state: Mutex::new(state), origins: maps.origins, heartbeat: maps.heartbeat })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the hooks are attached.
    #[must_use]
    pub fn root(&self) -> &CgroupRoot {
        &self.root
    }

    /// Reserves the name of this instance if the plan has closed rules, whose pins need it; done again by whatever pins.
    ///
    /// # Errors
    /// If a living process holds the name. (That bpffs does not work is told by [`SyncReport::pin_error`].)
    pub fn claim_instance(&self, plan: &CapturePlan) -> Result<(), CaptureError> {
        if !has_closed(plan) {
            return Ok(());
        }
        match self.state().pins.claim() {
            Err(error @ CaptureError::InstanceHeld { .. }) => Err(error),
            _ => Ok(()),
        }
    }

    /// Makes `RULES` what the plan says, and pins the hooks if (and only as long as) a rule is closed. A destination that found no room
    /// is in the report and is not captured; the others are not affected.
    pub fn sync_rules(&self, plan: &CapturePlan, generation: u64) -> SyncReport {
        self.put_rules(plan, |rules| rules.sync(plan, generation))
    }

    /// The same for a plan that is in force already: what someone else deleted or changed is restored, what failed is tried again.
    pub fn reconcile_rules(&self, plan: &CapturePlan, generation: u64) -> SyncReport {
        self.put_rules(plan, |rules| rules.reconcile(plan, generation))
    }

    fn put_rules(&self, plan: &CapturePlan, put: impl FnOnce(&mut sync::Rules) -> SyncReport) -> SyncReport {
        let mut state = self.state();
        let State { links, pins, rules, _object: object, .. } = &mut *state;
        // Pin before a rule closes, unpin after the last has opened.
        let pinned = if has_closed(plan) { pins.pin(links, object, &self.root) } else { Ok(()) };
        let mut report = put(rules);
        report.pin_error = pinned.err();
        if !has_closed(plan) && !rules.any_closed() {
            pins.unpin(links);
        }
        report
    }

    /// Tells the hook of a namespace and its listeners. The listeners must be open already.
    ///
    /// # Errors
    /// If the map is full.
    pub fn enrol(&self, cookie: NetnsCookie, entry: &NetnsEntry) -> Result<(), CaptureError> {
        self.state().netns.insert(cookie, entry)
    }

    /// Makes the hook forget a namespace; unknown ones are fine.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn withdraw(&self, cookie: NetnsCookie) -> Result<(), CaptureError> {
        self.state().netns.remove(cookie)
    }

    /// What the hook knows of a namespace.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn entry(&self, cookie: NetnsCookie) -> Result<Option<NetnsEntry>, CaptureError> {
        self.state().netns.get(cookie)
    }

    /// The counters, summed over CPUs.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn stats(&self) -> Result<Stats, CaptureError> {
        self.state().stats.totals()
    }

    /// Do the hooks run? Asks the hooks themselves: a connect of ours must be counted. (A link outlives the cgroup it was attached to, so
    /// holding one proves nothing.)
    #[must_use]
    pub fn is_attached(&self) -> bool {
        let seen = || self.stats().map(|stats| stats[Counter::Seen as usize]).unwrap_or_default();
        let before = seen();
        // A refused connect to the own loopback: nothing leaves, nothing listens on port 1.
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let _ = TcpStream::connect_timeout(&nowhere, Duration::from_millis(100));
        seen() > before
    }

    /// A handle for one worker.
    ///
    /// # Errors
    /// If no descriptor is left.
    pub fn origins(&self) -> Result<Origins, CaptureError> {
        Origins::new(self.origins.handle()?)
    }

    /// The handle for the worker whose tick proves that the process lives. Without a beat every rule counts as stale.
    ///
    /// # Errors
    /// If no descriptor is left.
    pub fn heartbeat(&self) -> Result<Heartbeat, CaptureError> {
        Heartbeat::new(self.heartbeat.handle()?)
    }

    /// The kernel side's reports, to be run as a task; the first caller gets them.
    #[must_use]
    pub fn events(&self) -> Option<Events> {
        self.state().events.take()
    }

    /// Removes what processes that are gone left pinned, of this instance and of others. Call it when the first rules are synced and the first pods
    /// enrolled (until then such hooks keep closed rules closed), and again from time to time: who was there beside us may have been killed since.
    /// Returns what was removed; the pins of a living process are not touched.
    ///
    /// # Errors
    /// If bpffs refuses, or a living process holds the instance.
    pub fn retire_dead(&self) -> Result<Vec<PathBuf>, CaptureError> {
        self.state().pins.retire_others()
    }

    /// The graceful end: no connection is taken any more, pinned or not, and nothing stays in bpffs; one that we had mounted goes too. So
    /// closed rules are open from here on: what is stopped on purpose leaves nothing behind. The hooks that give redirected sockets
    /// their names go with the process. Without this call (a crash), pinned hooks stay and refuse for closed rules.
    pub fn detach(&self) {
        let mut state = self.state();
        let State { links, pins, config, .. } = &mut *state;
        // The kernel detaches what was pinned only some time after its pin has gone; until then the hooks must pass everything.
        if let Err(error) = config.set(CaptureConfig::default()) {
            tracing::warn!(%error, "closed rules refuse until the kernel has detached the hooks");
        }
        pins.unpin(links);
        pins.unmount();
        links.release_connects();
    }
}

fn has_closed(plan: &CapturePlan) -> bool {
    plan.ports.values().any(|port| port.closed)
}

impl From<CaptureError> for io::Error {
    fn from(error: CaptureError) -> Self {
        Self::other(error)
    }
}
