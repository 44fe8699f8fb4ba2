//! A primary's access log line while it is written, and what its shadows need of it. Costs nothing but an id if there is no log.

use std::{cell::Cell, rc::Rc, sync::Arc};

use http::request::Parts;
use tokio::time::Instant;

use crate::{
    net::addr::{ClientAddr, EndpointAddr, OriginalDst},
    observe::access_log::{AccessLog, PrimaryLine, RequestId, Requested},
    route::authority,
    shadow::send::Origin,
    worker::Connection,
};

/// One primary, from its head to the last byte of its answer.
pub struct Line {
    id: RequestId,
    /// Shared with the shadows: theirs may end later.
    status: Rc<Cell<Option<u16>>>,
    rule: Option<Arc<str>>,
    text: Option<Box<Text>>,
}

/// What is only gathered if there is a log.
struct Text {
    log: AccessLog,
    started: Instant,
    pod: String,
    client: ClientAddr,
    original: OriginalDst,
    request: Requested,
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
        let log = &worker.shared.log;
        let text = log.is_on().then(|| {
            Box::new(Text {
                log: log.clone(),
                started: Instant::now(),
                pod: format!("{}/{}", connection.pod.namespace, connection.pod.name),
                client: connection.client,
                original: connection.original,
                request: Requested::of(head),
                authority: authority::of(head).ok().flatten().unwrap_or_default().to_owned(),
                destination: None,
                endpoint: None,
                received: Rc::default(),
                sent: 0,
            })
        });
        Self { id: worker.ids.next(), status: Rc::default(), rule: None, text }
    }

    /// The rule is found and a destination chosen.
    pub fn routed(&mut self, rule: &Arc<str>, destination: &Arc<str>) {
        self.rule = Some(Arc::clone(rule));
        if let Some(text) = &mut self.text {
            text.destination = Some(Arc::clone(destination));
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
        self.status.set(Some(status));
    }

    /// Body bytes on their way to the client.
    pub fn sent(&mut self, bytes: usize) {
        if let Some(text) = &mut self.text {
            text.sent += bytes as u64;
        }
    }

    /// What the request's shadows carry along.
    #[must_use]
    pub fn origin(&self, connection: &Connection) -> Origin {
        Origin {
            worker: Rc::clone(&connection.worker),
            pod: Arc::clone(&connection.pod),
            original: connection.original,
            id: self.id,
            rule: self.rule.clone().unwrap_or_default(),
            primary_status: Rc::clone(&self.status),
        }
    }
}

impl Drop for Line {
    /// The answer has ended, one way or the other.
    fn drop(&mut self) {
        let Some(text) = &self.text else { return };
        text.log.primary(|| PrimaryLine {
            id: self.id,
            pod: &text.pod,
            client: text.client,
            original: text.original,
            request: text.request.line(),
            authority: text.authority.as_bytes(),
            rule: self.rule.as_deref(),
            destination: text.destination.as_deref(),
            endpoint: text.endpoint,
            status: self.status.get(),
            received: text.received.get(),
            sent: text.sent,
            duration: text.started.elapsed(),
        });
    }
}
