//! A shadow's life after the start: connect, send, drain the answer, end.

use std::{
    future::poll_fn,
    mem,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::Poll,
};

use http::{HeaderValue, Request, request::Parts};
use tokio_util::sync::CancellationToken;

use super::{
    MARKER,
    answer::Answer,
    deadlines::Deadline,
    host,
    outcome::{Ended, Outcome},
    plan::Planned,
    queue::{Failure, QueueBody},
    wire::{
        connection::{Done, Exchange, Wire},
        head::Head,
    },
};
use crate::{
    enrol::EnrolledPod,
    fault::{Fault, Kind},
    net::{Class, addr::OriginalDst},
    observe::access_log::Requested,
    route::{Endpoint, ShadowSettings, endpoint::InFlight},
    upstream::{
        balance,
        connection::Unanswered,
        http2::{Leash, Stream},
        pool::{Key, Protocol},
    },
    worker::Worker,
};

/// Whose shadows they are: one for each captured connection.
#[derive(Debug)]
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

/// Starts a shadow on this worker, whose primary's head was written like this. Returns at once; nobody waits for it.
pub fn over_http1(origin: &Rc<Origin>, planned: Planned, primary: Rc<[u8]>) {
    tokio::task::spawn_local(perform_http1(Rc::clone(origin), planned, primary));
}

/// The same for a primary with this head.
pub fn over_http2(origin: &Rc<Origin>, planned: Planned, head: Parts) {
    tokio::task::spawn_local(perform_http2(Rc::clone(origin), planned, head));
}

pub(crate) async fn perform_http1(origin: Rc<Origin>, planned: Planned, primary: Rc<[u8]>) {
    let Planned { mut ticket, endpoints, body, mut failure } = planned;
    let mirror = Arc::clone(ticket.mirror());
    let Some(endpoint) = choose(&origin, &endpoints) else {
        ticket.end(Ended::Without(Outcome::NoEndpoint));
        return;
    };
    let Some(head) = Head::of_shadow(&primary, &mirror.settings) else {
        tracing::warn!(pod = %origin.pod.name, "what was written to v1 is no head: no shadow is made of it");
        ticket.end(Ended::Without(Outcome::NotMirrorable));
        return;
    };
    drop(primary);
    let _in_flight: InFlight = endpoint.begin();
    ticket.begin(endpoint.address, || head.said());
    let key = key(&origin, endpoint, &mirror.settings, Protocol::Http1);
    let mut exchange = Exchange::new(head, body, origin.worker.shared.settings.shadow_answer_bytes);
    let deadline = origin.worker.deadlines.of_one();
    let (ended, wire) = {
        let attempt = pin!(attempt_http1(&origin, key, &mirror.settings, &deadline, &mut exchange));
        match unless_it_must_end(&deadline, &mut failure, attempt).await {
            Ok(ended) => ended,
            Err(outcome) => (Ended::Without(outcome), None),
        }
    };
    if let Some(wire) = wire {
        origin.worker.shadows.give_back(origin.drain.is_cancelled(), key, wire);
    }
    ticket.transferred(failure.sent(), exchange.answer());
    ticket.end(ended);
}

/// A shadow is sent once; only what a pooled connection has provably not taken, because it turned out to be closed, is sent again.
async fn attempt_http1(
    origin: &Origin,
    key: Key,
    settings: &ShadowSettings,
    deadline: &Deadline,
    exchange: &mut Exchange,
) -> (Ended, Option<Wire>) {
    let worker = &origin.worker;
    loop {
        let mut wire = match worker.shadows.wire(&origin.pod, key).await {
            Ok(wire) => wire,
            Err(fault) => return (Ended::Without(unconnected(fault)), None),
        };
        deadline.begin(settings.timeout);
        match poll_fn(|cx| wire.poll(exchange, &mut worker.room.borrow_mut(), cx)).await {
            Done::Answered(status) => return (Ended::Answered(status), Some(wire)),
            Done::Broken => return (Ended::Without(Outcome::Reset), None),
            Done::Unsent => deadline.suspend(),
        }
    }
}

pub(crate) async fn perform_http2(origin: Rc<Origin>, planned: Planned, mut head: Parts) {
    let Planned { mut ticket, endpoints, body, mut failure } = planned;
    let mirror = Arc::clone(ticket.mirror());
    let Some(endpoint) = choose(&origin, &endpoints) else {
        ticket.end(Ended::Without(Outcome::NoEndpoint));
        return;
    };
    let _in_flight: InFlight = endpoint.begin();
    rewrite(&mut head, &mirror.settings);
    ticket.begin(endpoint.address, || Some((Requested::of(&head), host::of(&head).unwrap_or_default())));
    let key = key(&origin, endpoint, &mirror.settings, Protocol::Http2);
    let mut answer = Answer::default();
    let deadline = origin.worker.deadlines.of_one();
    let (ended, stream) = {
        let request = Request::from_parts(head, body);
        let attempt = pin!(attempt_http2(&origin, key, request, &mirror.settings, &deadline, &mut answer));
        match unless_it_must_end(&deadline, &mut failure, attempt).await {
            Ok(ended) => ended,
            Err(outcome) => (Ended::Without(outcome), None),
        }
    };
    if let (Ended::Answered(_), Some((leash, stream)), true) = (ended, stream, failure.is_sent()) {
        leash.let_go();
        stream.finish();
    }
    ticket.transferred(failure.sent(), answer);
    ticket.end(ended);
}

