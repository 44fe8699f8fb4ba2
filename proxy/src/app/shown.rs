//! How the process stands, as JSON for `/status` and `/config_dump`.
//!
//! Comes in: the configuration in force, the pods, what keeps the source from hearing. Goes out: plain data. Never: more findings than
//! somebody reads.

use serde_json::{Value, json};

use crate::{
    control::{Applied, diagnostic::Severity},
    enrol::PodStatus,
};

/// Findings that `/status` repeats; the rest is in the log and in `/config_dump`.
const FINDINGS: usize = 20;

/// Every pod that should be enrolled, with its cookie or why it is not.
pub(super) fn enrolment(pods: &[PodStatus]) -> Value {
    let pod = |pod: &PodStatus| {
        let name = format!("{}/{}", pod.namespace, pod.name);
        match &pod.state {
            Ok(cookie) => json!({ "pod": name, "enrolled": true, "cookie": cookie.0 }),
            Err(reason) => json!({ "pod": name, "enrolled": false, "reason": reason }),
        }
    };
    pods.iter().map(pod).collect()
}

/// What `understudy status` shows. `problems`: why the source is not heard; `not_captured`: what the kernel did not take.
pub(super) fn status(
    node: Option<&str>,
    applied: &Applied,
    problems: &[String],
    not_captured: &[String],
    pods: &[PodStatus],
) -> Value {
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
