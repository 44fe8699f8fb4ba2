//! A shadow's life after the start: connect, send, drain the answer, end.

use std::{future::poll_fn, rc::Rc, sync::Arc};

use http::{HeaderValue, Request, request::Parts};
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
    route::ShadowSettings,
    upstream::{
        balance,
        connection::{Connection, Leash, Unanswered},
        pool::{Key, Protocol},
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
    let requested = worker.shared.log.is_on().then(|| Requested::of(&head));
    let request = rewrite(head, body, &mirror.settings);
    let logged = requested.map(|requested| (requested, host::of(&request)));
    let key = Key {
        pod: origin.pod.cookie,
        endpoint: endpoint.address,
        class: Class::Shadow(mirror.settings.dscp),
        protocol: Protocol::of(request.version()),
    };
    let mut answer = Answer::default();
    // However often a connection has to be made: a shadow's whole life is bounded.
    let life = worker.shared.dialer.timeout.saturating_add(mirror.settings.timeout);
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
    if let (Ended::Answered(_), Some((leash, connection)), true) = (ended, connection, failure.is_sent()) {
        leash.let_go();
        worker.shadows.give_back(&origin.pod, key, connection);
    }
    if let Some((requested, host)) = logged {
        worker.shared.log.shadow(|| ShadowLine {
            id: origin.id,
            rule: &origin.rule,
            mirror: mirror.index,
            destination: &mirror.destination.label,
            endpoint: Some(endpoint.address),
            request: requested.line(),
            host: host.as_deref().unwrap_or_default().as_bytes(),
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
    host::append(&mut head, &settings.host_suffix);
    settings.headers.apply(&mut head.headers);
    head.headers.insert(MARKER, HeaderValue::from_static("true"));
    Request::from_parts(head, body)
}

/// Sends the request and reads the answer to its end. A shadow is sent once; only what its connection has provably not taken to the endpoint (a
/// pooled one that turned out to be closed, a stream after a GOAWAY) is sent on another one.
async fn attempt(
    origin: &Origin,
    key: Key,
    mut request: Request<QueueBody>,
    settings: &ShadowSettings,
    answer: &mut Answer,
) -> (Ended, Option<(Leash, Connection<QueueBody>)>) {
    let worker = &origin.worker;
    loop {
        let mut connection = match worker.shadows.take(&origin.pod, key).await {
            Ok(connection) => connection,
            // The last descriptors are for primaries.
            Err(Fault { kind: Kind::Reserved, .. }) => return (Ended::Without(Outcome::ShedOverload), None),
            Err(_) => return (Ended::Without(Outcome::ConnectFailed), None),
        };
        let leash = connection.leash();
        let exchange = async {
            let response = connection.send(request, None).await?;
            let status = response.status().as_u16();
            let arrived = answer.discard(response.into_body(), worker.shared.settings.shadow_answer_bytes).await;
            Ok(if arrived { Ended::Answered(status) } else { Ended::Without(Outcome::Reset) })
        };
        let result: Result<Ended, Unanswered<QueueBody>> = match timeout(settings.timeout, exchange).await {
            Ok(result) => result,
            Err(_) => return (Ended::Without(Outcome::Timeout), None),
        };
        match result {
            Ok(ended) => return (ended, Some((leash, connection)).filter(|_| !answer.cut)),
            Err(Unanswered { unprocessed: Some(unsent), whole: true, .. }) => request = unsent,
            Err(_) => return (Ended::Without(Outcome::Reset), None),
        }
    }
}