/// Sends the request and reads the answer to its end. A shadow is sent once; only what an endpoint says that it has not processed (a stream after a
/// GOAWAY) is sent again, once: who refuses two refuses more.
async fn attempt_http2(
    origin: &Origin,
    key: Key,
    mut request: Request<QueueBody>,
    settings: &ShadowSettings,
    deadline: &Deadline,
    answer: &mut Answer,
) -> (Ended, Option<(Leash, Stream<super::chunk::Chunk>)>) {
    let worker = &origin.worker;
    let mut again = false;
    loop {
        let mut stream = match worker.shadows.stream(&origin.pod, key).await {
            Ok(stream) => stream,
            Err(fault) => return (Ended::Without(unconnected(fault)), None),
        };
        let leash = stream.leash();
        deadline.begin(settings.timeout);
        let exchange = async {
            let response = stream.send(request, None).await?;
            let status = response.status().as_u16();
            let arrived = answer.discard(response.into_body(), worker.shared.settings.shadow_answer_bytes).await;
            Ok(if arrived { Ended::Answered(status) } else { Ended::Without(Outcome::Reset) })
        };
        let result: Result<Ended, Unanswered<QueueBody>> = exchange.await;
        match result {
            Ok(ended) => return (ended, Some((leash, stream)).filter(|_| !answer.cut)),
            Err(Unanswered { unprocessed: Some(unsent), whole: true, .. }) if !mem::replace(&mut again, true) => {
                // Nothing of it is left there; others may be under way on it.
                leash.let_go();
                deadline.suspend();
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

/// Does the work, unless the request can no longer be completed, or there is no more time for it: then the outcome. What is done when time is over
/// is done: a worker that comes late finds the answer waiting.
async fn unless_it_must_end<T>(
    deadline: &Deadline,
    failure: &mut Failure,
    mut work: Pin<&mut impl Future<Output = T>>,
) -> Result<T, Outcome> {
    poll_fn(|cx| {
        if let Poll::Ready(outcome) = failure.poll(cx) {
            return Poll::Ready(Err(outcome));
        }
        match deadline.poll(cx) {
            Poll::Pending => work.as_mut().poll(cx).map(Ok),
            Poll::Ready(Outcome::Timeout) => match work.as_mut().poll(cx) {
                Poll::Ready(done) => Poll::Ready(Ok(done)),
                Poll::Pending => Poll::Ready(Err(Outcome::Timeout)),
            },
            Poll::Ready(outcome) => Poll::Ready(Err(outcome)),
        }
    })
    .await
}

fn choose<'a>(origin: &Origin, endpoints: &'a [Arc<Endpoint>]) -> Option<&'a Arc<Endpoint>> {
    balance::least_request(balance::of_family(endpoints, &origin.original), origin.worker.random())
}

fn key(origin: &Origin, endpoint: &Endpoint, settings: &ShadowSettings, protocol: Protocol) -> Key {
    Key { pod: origin.pod.cookie, endpoint: endpoint.address, class: Class::Shadow(settings.dscp), protocol }
}

fn unconnected(fault: Fault) -> Outcome {
    match fault.kind {
        // The last descriptors are for primaries.
        Kind::Reserved => Outcome::ShedOverload,
        _ => Outcome::ConnectFailed,
    }
}

/// The head that v2 sees: Host with suffix, the marker, what the policy does to its fields, and nothing else changed. Made once for each
/// shadow, whatever its method or body.
fn rewrite(head: &mut Parts, settings: &ShadowSettings) {
    host::append(head, &settings.host_suffix);
    settings.headers.apply(&mut head.headers);
    head.headers.insert(MARKER, HeaderValue::from_static("true"));
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        task::Context,
    };

    use http_body::SizeHint;
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;
    use crate::shadow::{
        budget::Budget,
        deadlines::{Deadlines, LOOK},
        queue,
    };

    /// Fails if an answer that is there is thrown away because its worker comes late, or if a shadow without one goes on, or one goes on in a drain.
    #[tokio::test]
    async fn what_is_done_when_time_is_over_is_done() {
        let deadlines = Rc::<Deadlines>::default();
        let (_sink, _body, mut failure) =
            queue::channel(0, &Budget::new(0, Gauge::default()), &SizeHint::with_exact(0));
        let late = deadlines.of_one();
        late.begin(LOOK);
        (0..3).for_each(|_| deadlines.look());
        assert_eq!(unless_it_must_end(&late, &mut failure, pin!(ready(1))).await, Ok(1));
        assert_eq!(unless_it_must_end(&late, &mut failure, pin!(pending::<u8>())).await, Err(Outcome::Timeout));
        late.suspend();
        assert!(
            pin!(unless_it_must_end(&late, &mut failure, pin!(pending::<u8>())))
                .poll(&mut Context::from_waker(std::task::Waker::noop()))
                .is_pending()
        );
        deadlines.end();
        assert_eq!(unless_it_must_end(&late, &mut failure, pin!(ready(1))).await, Err(Outcome::Draining));
    }
}
