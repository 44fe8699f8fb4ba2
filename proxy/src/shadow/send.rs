//! A shadow's life after the start: connect, send, drain the answer, end.

use std::{future::poll_fn, mem, rc::Rc, sync::Arc};

use http::{HeaderValue, Request, request::Parts};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

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
    /// Cancelled when the pod drains.
    pub drain: CancellationToken,
    /// Where the client's connection wanted to go: its family is kept.
    pub original: OriginalDst,
}

/// Starts the shadow on this worker. Returns at once; nobody waits for it.
pub fn start(origin: Origin, planned: Planned, head: Parts) {
    tokio::task::spawn_local(perform(origin, planned, head));
}

pub(crate) async fn perform(origin: Origin, planned: Planned, mut head: Parts) {
    let Planned { mut ticket, endpoints, body, mut failure } = planned;
    let mirror = Arc::clone(ticket.mirror());
    let worker = Rc::clone(&origin.worker);
    let endpoints = balance::of_family(&endpoints, &origin.original);
    let Some(endpoint) = balance::least_request(endpoints, worker.random()) else {
        ticket.end(Ended::Without(Outcome::NoEndpoint));
        return;
    };
    let _in_flight = endpoint.begin();
    rewrite(&mut head, &mirror.settings);
    ticket.begin(endpoint.address, &head);
    let request = Request::from_parts(head, body);
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
    if let (Ended::Answered(_), Some((leash, connection)), true) = (ended, connection, failure.is_sent()) {
        leash.let_go();
        worker.shadows.give_back(origin.drain.is_cancelled(), key, connection);
    }
    ticket.transferred(failure.sent(), answer);
    ticket.end(ended);
}

/// The head that v2 sees: Host with suffix, the marker, what the policy does to its fields, and nothing else changed. Made once for each
/// shadow, whatever its method or body.
fn rewrite(head: &mut Parts, settings: &ShadowSettings) {
    host::append(head, &settings.host_suffix);
    settings.headers.apply(&mut head.headers);
    head.headers.insert(MARKER, HeaderValue::from_static("true"));
}

/// Sends the request and reads the answer to its end. A shadow is sent once; only what its connection has provably not taken to the endpoint (a
/// pooled one that turned out to be closed, a stream after a GOAWAY) is sent again, a stream once: who refuses two refuses more.
async fn attempt(
    origin: &Origin,
    key: Key,
    mut request: Request<QueueBody>,
    settings: &ShadowSettings,
    answer: &mut Answer,
) -> (Ended, Option<(Leash, Connection<QueueBody>)>) {
    let worker = &origin.worker;
    let mut again = false;
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
            Err(Unanswered { unprocessed: Some(unsent), whole: true, .. })
                if connection.is_reused() || !mem::replace(&mut again, true) =>
            {
                // Nothing of it is left there; others may be under way on it.
                leash.let_go();
                request = unsent;
            }
            Err(Unanswered { error, .. }) => {
                // A stream that the endpoint itself has reset leaves nothing there either.
                if error.is_remote() {
                    leash.let_go();
                }
                return (Ended::Without(Outcome::Reset), None);
            }
        }
    }
}
