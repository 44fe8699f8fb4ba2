//! One ticket per candidate: it is counted exactly once and told of in the access log once, whatever happens to the task that holds it. While its
//! shadow is under way it holds a place under the mirror's limit.

use std::{mem, sync::Arc, time::Duration};

use prometheus_client::metrics::gauge::Gauge;

use super::{
    answer::Answer,
    outcome::{Ended, Outcome},
    plan::Limits,
};
use crate::{
    capture::heartbeat::monotonic_ns,
    net::addr::EndpointAddr,
    observe::{
        access_log::{Requested, ShadowLine, Tie},
        identity::Identity,
    },
    route::Mirror,
    under_way::Part,
};

/// A candidate that has not ended.
#[derive(Debug)]
pub struct Ticket {
    mirror: Arc<Mirror>,
    identity: Identity,
    place: Option<Place>,
    /// When its shadow began, monotonic nanoseconds.
    began: Option<u64>,
    ended: Option<Ended>,
    draft: Option<Box<Draft>>,
}

/// A place among the shadows that are under way.
#[derive(Debug)]
struct Place {
    /// Counts the node's.
    active: Gauge,
    /// A drain waits for it, and for what is said at its end.
    _under_way: Part,
}

/// Its line in the access log, if there is one.
#[derive(Debug)]
struct Draft {
    tie: Tie,
    sent: Option<Sent>,
    bytes: u64,
    answer: Answer,
}

#[derive(Debug)]
struct Sent {
    endpoint: EndpointAddr,
    request: Requested,
    host: String,
}

impl Ticket {
    /// Counts a request as a candidate of the mirror.
    #[must_use]
    pub fn issue(mirror: &Arc<Mirror>, identity: Identity, tie: Option<&Tie>) -> Self {
        mirror.metrics.candidate();
        let draft = |tie: &Tie| Box::new(Draft { tie: tie.clone(), sent: None, bytes: 0, answer: Answer::default() });
        Self { mirror: Arc::clone(mirror), identity, place: None, began: None, ended: None, draft: tie.map(draft) }
    }

    /// Takes a place under the mirror's concurrency limit, if one is free.
    #[must_use]
    pub fn take_place(&mut self, limits: &Limits) -> bool {
        if !self.mirror.metrics.active().take(1, self.mirror.settings.max_concurrent as usize) {
            return false;
        }
        let Limits { active, under_way, .. } = limits;
        active.inc();
        self.place = Some(Place { active: active.clone(), _under_way: under_way.begin() });
        true
    }

    /// The mirror.
    #[must_use]
    pub fn mirror(&self) -> &Arc<Mirror> {
        &self.mirror
    }

    /// Its shadow begins. What it asks for and of whom is `said` if somebody writes it down.
    pub fn begin(&mut self, endpoint: EndpointAddr, said: impl FnOnce() -> Option<(Requested, String)>) {
        self.began = Some(monotonic_ns());
        if let Some(draft) = &mut self.draft {
            draft.sent = said().map(|(request, host)| Sent { endpoint, request, host });
        }
    }

    /// So many bytes of the request's body were sent, and this is what was read of the answer.
    pub(super) fn transferred(&mut self, bytes: u64, answer: Answer) {
        if answer.cut {
            self.mirror.metrics.answer_cut();
        }
        if let Some(draft) = &mut self.draft {
            (draft.bytes, draft.answer) = (bytes, answer);
        }
    }

    /// It has ended like this.
    pub fn end(mut self, ended: Ended) {
        self.ended = Some(ended);
    }
}

impl Draft {
    fn log(&self, mirror: &Mirror, ended: Ended, duration: Duration) {
        let Self { tie, sent, bytes, answer } = self;
        tie.shadow(&ShadowLine {
            id: tie.id(),
            rule: tie.rule(),
            mirror: mirror.index,
            destination: &mirror.destination.label,
            endpoint: sent.as_ref().map(|sent| sent.endpoint),
            request: sent.as_ref().map_or_else(|| tie.request(), |sent| sent.request.line()),
            host: sent.as_ref().map(|sent| sent.host.as_bytes()),
            ended,
            sent: *bytes,
            received: answer.bytes,
            cut: answer.cut,
            duration,
        });
    }
}

impl Drop for Ticket {
    /// A task that is dropped without a word (its worker stops, it panics) counts as `draining`. The line is there, or waits for its
    /// primary's, before the count is.
    fn drop(&mut self) {
        let ended = self.ended.unwrap_or(Ended::Without(Outcome::Draining));
        let mut duration = Duration::ZERO;
        if let Some(began) = self.began {
            let now = monotonic_ns();
            duration = Duration::from_nanos(now.saturating_sub(began));
            self.mirror.metrics.took(duration, now, self.identity);
        }
        if let Some(draft) = mem::take(&mut self.draft) {
            draft.log(&self.mirror, ended, duration);
        }
        if let Some(Place { active, .. }) = &self.place {
            self.mirror.metrics.active().give(1);
            active.dec();
        }
        self.mirror.metrics.ended(ended);
    }
}
