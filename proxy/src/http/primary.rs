//! Sends a primary to one of its endpoints, with the further tries that cannot do harm.
//!
//! - No connection: another endpoint (or the same, if it is the only one), any method. A pooled one that was closed already: a fresh one, at once.
//! - A pooled connection broke before the answer: again, only if the method is idempotent and the request has no body (RFC 9110, 9.2.2).
//! - Over HTTP/2, the endpoint says that it has not processed the request: again, if what went out of its body is kept (`replay`).
//! - A gRPC call whose answer is nothing but the status `unavailable` or `cancelled`: again, if all of it is kept. That is what Istio does by default.
//! - Everything else is tried once: 503.

use std::{collections::VecDeque, pin::pin, rc::Rc, sync::Arc};

use h2::Reason;
use http::{Extensions, HeaderMap, Method, Request, Response, Uri, Version};
use http_body::Body as _;

use super::{
    answer::Lease,
    headers,
    replay::Replay,
    request_body::{BodyProgress, Progress, RequestBody},
    reread,
    tries::Tries,
};
use crate::{
    codec::{Incoming, ResetCode as _, caller::Caller},
    fault::{Fault, Kind},
    net::Class,
    route::Endpoint,
    shadow::departure::Departure,
    upstream::{
        balance,
        connection::{self, Unanswered},
        pool::{Key, Protocol},
        watched::Witness,
    },
    worker::Connection,
};

/// A request on its way.
pub struct Primary<'a> {
    /// The client's connection.
    pub connection: &'a Rc<Connection>,
    /// Where it may go; not empty.
    pub endpoints: &'a [Arc<Endpoint>],
    /// Tries after the first one.
    pub further_tries: u32,
    /// Tells how far its body has come.
    pub body: BodyProgress,
    /// What has passed of it, if that is kept.
    pub replay: Option<Replay>,
    /// CONNECT or an upgrade: a connection of its own.
    pub tunnel: bool,
    /// The client's stream, if it speaks HTTP/2.
    pub caller: Option<Rc<Caller>>,
}

/// A request without an answer.
pub struct Unsent {
    /// Why.
    pub fault: Fault,
    /// Its body, if no connection has taken it.
    pub body: Option<RequestBody>,
}

impl From<Fault> for Unsent {
    fn from(fault: Fault) -> Self {
        Self { fault, body: None }
    }
}

/// A request's head, to make it anew.
struct Copy {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
    extensions: Extensions,
}

