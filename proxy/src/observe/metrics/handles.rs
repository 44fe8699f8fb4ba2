//! What rules and mirrors count with: handles that the table holds, so that the request path only adds. The same labels get the same handles, so
//! that counts live on through reloads.
//!
//! All numbers of a mirror lie in one place, and so do its labels: a label set and an allocation for each number, as families of
//! prometheus-client have them, would be the largest part of a large table.

mod text;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::registry::Registry;

use self::text::Counts;

use crate::{
    limit::Taken,
    observe::{
        histogram::{self, Histogram, Wall},
        identity::Identity,
    },
    shadow::outcome::{Ended, Outcome},
};

/// Which mirror a counter belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MirrorLabels {
    /// Which rule has it.
    pub rule: RuleLabels,
    /// Index of the mirror in its rule.
    pub mirror: u32,
}

/// Which rule a counter belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleLabels {
    /// Namespace of the Service.
    pub namespace: Arc<str>,
    /// Name of the Service.
    pub service: Arc<str>,
    /// The rule's name.
    pub rule: Arc<str>,
}

/// The classes that the `code` label knows, by first digit of the status.
const CODE_CLASSES: [&str; 6] = ["", "1xx", "2xx", "3xx", "4xx", "5xx"];

fn class_of(code: u16) -> usize {
    usize::from(code / 100).min(5)
}

/// A number that only grows.
#[derive(Debug, Default)]
struct Count(AtomicU64);

impl Count {
    fn inc(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters and gauges of one mirror. Shared by the tables of successive generations.
#[derive(Debug, Default)]
pub struct MirrorMetrics {
    everywhere: Arc<Everywhere>,
    answered: [Count; CODE_CLASSES.len()],
    outcomes: [Count; Outcome::ALL.len()],
    duration: Histogram,
    active: Taken,
}

/// What is counted of a mirror wherever its shadows go.
#[derive(Debug, Default)]
struct Everywhere {
    candidates: Count,
    cut: Count,
}

impl MirrorMetrics {
    /// A request matched the mirror's rule.
    pub fn candidate(&self) {
        self.everywhere.candidates.inc();
    }

    /// A candidate has ended.
    pub fn ended(&self, ended: Ended) {
        match ended {
            Ended::Answered(code) => self.answered[class_of(code)].inc(),
            Ended::Without(outcome) => self.outcomes[outcome as usize].inc(),
        };
    }

    /// A shadow that had begun took so long until it ended at `at` (monotonic nanoseconds).
    pub fn took(&self, duration: Duration, at: u64, whose: Identity) {
        self.duration.observe(duration, at, whose);
    }

    /// An answer was longer than its bound.
    pub fn answer_cut(&self) {
        self.everywhere.cut.inc();
    }

    /// Shadows under way; the caller takes and gives back.
    #[must_use]
    pub fn active(&self) -> &Taken {
        &self.active
    }
}

/// Counters of one rule's primaries.
#[derive(Debug, Default)]
pub struct RuleMetrics {
    requests: [Count; CODE_CLASSES.len()],
    duration: Histogram,
}

impl RuleMetrics {
    /// The primary was answered with this status (an upstream's or our own).
    pub fn answered(&self, code: u16) {
        self.requests[class_of(code)].inc();
    }

    /// A primary took so long until its answer ended, or broke off, at `at` (monotonic nanoseconds).
    pub fn took(&self, duration: Duration, at: u64, whose: Identity) {
        self.duration.observe(duration, at, whose);
    }
}

/// The handles of all rules and mirrors that there have been. Its locks are for whoever compiles tables and reads metrics.
#[derive(Debug)]
pub(super) struct Handles {
    known: Arc<Known>,
    wall: Wall,
}

#[derive(Debug, Default)]
struct Known {
    mirrors: Mutex<BTreeMap<MirrorLabels, KnownMirror>>,
    rules: Mutex<BTreeMap<RuleLabels, Arc<RuleMetrics>>>,
}

/// A mirror with every destination that it has had, of which there is seldom more than one.
#[derive(Debug, Default)]
struct KnownMirror {
    everywhere: Arc<Everywhere>,
    by_destination: Vec<(Arc<str>, Arc<MirrorMetrics>)>,
}

impl Known {
    fn mirrors(&self) -> MutexGuard<'_, BTreeMap<MirrorLabels, KnownMirror>> {
        self.mirrors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rules(&self) -> MutexGuard<'_, BTreeMap<RuleLabels, Arc<RuleMetrics>>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handles {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let known = Arc::<Known>::default();
        registry.register_collector(Box::new(Counts(Arc::clone(&known))));
        Self { known, wall: Wall::now() }
    }

    pub(super) fn mirror(&self, labels: &MirrorLabels, destination: &Arc<str>) -> Arc<MirrorMetrics> {
        let mut mirrors = self.known.mirrors();
        let mirror = mirrors.entry(labels.clone()).or_default();
        if let Some((_, known)) = mirror.by_destination.iter().find(|(name, _)| name == destination) {
            return Arc::clone(known);
        }
        let everywhere = Arc::clone(&mirror.everywhere);
        let handles = Arc::new(MirrorMetrics { everywhere, ..MirrorMetrics::default() });
        mirror.by_destination.reserve_exact(1);
        mirror.by_destination.push((Arc::clone(destination), Arc::clone(&handles)));
        handles
    }

    pub(super) fn rule(&self, labels: &RuleLabels) -> Arc<RuleMetrics> {
        Arc::clone(self.known.rules().entry(labels.clone()).or_default())
    }

    /// What prometheus-client does not write.
    pub(super) fn write_histograms(&self, out: &mut String) -> fmt::Result {
        let help = "From a primary's head to the end of its answer";
        let mut family = histogram::Family::begin(out, self.wall, "understudy_request_duration_seconds", help)?;
        for (labels, handles) in &*self.known.rules() {
            let RuleLabels { namespace, service, rule } = labels;
            family.member(&[("namespace", namespace), ("service", service), ("rule", rule)], &handles.duration)?;
        }
        let help = "From the start of a shadow that was sent to its end";
        let mut family = histogram::Family::begin(out, self.wall, "understudy_shadow_duration_seconds", help)?;
        for (MirrorLabels { rule: RuleLabels { namespace, service, rule }, mirror }, known) in &*self.known.mirrors() {
            for (destination, handles) in &known.by_destination {
                let labels: [(&str, &dyn fmt::Display); 5] = [
                    ("namespace", namespace),
                    ("service", service),
                    ("rule", rule),
                    ("mirror", mirror),
                    ("destination", destination),
                ];
                family.member(&labels, &handles.duration)?;
            }
        }
        Ok(())
    }
}
