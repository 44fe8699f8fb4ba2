//! One `http[]` entry of a VirtualService, compiled.

use std::sync::Arc;

use http::request::Parts;

use super::{Action, Client, Destination, ShadowSettings, matching::RequestMatch};
use crate::observe::metrics::{MirrorMetrics, RuleMetrics};

/// A rule: what it matches, where the primary goes, what is mirrored.
#[derive(Debug)]
pub struct Rule {
    /// The rule's `name`, or `namespace/virtualservice[index]`.
    pub name: Arc<str>,
    /// Alternatives; empty = every request.
    pub matches: Vec<RequestMatch>,
    /// What becomes of its requests.
    pub action: Action,
    /// Mirrors with a sample above zero.
    pub mirrors: Vec<Arc<Mirror>>,
    /// Counters of the rule's primaries.
    pub metrics: Arc<RuleMetrics>,
}

impl Rule {
    /// The destination that a draw falls on, if requests go to one.
    #[cfg(test)]
    pub(crate) fn target(&self, draw: u64) -> &Destination {
        match &self.action {
            Action::Forward(forward) => &forward.targets.pick(draw).destination,
            Action::Answer(answer) => panic!("no destination: {answer:?}"),
        }
    }

    /// Whether a request falls under the rule: `Some` with the condition that it met, if the rule has conditions.
    #[must_use]
    pub fn matches(&self, head: &Parts, client: Client<'_>) -> Option<Option<&RequestMatch>> {
        if self.matches.is_empty() {
            return Some(None);
        }
        self.matches.iter().find(|condition| condition.matches(head, client)).map(Some)
    }
}

/// A mirror of a rule.
#[derive(Debug)]
pub struct Mirror {
    /// Its place among the mirrors that the rule names, from 0.
    pub index: u32,
    /// Where shadows go.
    pub destination: Destination,
    /// Sample in parts per million, 1 ..= 1,000,000.
    pub sample_ppm: u32,
    /// How its shadows behave.
    pub settings: ShadowSettings,
    /// Its counters and gauges; they live on through reloads.
    pub metrics: Arc<MirrorMetrics>,
}
