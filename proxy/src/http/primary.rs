//! Sends a primary to one of its endpoints, with the second tries that cannot do harm.
//!
//! - Nothing was written (no connection, or a pooled one that was closed already): another endpoint or a fresh connection, any method.
//! - A pooled connection broke before the answer: again, only if the method is idempotent and the request has no body (RFC 9110, 9.2.2).
//! - Everything else is tried once: 503.

use std::{pin::pin, rc::Rc, sync::Arc};

use http::{Extensions, HeaderMap, Method, Request, Response, Uri, Version};
use http_body::Body as _;

use super::{
    answer::Lease,
    request_body::{BodyProgress, Progress, RequestBody},
};
use crate::{
    codec::{Incoming, ResetCode as _, caller::Caller},
    fault::{Fault, Kind},
    net::Class,
    route::Endpoint,
    upstream::{
        balance,
        connection::{self, Unanswered},
        pool::{Key, Protocol},
    },
    worker::Connection,
};

/// A request on its way.
pub struct Primary<'a> {
    /// The client's connection.
    pub connection: &'a Rc<Connection>,
    /// Where it may go; not empty.
    pub endpoints: &'a [Arc<Endpoint>],
    /// Tries after one that sent nothing.
    pub further_tries: u32,
    /// Tells how far its body has come.
    pub body: BodyProgress,
    /// CONNECT or an upgrade: a connection of its own.
    pub tunnel: bool,
    /// The client's stream, if it speaks HTTP/2.
    pub caller: Option<Rc<Caller>>,
}

/// A request that can be made anew: it has no body.
struct Copy {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
    extensions: Extensions,
}

impl Primary<'_> {
    /// Sends `request` and waits for the head of the answer. `written` is called each time that a head has gone out.
    ///
    /// # Errors
    /// The last try's fault.
    pub async fn send(
        self,
        mut request: Request<RequestBody>,
        mut written: impl FnMut(),
    ) -> Result<(Response<Incoming>, Lease), Fault> {
        let worker = &self.connection.worker;
        let none = Fault::route(Kind::NoEndpoint);
        let endpoints = balance::of_family(self.endpoints, &self.connection.original);
        let mut endpoint = balance::least_request(endpoints, worker.random()).ok_or(none)?;
        let mut tries = 0;
        let protocol = Protocol::of(request.version());
        loop {
            let key =
                Key { pod: self.connection.pod.cookie, endpoint: endpoint.address, class: Class::Primary, protocol };
            let in_flight = endpoint.begin();
            let mut connection = match self.connect(key).await {
                Ok(connection) => connection,
                Err(fault) => {
                    tries += 1;
                    let other = balance::another(endpoints, endpoint, worker.random());
                    endpoint = other.filter(|_| tries <= self.further_tries).ok_or(fault)?;
                    continue;
                }
            };
            let copy = if connection.is_reused() { Copy::of(&request) } else { None };
            let watch = connection.watch().clone();
            watch.relay(self.connection.interim.relay());
            let before = watch.writes();
            let result = {
                let mut answer = pin!(connection.send(request, self.caller.clone()));
                let early = tokio::select! {
                    biased;
                    () = watch.written(before) => None,
                    answer = &mut answer => Some(answer),
                };
                if early.as_ref().is_none_or(Result::is_ok) {
                    written();
                }
                match early {
                    Some(result) => result,
                    None => answer.await,
                }
            };
            match result {
                Ok(response) => {
                    let lease = Lease {
                        worker: Rc::clone(worker),
                        pod: Arc::clone(&self.connection.pod),
                        key,
                        connection,
                        body: self.body,
                        in_flight,
                    };
                    return Ok((response, lease));
                }
                Err(Unanswered { unprocessed, error }) => {
                    tracing::debug!(endpoint = %key.endpoint, %error, "no answer");
                    let fault = Fault { reset: error.reset_code().map(u32::from), ..Fault::upstream(Kind::Reset) };
                    request = match (unprocessed, copy) {
                        (Some(unprocessed), _) if protocol == Protocol::Http2 => {
                            tries += 1;
                            if tries > self.further_tries {
                                return Err(fault);
                            }
                            endpoint = balance::another(endpoints, endpoint, worker.random()).unwrap_or(endpoint);
                            unprocessed
                        }
                        (Some(unprocessed), _) => unprocessed,
                        (None, Some(copy)) => copy.into_request(),
                        _ if self.body.get() == Progress::Broken => return Err(Fault::client(Kind::BrokenBody)),
                        _ => return Err(fault),
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

impl Copy {
    fn of(request: &Request<RequestBody>) -> Option<Self> {
        (request.method().is_idempotent() && request.body().is_end_stream()).then(|| Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: request.headers().clone(),
            extensions: request.extensions().clone(),
        })
    }

    fn into_request(self) -> Request<RequestBody> {
        let mut request = Request::new(RequestBody::empty());
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers;
        *request.extensions_mut() = self.extensions;
        request
    }
}
