//! What becomes of each mirror of the rule that a request fell under: counted as ended at once, or a shadow that waits for the primary's head
//! to be on its way.

use std::sync::Arc;

use http::request::Parts;
use http_body::SizeHint;
use prometheus_client::metrics::gauge::Gauge;

use super::{
    budget::Budget,
    key::{self, Chances},
    outcome::{Ended, Outcome},
    queue::{self, Failure, QueueBody, Sink},
    ticket::Ticket,
};
use crate::{
    observe::{access_log::Tie, identity::Identity},
    route::{Endpoint, Mirror, Unroutable},
    under_way::UnderWay,
};

/// What the decision needs to know of a request.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// It carries the marker of a shadow.
    pub is_shadow: bool,
    /// CONNECT, an upgrade, or a request that its rule has us answer.
    pub not_mirrorable: bool,
    /// The worker is short of CPU.
    pub is_overload: bool,
    /// Its head, as the client sent it: its method and what it is sampled by.
    pub head: &'a Parts,
    /// What chance says of it; the same for all mirrors.
    pub chances: Chances,
    /// What it is called.
    pub identity: Identity,
    /// What is written of it, if there is an access log.
    pub tie: Option<&'a Tie>,
}

/// A shadow that may start.
#[derive(Debug)]
pub struct Planned {
    /// Its place and its count.
    pub ticket: Ticket,
    /// The endpoints to choose from; not empty.
    pub endpoints: Arc<[Arc<Endpoint>]>,
    /// The body of its request.
    pub body: QueueBody,
    /// Tells when its request cannot be completed any more.
    pub failure: Failure,
}

/// The shadows of one request until the primary's head is written. Dropped before that, they end as `cancelled`.
#[derive(Debug, Default)]
pub struct Shadows(Vec<Planned>);

/// What shadows share on this node.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Unsent bytes of all shadows.
    pub budget: Budget,
    /// Shadows under way.
    pub active: Gauge,
    /// What a drain waits for.
    pub under_way: UnderWay,
}

/// Why the mirror does not take the request, in the order in which an operator would ask.
fn refuse(mirror: &Mirror, candidate: Candidate<'_>) -> Result<Arc<[Arc<Endpoint>]>, Outcome> {
    if candidate.is_shadow {
        return Err(Outcome::Loop);
    }
    if candidate.not_mirrorable {
        return Err(Outcome::NotMirrorable);
    }
    if !mirror.settings.methods.include(&candidate.head.method) {
        return Err(Outcome::MethodExcluded);
    }
    if !key::draw(&mirror.settings.sampling, candidate.head, &candidate.chances).takes(mirror.sample_ppm) {
        return Err(Outcome::SampledOut);
    }
    match &mirror.destination.endpoints {
        Ok(endpoints) if endpoints.is_empty() => Err(Outcome::NoEndpoint),
        Ok(_) if candidate.is_overload => Err(Outcome::ShedOverload),
        Ok(endpoints) => Ok(Arc::clone(endpoints)),
        Err(Unroutable::UnknownService | Unroutable::UnknownSubset) => Err(Outcome::UnknownDestination),
    }
}

/// Counts a candidate for each mirror and returns the shadows that may start, with the ends that the primary's body feeds.
#[must_use]
pub fn plan(
    mirrors: &[Arc<Mirror>],
    candidate: Candidate<'_>,
    body: &SizeHint,
    limits: &Limits,
) -> (Shadows, Vec<Sink>) {
    let mut shadows = Vec::new();
    let mut sinks = Vec::new();
    for mirror in mirrors {
        let mut ticket = Ticket::issue(mirror, candidate.identity, candidate.tie);
        let endpoints = match refuse(mirror, candidate) {
            Ok(_) if !ticket.take_place(limits) => Err(Outcome::ShedConcurrency),
            decided => decided,
        };
        match endpoints {
            Ok(endpoints) => {
                let (sink, queue, failure) = queue::channel(mirror.settings.buffer_bytes, &limits.budget, body);
                sinks.push(sink);
                shadows.push(Planned { ticket, endpoints, body: queue, failure });
            }
            Err(outcome) => ticket.end(Ended::Without(outcome)),
        }
    }
    (Shadows(shadows), sinks)
}

impl Shadows {
    /// The primary's head is on its way: every shadow starts. `start` hears whether it is the last.
    pub fn launch(mut self, mut start: impl FnMut(Planned, bool)) {
        let count = self.0.len();
        for (index, planned) in self.0.drain(..).enumerate() {
            start(planned, index + 1 == count);
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// We answer the request ourselves: there is nothing to mirror.
    pub fn not_mirrorable(&mut self) {
        self.end_all(Outcome::NotMirrorable);
    }

    fn end_all(&mut self, outcome: Outcome) {
        for planned in self.0.drain(..) {
            planned.ticket.end(Ended::Without(outcome));
        }
    }
}

impl Drop for Shadows {
    fn drop(&mut self) {
        self.end_all(Outcome::Cancelled);
    }
}

#[cfg(test)]
mod tests;
