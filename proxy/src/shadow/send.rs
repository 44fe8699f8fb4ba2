//! A shadow's life after the start: connect, send, drain the answer, end.

use std::{future::poll_fn, rc::Rc, sync::Arc};

use http::{HeaderValue, Request, Uri, Version, header::HOST, request::Parts};
use hyper::client::conn::TrySendError;
use tokio::time::timeout;

use super::{
    MARKER,
    answer::Answer,
    host,
    outcome::{Ended, Outcome},
    plan::Planned,
    queue::QueueBody,
};
use crate::{
    enrol::EnrolledPod,
    fault::{Fault, Kind},
    net::{Class, addr::OriginalDst},
    observe::access_log::{RequestId, Requested, ShadowLine},
    route::{ShadowSettings, authority},
    upstream::{
        balance, connect,
        pool::{Key, Ready},
    },
    worker::Worker,
};

/// Whose shadow it is.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The worker that serves the primary serves the shadow.
    pub worker: Rc<Worker>,
    /// The pod whose request it is.
    pub pod: Arc<EnrolledPod>,
    /// Where the client's connection wanted to go: its family is kept.
    pub original: OriginalDst,
    /// The primary's id in the access log.
    pub id: RequestId,
    /// The rule's name.
    pub rule: Arc<str>,
    /// The primary's status once it is known.
    pub primary_status: Rc<std::cell::Cell<Option<u16>>>,
}

/// Starts the shadow on this worker. Returns at once; nobody waits for it.
pub fn start(origin: Origin, planned: Planned, head: Parts) {
    tokio::task::spawn_local(perform(origin, planned, head));
}

async fn perform(origin: Origin, planned: Planned, head: Parts) {
    let Planned { ticket, endpoints, body, mut failure } = planned;
    let mirror = Arc::clone(ticket.mirror());
    let started = tokio::time::Instant::now();
    let worker = Rc::clone(&origin.worker);
    let endpoints = balance::of_family(&endpoints, &origin.original);
    let Some(endpoint) = balance::least_request(endpoints, worker.random()) else {
        ticket.end(Ended::Without(Outcome::NoEndpoint));
        return;
    };
    let _in_flight = endpoint.begin();
    let class = Class::Shadow(mirror.settings.dscp);
    let key = Key { pod: origin.pod.cookie, endpoint: endpoint.address, class };
    let requested = worker.shared.log.is_on().then(|| Requested::of(&head));
    let request = rewrite(head, body, &mirror.settings);
    let logged = requested.map(|requested| (requested, request.headers().get(HOST).cloned()));
    let mut answer = Answer::default();
    // However often a connection has to be made: a shadow's whole life is bounded.
    let life = worker.shared.settings.connect_timeout.saturating_add(mirror.settings.timeout);
    let (ended, connection) = tokio::select! {
        biased;
        outcome = poll_fn(|cx| failure.poll(cx)) => (Ended::Without(outcome), None),
        () = worker.shared.shadows_end.cancelled() => (Ended::Without(Outcome::Draining), None),
        ended = timeout(life, attempt(&origin, key, request, &mirror.settings, &mut answer)) => {
            ended.unwrap_or((Ended::Without(Outcome::Timeout), None))
        }
    };
    let sent = failure.sent();
    if answer.cut {
        mirror.metrics.answer_cut();
    }
    if let (Ended::Answered(_), Some(held), true) = (ended, connection, failure.is_sent())
        && let Some(Ready { sender, watch, .. }) = held.release()
        && !origin.pod.drain.is_cancelled()
    {
        worker.shadows.put(key, sender, watch);
    }
    if let Some((requested, host)) = logged {
        worker.shared.log.shadow(|| ShadowLine {
            id: origin.id,
            rule: &origin.rule,
            mirror: mirror.index,
            destination: &mirror.destination.label,
            endpoint: Some(endpoint.address),
            request: requested.line(),
            host: host.as_ref().map_or(b"", HeaderValue::as_bytes),
            ended,
            sent,
            received: answer.bytes,
            cut: answer.cut,
            duration: started.elapsed(),
            primary_status: origin.primary_status.get(),
        });
    }
    ticket.end(ended);
}

/// The head that v2 sees: Host with suffix, the marker, what the policy does to its fields, and nothing else changed. Made once for each
/// shadow, whatever its method or body.
fn rewrite(mut head: Parts, body: QueueBody, settings: &ShadowSettings) -> Request<QueueBody> {
    let shadow_host = match authority::of(&head) {
        Ok(Some(authority)) => HeaderValue::from_str(&host::with_suffix(authority, &settings.host_suffix)).ok(),
        _ => None,
    };
    if let Some(host) = shadow_host {
        // `insert` keeps the field's place.
        head.headers.insert(HOST, host);
    }
    if head.uri.authority().is_some() {
        // An absolute target would contradict the new Host.
        head.uri = head.uri.path_and_query().map_or_else(|| Uri::from_static("/"), |path| Uri::from(path.clone()));
    }
    settings.headers.apply(&mut head.headers);
    head.headers.insert(MARKER, HeaderValue::from_static("true"));
    head.version = Version::HTTP_11;
    Request::from_parts(head, body)
}

/// Sends the request and reads the answer to its end. A shadow is sent once; only a pooled connection that turned out to be closed before
/// anything was written is replaced by a new one.
async fn attempt(
    origin: &Origin,
    key: Key,
    mut request: Request<QueueBody>,
    settings: &ShadowSettings,
    answer: &mut Answer,
) -> (Ended, Option<Held>) {
    let worker = &origin.worker;
    loop {
        let mut ready = match worker.shadows.take(key).await {
            Some(ready) => ready,
            None => match fresh(origin, key).await {
                Ok(ready) => ready,
                Err(outcome) => return (Ended::Without(outcome), None),
            },
        };
        let reused = ready.reused;
        let sent = ready.sender.try_send_request(request);
        let connection = Held(Some(ready));
        let exchange = async {
            let response = sent.await?;
            let status = response.status().as_u16();
            let arrived = answer.discard(response.into_body(), worker.shared.settings.shadow_answer_bytes).await;
            Ok(if arrived { Ended::Answered(status) } else { Ended::Without(Outcome::Reset) })
        };
        let result: Result<Ended, TrySendError<Request<QueueBody>>> = match timeout(settings.timeout, exchange).await {
            Ok(result) => result,
            Err(_) => return (Ended::Without(Outcome::Timeout), None),
        };
        match result {
            Ok(ended) => return (ended, Some(connection).filter(|_| !answer.cut)),
            Err(mut error) => match error.take_message() {
                Some(unsent) if reused => request = unsent,
                _ => return (Ended::Without(Outcome::Reset), None),
            },
        }
    }
}

async fn fresh(origin: &Origin, key: Key) -> Result<Ready<QueueBody>, Outcome> {
    let failed = |fault: Fault| match fault.kind {
        Kind::Reserved => Outcome::ShedOverload,
        _ => Outcome::ConnectFailed,
    };
    let stream = connect::open(&origin.worker, &origin.pod, key.endpoint, key.class).await.map_err(failed)?;
    connect::handshake(stream, key.class, false).await.map_err(failed)
}

/// A connection that carries a shadow. Dropped, it is given up with whatever it still holds.
struct Held(Option<Ready<QueueBody>>);

impl Held {
    /// The exchange is over on both sides: it may carry another, or end in peace.
    fn release(mut self) -> Option<Ready<QueueBody>> {
        self.0.take()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(ready) = &self.0 {
            ready.watch.give_up();
        }
    }
}
