//! Counters, gauges and histograms, with handles that are resolved when a table is compiled, so that the request path only adds.
//!
//! Names begin with `understudy_`; labels come from the table, never from a request: a client cannot make series.

use std::{
    fmt::Write as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use prometheus_client::{
    collector::Collector,
    encoding::{
        EncodeLabelSet,
        text::{encode_eof, encode_registry},
    },
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Metric, Registry},
};

macro_rules! register {
    ($registry:ident, $name:literal, $help:literal, $metric:expr) => {{
        let metric = $metric;
        $registry.register($name, $help, metric.clone());
        metric
    }};
}

mod handles;

use self::handles::Handles;
pub use self::handles::{MirrorLabels, MirrorMetrics, RuleLabels, RuleMetrics};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabel {
    verdict: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FaultLabels {
    side: &'static str,
    kind: &'static str,
}

/// Everything that `/metrics` shows. Control side and data path hold it behind an `Arc`.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    handles: Handles,
    connections: Family<KindLabel, Counter>,
    open: Family<KindLabel, Gauge>,
    faults: Family<FaultLabels, Counter>,
    verdicts: Family<VerdictLabel, Counter<u64, AtomicU64>>,
    reloads: Family<VerdictLabel, Counter>,
    refused: Family<ReasonLabel, Gauge>,
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
    /// 1 while the source of the configuration tells of changes, 0 while it cannot be heard (the last good state stays).
    pub source_connected: Gauge,
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

impl Metrics {
    /// A registry with every metric at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut root = Registry::default();
        let r = root.sub_registry_with_prefix("understudy");
        Self {
            handles: Handles::register(r),
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
            refused: register!(
                r,
                "enrol_refused",
                "Pods that should be enrolled and are not, by the kind of reason",
                Family::default()
            ),
            enrolled_actual: register!(r, "enrolled_actual", "Pods that are enrolled", Gauge::default()),
            source_connected: register!(
                r,
                "config_source_connected",
                "Whether the source of the configuration can be heard",
                Gauge::default()
            ),
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
        }
    }

    /// The handles of a mirror; the same for the same labels, so that counts live on through reloads.
    #[must_use]
    pub fn mirror(&self, labels: &MirrorLabels, destination: &Arc<str>) -> Arc<MirrorMetrics> {
        self.handles.mirror(labels, destination)
    }

    /// The handles of a rule.
    #[must_use]
    pub fn rule(&self, labels: &RuleLabels) -> Arc<RuleMetrics> {
        self.handles.rule(labels)
    }

    /// Counter of accepted connections of a kind; resolve once per worker.
    #[must_use]
    pub fn connections(&self, kind: &'static str) -> Counter {
        self.connections.get_or_create(&KindLabel { kind }).clone()
    }

    /// How many pods are not enrolled for a reason of this kind.
    pub fn set_refused(&self, reason: &'static str, pods: i64) {
        self.refused.get_or_create(&ReasonLabel { reason }).set(pods);
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
        let encoded = encode_registry(&mut text, &registry)
            .and_then(|()| self.handles.write_histograms(&mut text))
            .and_then(|()| encode_eof(&mut text));
        if encoded.is_err() {
            let _ = writeln!(text, "# the encoder failed");
        }
        text
    }
}
