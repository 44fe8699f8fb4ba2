//! What is told of a primary when its answer has ended: how long it took, and its access log line, which its shadows' lines are tied to.
//! Without a log it allocates nothing.

use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

use http::request::Parts;

use crate::{
    capture::heartbeat::monotonic_ns,
    net::addr::{ClientAddr, EndpointAddr, OriginalDst},
    observe::{
        access_log::{PrimaryLine, Tie},
        identity::{Identity, TraceId},
        metrics::RuleMetrics,
    },
    route::{Rule, authority},
    worker::Connection,
};

/// One primary, from its head to the last byte of its answer.
pub struct Line {
    identity: Identity,
    /// Monotonic nanoseconds.
    began: u64,
    status: Option<u16>,
    rule: Option<Arc<RuleMetrics>>,
    text: Option<Box<Text>>,
}

/// What is only gathered if there is a log.
struct Text {
    tie: Tie,
    pod: String,
    client: ClientAddr,
    original: OriginalDst,
    authority: String,
    destination: Option<Arc<str>>,
    endpoint: Option<EndpointAddr>,
    received: Rc<Cell<u64>>,
    sent: u64,
}

impl Line {
    /// A request has come.
    #[must_use]
    pub fn begin(connection: &Connection, head: &Parts) -> Self {
        let worker = &connection.worker;
        let identity = Identity { request: worker.ids.next(), trace: TraceId::of(&head.headers) };
        let text = worker.shared.log.request(identity.request, head).map(|tie| {
            Box::new(Text {
                tie,
                pod: format!("{}/{}", connection.pod.namespace, connection.pod.name),
                client: connection.client,
                original: connection.original,
                authority: authority::of(head).ok().flatten().unwrap_or_default().to_owned(),
                destination: None,
                endpoint: None,
                received: Rc::default(),
                sent: 0,
            })
        });
        Self { identity, began: monotonic_ns(), status: None, rule: None, text }
    }

    /// When it came, monotonic nanoseconds.
    #[must_use]
    pub fn began(&self) -> u64 {
        self.began
    }

    /// What it is called, and its shadows with it.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// What its shadows' lines are tied to, if there is a log.
    #[must_use]
    pub fn tie(&self) -> Option<&Tie> {
        self.text.as_ref().map(|text| &text.tie)
    }

    /// It falls under this rule.
    pub fn ruled(&mut self, rule: &Rule) {
        self.rule = Some(Arc::clone(&rule.metrics));
        if let Some(text) = &self.text {
            text.tie.set_rule(&rule.name);
        }
    }

    /// A destination is chosen.
    pub fn destination(&mut self, label: &Arc<str>) {
        if let Some(text) = &mut self.text {
            text.destination = Some(Arc::clone(label));
        }
    }

    /// This endpoint answers.
    pub fn endpoint(&mut self, endpoint: EndpointAddr) {
        if let Some(text) = &mut self.text {
            text.endpoint = Some(endpoint);
        }
    }

    /// Where the bytes of the request's body are counted, if there is a log.
    #[must_use]
    pub fn received(&self) -> Option<Rc<Cell<u64>>> {
        self.text.as_ref().map(|text| Rc::clone(&text.received))
    }

    /// The status that the client gets.
    pub fn answered(&mut self, status: u16) {
        self.status = Some(status);
    }

    /// Body bytes on their way to the client.
    pub fn sent(&mut self, bytes: usize) {
        if let Some(text) = &mut self.text {
            text.sent += bytes as u64;
        }
    }
}

impl Drop for Line {
    /// The answer has ended, one way or the other.
    fn drop(&mut self) {
        if self.rule.is_none() && self.text.is_none() {
            return;
        }
        let now = monotonic_ns();
        let duration = Duration::from_nanos(now.saturating_sub(self.began));
        if let Some(rule) = &self.rule {
            rule.took(duration, now, self.identity);
        }
        if let Some(text) = &self.text {
            text.tie.primary(&PrimaryLine {
                id: text.tie.id(),
                pod: &text.pod,
                client: text.client,
                original: text.original,
                request: text.tie.request(),
                authority: text.authority.as_bytes(),
                rule: text.tie.rule(),
                destination: text.destination.as_deref(),
                endpoint: text.endpoint,
                status: self.status,
                received: text.received.get(),
                sent: text.sent,
                duration,
            });
        }
    }
}
