//! What rules and mirrors count with: handles that the table holds, so that the request path only adds. The same labels get the same handles, so
//! that counts live on through reloads.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use crate::{
    limit::Taken,
    observe::{
        histogram::{self, Histogram, Wall},
        identity::Identity,
    },
    shadow::outcome::{Ended, Outcome},
};

/// Which mirror a counter belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
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
    duration: Histogram,
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

    /// A shadow that had begun took so long until it ended at `at` (monotonic nanoseconds).
    pub fn took(&self, duration: Duration, at: u64, whose: Identity) {
        self.duration.observe(duration, at, whose);
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
    candidates: Family<MirrorLabels, Counter>,
    shadows: Family<OutcomeLabels, Counter>,
    cut: Family<MirrorLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    mirrors: Mutex<BTreeMap<(MirrorLabels, String), Arc<MirrorMetrics>>>,
    rules: Mutex<BTreeMap<RuleLabels, Arc<RuleMetrics>>>,
    wall: Wall,
}

impl Handles {
    pub(super) fn register(registry: &mut Registry) -> Self {
        Self {
            candidates: register!(
                registry,
                "shadow_candidates",
                "Requests that a rule with this mirror matched",
                Family::default()
            ),
            shadows: register!(registry, "shadow_requests", "Ended shadows by outcome", Family::default()),
            cut: register!(
                registry,
                "shadow_answers_cut",
                "Answers of shadows that were longer than their bound and not read further",
                Family::default()
            ),
            requests: register!(registry, "requests", "Answered primary requests of a rule", Family::default()),
            mirrors: Mutex::default(),
            rules: Mutex::default(),
            wall: Wall::now(),
        }
    }

    pub(super) fn mirror(&self, labels: &MirrorLabels, destination: &str) -> Arc<MirrorMetrics> {
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
                duration: Histogram::default(),
                active: Taken::default(),
            })
        });
        Arc::clone(handles)
    }

    pub(super) fn rule(&self, labels: &RuleLabels) -> Arc<RuleMetrics> {
        let mut known = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let handles = known.entry(labels.clone()).or_insert_with(|| {
            let requests = CODE_CLASSES.map(|code| {
                let RuleLabels { namespace, service, rule } = labels.clone();
                self.requests.get_or_create(&RequestLabels { namespace, service, rule, code }).clone()
            });
            Arc::new(RuleMetrics { requests, duration: Histogram::default() })
        });
        Arc::clone(handles)
    }

    /// What prometheus-client does not write.
    pub(super) fn write_histograms(&self, out: &mut String) -> fmt::Result {
        let help = "From a primary's head to the end of its answer";
        let mut family = histogram::Family::begin(out, self.wall, "understudy_request_duration_seconds", help)?;
        for (labels, handles) in &*self.rules.lock().unwrap_or_else(PoisonError::into_inner) {
            let RuleLabels { namespace, service, rule } = labels;
            family.member(&[("namespace", namespace), ("service", service), ("rule", rule)], &handles.duration)?;
        }
        let help = "From the start of a shadow that was sent to its end";
        let mut family = histogram::Family::begin(out, self.wall, "understudy_shadow_duration_seconds", help)?;
        for ((labels, destination), handles) in &*self.mirrors.lock().unwrap_or_else(PoisonError::into_inner) {
            let MirrorLabels { namespace, service, rule, mirror } = labels;
            let labels: [(&str, &dyn fmt::Display); 5] = [
                ("namespace", namespace),
                ("service", service),
                ("rule", rule),
                ("mirror", mirror),
                ("destination", destination),
            ];
            family.member(&labels, &handles.duration)?;
        }
        Ok(())
    }
}
