//! One `http[]` entry of a VirtualService, compiled.

use std::sync::Arc;

use super::{Destination, ShadowSettings, matching::RequestMatch, weight::Weighted};
use crate::observe::metrics::{MirrorMetrics, RuleMetrics};

/// A rule: what it matches, where the primary goes, what is mirrored.
#[derive(Debug)]
pub struct Rule {
    /// The rule's `name`, or `namespace/virtualservice[index]`.
    pub name: Arc<str>,
    /// Alternatives; empty = every request.
    pub matches: Vec<RequestMatch>,
    /// Weighted destinations, never empty.
    pub route: Weighted<Destination>,
    /// Mirrors with a sample above zero.
    pub mirrors: Vec<Arc<Mirror>>,
    /// Counters of the rule's primaries.
    pub metrics: Arc<RuleMetrics>,
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
