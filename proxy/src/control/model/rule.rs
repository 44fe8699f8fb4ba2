//! One entry of `spec.http`.

use std::{sync::Arc, time::Duration};

use http::StatusCode;

use super::{DestinationRef, MirrorRef};
use crate::route::{HeaderOps, action::Content, matching::RequestMatch, rewrite::PathRewrite};

/// A rule.
#[derive(Clone, Debug)]
pub struct HttpRule {
    /// Its own name, if it has one.
    pub name: Option<Box<str>>,
    /// Alternatives; empty = every request.
    pub matches: Vec<RuleMatch>,
    /// What becomes of its requests.
    pub action: RuleAction,
    /// `headers` of the rule.
    pub edits: Edits,
    /// Mirrors; those without a sample are kept so that the others keep their number.
    pub mirrors: Vec<MirrorRef>,
}

/// One entry of `match`.
#[derive(Clone, Debug, Default)]
pub struct RuleMatch {
    /// What a request is asked.
    pub request: RequestMatch,
    /// The port of the Service that it is for; `None` = every one.
    pub port: Option<u16>,
    /// Its `gateways` do not name `mesh`: it is not for pods.
    pub gateways_only: bool,
}

/// What becomes of a rule's requests.
#[derive(Clone, Debug)]
pub enum RuleAction {
    /// They go to a destination.
    Forward {
        /// Destinations with their weights and edits; a total weight above zero, or a single one.
        route: Vec<(u32, DestinationRef, Edits)>,
        /// `rewrite` of the path.
        path: Option<PathRewrite>,
        /// `rewrite.authority`.
        authority: Option<Box<str>>,
        /// `timeout`.
        timeout: Option<Duration>,
        /// `retries.attempts`.
        attempts: Option<u32>,
    },
    /// We answer them.
    Answer(OwnAnswer),
}

/// `redirect` or `directResponse`.
#[derive(Clone, Debug)]
pub struct OwnAnswer {
    /// Its status.
    pub status: StatusCode,
    /// What it says.
    pub content: Arc<Content>,
}

/// `headers` of a rule or a destination.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    /// The Host that requests get.
    pub authority: Option<Box<str>>,
    /// Operations on requests.
    pub request: HeaderOps,
    /// Operations on answers.
    pub response: HeaderOps,
}
