//! Counters and gauges, with handles that are resolved when a table is compiled, so that the request path only adds.
//!
//! Names begin with `understudy_`; labels come from the table, never from a request: a client cannot make series.

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use prometheus_client::{
    collector::Collector,
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Metric, Registry},
};

use crate::{
    limit::Taken,
    shadow::outcome::{Ended, Outcome},
};

/// Which mirror a counter belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct MirrorLabels {
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service.
    pub service: String,
    /// The rule's name.
    pub rule: String,
    /// Index of the mirror in its rule.
    pub mirror: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    namespace: String,
    service: String,
    rule: String,
    mirror: u32,
    destination: String,
    outcome: &'static str,
    code: &'static str,
}

/// Which rule a counter belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RuleLabels {
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service.
    pub service: String,
    /// The rule's name.
    pub rule: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    namespace: String,
    service: String,
    rule: String,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabel {
    verdict: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FaultLabels {
    side: &'static str,
    kind: &'static str,
}

/// The classes that the `code` label knows, by first digit of the status.
const CODE_CLASSES: [&str; 6] = ["", "1xx", "2xx", "3xx", "4xx", "5xx"];

fn class_of(code: u16) -> usize {
    usize::from(code / 100).min(5)
}

/// Counters and gauges of one mirror. Shared by the tables of successive generations.
#[derive(Debug)]
pub struct MirrorMetrics {
    candidates: Counter,
    answered: [Counter; 6],
    outcomes: [Counter; Outcome::ALL.len()],
    cut: Counter,
    active: Taken,
}

impl MirrorMetrics {
    /// A request matched the mirror's rule.
    pub fn candidate(&self) {
        self.candidates.inc();
    }

    /// A candidate has ended.
    pub fn ended(&self, ended: Ended) {
        match ended {
            Ended::Answered(code) => self.answered[class_of(code)].inc(),
            Ended::Without(outcome) => self.outcomes[outcome as usize].inc(),
        };
    }

    /// An answer was longer than its bound.
    pub fn answer_cut(&self) {
        self.cut.inc();
    }

    /// Shadows under way; the caller takes and gives back.
    #[must_use]
    pub fn active(&self) -> &Taken {
        &self.active
    }
}

/// Counters of one rule's primaries.
#[derive(Debug)]
pub struct RuleMetrics {
    requests: [Counter; 6],
}

impl RuleMetrics {
    /// The primary was answered with this status (an upstream's or our own).
    pub fn answered(&self, code: u16) {
        self.requests[class_of(code)].inc();
    }
}

/// Everything that `/metrics` shows. Control side and data path hold it behind an `Arc`.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    candidates: Family<MirrorLabels, Counter>,
    shadows: Family<OutcomeLabels, Counter>,
    cut: Family<MirrorLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    connections: Family<KindLabel, Counter>,
    open: Family<KindLabel, Gauge>,
    faults: Family<FaultLabels, Counter>,
    verdicts: Family<VerdictLabel, Counter<u64, AtomicU64>>,
    reloads: Family<VerdictLabel, Counter>,
    mirrors: Mutex<HashMap<(MirrorLabels, String), Arc<MirrorMetrics>>>,
    rules: Mutex<HashMap<RuleLabels, Arc<RuleMetrics>>>,
    /// Generation of the configuration in force.
    pub generation: Gauge,
    /// Objects of the configuration that are kept in an older state because their newest does not work.
    pub stale_objects: Gauge,
    /// Rules that found no room in the kernel's map.
    pub rules_overflow: Gauge,
    /// Pods of this node that should be enrolled.
    pub enrolled_desired: Gauge,
    /// Pods that are.
    pub enrolled_actual: Gauge,
    /// Enrolments that reconciliation had to mend.
    pub reconcile_repairs: Counter,
    /// Unsent body bytes held by all shadows.
    pub shadow_buffered_bytes: Gauge<i64, AtomicI64>,
    /// Shadows under way.
    pub shadows_active: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

macro_rules! register {
    ($registry:ident, $name:literal, $help:literal, $metric:expr) => {{
        let metric = $metric;
        $registry.register($name, $help, metric.clone());
        metric
    }};
}

impl Metrics {
    /// A registry with every metric at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut root = Registry::default();
        let r = root.sub_registry_with_prefix("understudy");
        Self {
            candidates: register!(
                r,
                "shadow_candidates",
                "Requests that a rule with this mirror matched",
                Family::default()
            ),
            shadows: register!(r, "shadow_requests", "Ended shadows by outcome", Family::default()),
            cut: register!(
                r,
                "shadow_answers_cut",
                "Answers of shadows that were longer than their bound and not read further",
                Family::default()
            ),
            requests: register!(r, "requests", "Answered primary requests of a rule", Family::default()),
            connections: register!(
                r,
                "connections",
                "Accepted connections by what they turned out to be",
                Family::default()
            ),
            open: register!(r, "connections_open", "Open connections by what they are", Family::default()),
            faults: register!(r, "faults", "Data path faults by side and kind", Family::default()),
            verdicts: register!(r, "capture_connects", "What the connect hook decided", Family::default()),
            reloads: register!(r, "config_reloads", "Configuration reloads by result", Family::default()),
            generation: register!(r, "config_generation", "Generation of the configuration in force", Gauge::default()),
            stale_objects: register!(
                r,
                "config_stale_objects",
                "Objects kept in their last good state",
                Gauge::default()
            ),
            rules_overflow: register!(
                r,
                "capture_rules_overflow",
                "Destinations without room in the rules map",
                Gauge::default()
            ),
            enrolled_desired: register!(r, "enrolled_desired", "Pods that should be enrolled", Gauge::default()),
            enrolled_actual: register!(r, "enrolled_actual", "Pods that are enrolled", Gauge::default()),
            reconcile_repairs: register!(
                r,
                "reconcile_repairs",
                "Enrolments mended by reconciliation",
                Counter::default()
            ),
            shadow_buffered_bytes: register!(
                r,
                "shadow_buffered_bytes",
                "Unsent body bytes held by shadows",
                Gauge::default()
            ),
            shadows_active: register!(r, "shadows_active", "Shadows under way", Gauge::default()),
            registry: Mutex::new(root),
            mirrors: Mutex::default(),
            rules: Mutex::default(),
        }
    }

    /// The handles of a mirror; the same for the same labels, so that counts live on through reloads.
    #[must_use]
    pub fn mirror(&self, labels: &MirrorLabels, destination: &str) -> Arc<MirrorMetrics> {
        let mut known = self.mirrors.lock().unwrap_or_else(PoisonError::into_inner);
        let handles = known.entry((labels.clone(), destination.to_owned())).or_insert_with(|| {
            let counter = |outcome, code| {
                let labels = OutcomeLabels {
                    namespace: labels.namespace.clone(),
                    service: labels.service.clone(),
                    rule: labels.rule.clone(),
                    mirror: labels.mirror,
                    destination: destination.to_owned(),
                    outcome,
                    code,
                };
                self.shadows.get_or_create(&labels).clone()
            };
            Arc::new(MirrorMetrics {
                candidates: self.candidates.get_or_create(labels).clone(),
                answered: CODE_CLASSES.map(|code| counter("answered", code)),
                outcomes: Outcome::ALL.map(|(_, name)| counter(name, "")),
                cut: self.cut.get_or_create(labels).clone(),
                active: Taken::default(),
            })
        });
        Arc::clone(handles)
    }

    /// The handles of a rule.
    #[must_use]
    pub fn rule(&self, labels: &RuleLabels) -> Arc<RuleMetrics> {
        let mut known = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let handles = known.entry(labels.clone()).or_insert_with(|| {
            let requests = CODE_CLASSES.map(|code| {
                let RuleLabels { namespace, service, rule } = labels.clone();
                self.requests.get_or_create(&RequestLabels { namespace, service, rule, code }).clone()
            });
            Arc::new(RuleMetrics { requests })
        });
        Arc::clone(handles)
    }

    /// Counter of accepted connections of a kind; resolve once per worker.
    #[must_use]
    pub fn connections(&self, kind: &'static str) -> Counter {
        self.connections.get_or_create(&KindLabel { kind }).clone()
    }

    /// Gauge of open connections of a kind; resolve once per worker.
    #[must_use]
    pub fn open_connections(&self, kind: &'static str) -> Gauge {
        self.open.get_or_create(&KindLabel { kind }).clone()
    }

    /// Counter of faults; resolve once per worker.
    #[must_use]
    pub fn faults(&self, side: &'static str, kind: &'static str) -> Counter {
        self.faults.get_or_create(&FaultLabels { side, kind }).clone()
    }

    /// Takes over the kernel's total of a verdict.
    pub fn set_verdict(&self, verdict: &'static str, total: u64) {
        self.verdicts.get_or_create(&VerdictLabel { verdict }).inner().store(total, Ordering::Relaxed);
    }

    /// Counts a reload as `applied`, `partial` or `rejected`.
    pub fn reload(&self, verdict: &'static str) {
        self.reloads.get_or_create(&VerdictLabel { verdict }).inc();
    }

    /// Adds a metric of another part under our prefix; once for each name.
    pub fn register(&self, name: &'static str, help: &'static str, metric: impl Metric) {
        let mut root = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        root.sub_registry_with_prefix("understudy").register(name, help, metric);
    }

    /// Adds what is read anew at each scrape. A collector gives its names in full.
    pub fn register_collector(&self, collector: impl Collector) {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).register_collector(Box::new(collector));
    }

    /// The text that `/metrics` answers (OpenMetrics 1.0).
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        if encode(&mut text, &registry).is_err() {
            let _ = writeln!(text, "# the encoder failed");
        }
        text
    }
}