impl Primary<'_> {
    /// Sends `request` and waits for the head of the answer. The shadows leave as soon as its head has been written.
    ///
    /// # Errors
    /// The last try's fault.
    pub async fn send(
        self,
        mut request: Request<RequestBody>,
        shadows: Option<&Rc<Departure>>,
    ) -> Result<(Response<Incoming>, Lease), Unsent> {
        let worker = &self.connection.worker;
        let none = Fault::route(Kind::NoEndpoint);
        let endpoints = balance::of_family(self.endpoints, &self.connection.original);
        let mut endpoint = balance::least_request(endpoints, worker.random()).ok_or(none)?;
        let mut tries = Tries::new(endpoints, self.further_tries);
        let protocol = Protocol::of(request.version());
        let is_call = self.replay.is_some() && headers::is_grpc(request.headers());
        loop {
            let key =
                Key { pod: self.connection.pod.cookie, endpoint: endpoint.address, class: Class::Primary, protocol };
            let in_flight = endpoint.begin();
            let mut connection = match self.connect(key).await {
                Ok(connection) => connection,
                Err(fault) => {
                    drop(in_flight);
                    // Whoever refuses now may listen in a moment; what took its time would take it again.
                    let Some(next) = Box::pin(tries.next(worker, endpoint, fault.kind == Kind::ConnectFailed)).await
                    else {
                        return Err(Unsent { fault, body: Some(request.into_body()) });
                    };
                    endpoint = next;
                    continue;
                }
            };
            let again = connection.is_reused() && request.method().is_idempotent() && request.body().is_end_stream();
            let copy = is_call.then(|| Copy::of(&request));
            let watch = connection.watch().clone();
            let result = match protocol {
                Protocol::Http1 => {
                    watch.relay(self.connection.interim.relay());
                    watch.attend(shadows.map(|shadows| Rc::clone(shadows) as Rc<dyn Witness>), again);
                    connection.send(request, None).await
                }
                Protocol::Http2 => {
                    let before = watch.writes();
                    let mut answer = pin!(connection.send(request, self.caller.clone()));
                    let early = tokio::select! {
                        biased;
                        () = watch.written(before) => None,
                        answer = &mut answer => Some(answer),
                    };
                    if let Some(shadows) = shadows.filter(|_| early.as_ref().is_none_or(Result::is_ok)) {
                        shadows.has_left();
                    }
                    match early {
                        Some(result) => result,
                        None => answer.await,
                    }
                }
            };
            match result {
                Ok(response) => {
                    if is_call
                        && tries.are_left()
                        && headers::is_worth_another_call(response.headers())
                        && self.body.get() == Progress::Sent
                        && let (Some(copy), Some(pieces)) = (copy, self.replay.as_ref().and_then(Replay::pieces))
                    {
                        tracing::debug!(endpoint = %key.endpoint, "a status that is worth another call");
                        if response.body().is_end_stream() {
                            worker.primaries.give_back(self.connection.drain.is_cancelled(), key, connection);
                        }
                        drop((response, in_flight));
                        endpoint = Box::pin(tries.next(worker, endpoint, true)).await.unwrap_or(endpoint);
                        request = copy.into_request(RequestBody::again(pieces));
                        continue;
                    }
                    // Nobody asks for it any more, though more may pass.
                    if let Some(replay) = self.replay {
                        replay.forget();
                    }
                    let lease = Lease {
                        origin: Rc::clone(&self.connection.origin),
                        key,
                        connection,
                        body: self.body,
                        in_flight,
                    };
                    return Ok((response, lease));
                }
                Err(Unanswered { unprocessed, whole, error }) => {
                    tracing::debug!(endpoint = %key.endpoint, %error, "no answer");
                    let code = match (protocol, &unprocessed) {
                        // The client's library may know how to send again what we cannot.
                        (Protocol::Http2, Some(_)) if error.is_remote() => Some(Reason::REFUSED_STREAM),
                        _ => error.reset_code(),
                    };
                    let fault = Fault { reset: code.map(u32::from), ..Fault::upstream(Kind::Reset) };
                    request = match (unprocessed, copy) {
                        (Some(unprocessed), _) if protocol == Protocol::Http2 => {
                            let unprocessed = if whole { Some(unprocessed) } else { rewound(unprocessed) };
                            drop((connection, in_flight));
                            let request = unprocessed.ok_or(fault)?;
                            endpoint = Box::pin(tries.next(worker, endpoint, true)).await.ok_or(fault)?;
                            request
                        }
                        (Some(unprocessed), _) => unprocessed,
                        (None, _) if again => match reread::head(&watch.head()) {
                            Some(head) => Request::from_parts(head, RequestBody::again(VecDeque::new())),
                            None => return Err(fault.into()),
                        },
                        _ if self.body.get() == Progress::Broken => {
                            return Err(Fault::client(Kind::BrokenBody).into());
                        }
                        _ => return Err(fault.into()),
                    };
                }
            }
        }
    }

    async fn connect(&self, key: Key) -> Result<connection::Connection<RequestBody>, Fault> {
        let Connection { worker, pod, .. } = &**self.connection;
        if self.tunnel {
            worker.primaries.take_for_tunnel(pod, key).await
        } else {
            worker.primaries.take(pod, key).await
        }
    }
}

/// The request from its beginning, if what went out of its body is kept.
fn rewound(request: Request<RequestBody>) -> Option<Request<RequestBody>> {
    let (head, body) = request.into_parts();
    Some(Request::from_parts(head, body.rewound()?))
}

impl Copy {
    fn of(request: &Request<RequestBody>) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: request.headers().clone(),
            extensions: request.extensions().clone(),
        }
    }

    fn into_request(self, body: RequestBody) -> Request<RequestBody> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers;
        *request.extensions_mut() = self.extensions;
        request
    }
}
