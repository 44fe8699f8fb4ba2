//! How the process stands, as JSON for `/status` and `/config_dump`.
//!
//! Comes in: the configuration in force, the pods, what keeps the source from hearing. Goes out: plain data. Never: more findings than
//! somebody reads.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    control::{Applied, diagnostic::Severity, dump::Dump},
    enrol::PodStatus,
};

/// Findings that `/status` repeats; the rest is in the log and in `/config_dump`.
const FINDINGS: usize = 20;

/// How things stand after a reload or a look at the pods. A large configuration is large as JSON too, so it is made only for who asks.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    /// Of a cluster.
    pub(super) node: Option<Arc<str>>,
    /// In force.
    pub(super) applied: Arc<Applied>,
    /// What keeps the source from hearing.
    pub(super) problems: Vec<String>,
    /// What of the rules the kernel did not take.
    pub(super) not_captured: Vec<String>,
    /// Every pod that should be enrolled.
    pub(super) pods: Arc<Vec<PodStatus>>,
}

impl Standing {
    /// Before anything was put in force.
    pub(super) fn at_first(node: Option<&Arc<str>>, applied: &Arc<Applied>) -> Self {
        let (problems, not_captured) = (Vec::new(), Vec::new());
        Self { node: node.cloned(), applied: Arc::clone(applied), problems, not_captured, pods: Arc::default() }
    }

    /// `/config_dump`: the configuration, and every pod with its cookie or why it has none.
    pub(super) fn dump(&self) -> Value {
        let pod = |pod: &PodStatus| {
            let name = format!("{}/{}", pod.namespace, pod.name);
            match &pod.state {
                Ok(cookie) => json!({ "pod": name, "enrolled": true, "cookie": cookie.0 }),
                Err(reason) => json!({ "pod": name, "enrolled": false, "reason": reason }),
            }
        };
        let pods: Value = self.pods.iter().map(pod).collect();
        json!({ "configuration": Dump::of(&self.applied), "enrolment": pods })
    }

    /// `/status`: what `understudy status` shows.
    pub(super) fn status(&self) -> Value {
        let Self { node, applied, problems, not_captured, pods } = self;
        let missing = pods.iter().filter_map(|pod| Some((pod, pod.state.as_ref().err()?)));
        let missing: Vec<_> = missing
            .map(|(pod, reason)| json!({ "pod": format!("{}/{}", pod.namespace, pod.name), "reason": reason }))
            .collect();
        let count = |severity| applied.diagnostics.iter().filter(|finding| finding.severity == severity).count();
        let worth = applied.diagnostics.iter().filter(|finding| finding.severity != Severity::Note);
        json!({
            "node": node,
            "generation": applied.table.generation,
            "reload": applied.verdict.as_str(),
            "source": { "connected": problems.is_empty(), "problems": problems },
            "enrolment": { "desired": pods.len(), "actual": pods.len() - missing.len(), "missing": missing },
            "destinations": applied.capture.ports.len(),
            "not_captured": not_captured,
            "errors": count(Severity::Error),
            "warnings": count(Severity::Warning),
            "findings": worth.take(FINDINGS).map(ToString::to_string).collect::<Vec<_>>(),
        })
    }
}
