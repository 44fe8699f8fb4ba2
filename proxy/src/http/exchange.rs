//! One request that hyper has read: choose, send the primary, let the shadows start, answer. Beside `fast_path` the only place that knows both the
//! primary and its shadows.

use std::{mem, pin::pin, rc::Rc, sync::Arc, time::Duration};

use http::{HeaderValue, Method, Request, Response, Version, header, request::Parts};
use http_body::{Body as _, SizeHint};
use hyper::upgrade::OnUpgrade;

use super::{
    answer::{AnswerBody, End},
    deadline::Deadline,
    headers,
    line::Line,
    primary::{Primary, Unsent},
    request_body::{Progress, RequestBody},
    respond, tunnel, unread,
};
use crate::{
    codec::Incoming,
    fault::{Fault, Kind, Side},
    net::addr::EndpointAddr,
    route::{
        Action, Client, Endpoint, Forward, Rule, Table, Unroutable, VirtualHost, authority, matching::RequestMatch,
    },
    shadow::{
        MARKER,
        departure::{Departure, Waiting},
        key::Chances,
        plan::{self, Candidate, Shadows},
        queue::Sink,
    },
    worker::Connection,
};

/// The endpoint has reset the request's HTTP/2 stream before an answer, and so must we.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the endpoint has reset the stream: {0}")]
pub struct StreamReset(pub h2::Reason);

/// The destination of a request that a rule has us answer.
const OURSELVES: &str = "(the rule)";

/// Handles one request. What goes wrong with the endpoint's answer later breaks the client's connection or stream instead.
///
/// # Errors
/// Only over HTTP/2, if the endpoint has reset the stream instead of an answer.
pub async fn exchange(
    connection: Rc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, StreamReset> {
    let (head, body) = request.into_parts();
    let under_way = connection.patience.request();
    connection.interim.begin(&head).await;
    let mut line = Line::begin(&connection, &head);
    let table = connection.worker.table();
    let found = headers::check_coding(&head.headers).and_then(|()| find(&table, &connection, &head));
    let answer = match found {
        Ok(Some(host)) => ruled(&connection, &table, host, head, body, &mut line).await,
        Ok(None) => Box::pin(onward(&connection, head, body, &mut line)).await,
        Err(fault) => Err(fault),
    };
    let mut response = match answer {
        Ok(response) => response,
        Err(fault) => {
            connection.worker.fault(fault);
            if let Some(code) = fault.reset {
                return Err(StreamReset(code.into()));
            }
            respond::with_fault(fault)
        }
    };
    line.answered(response.status().as_u16());
    response.body_mut().end_with(End { line, under_way, trailers: connection.interim.trailers() });
    Ok(response)
}

/// The rules that the request's Host falls under; `None` = it is none of ours.
pub(super) fn find<'a>(
    table: &'a Table,
    connection: &Connection,
    head: &Parts,
) -> Result<Option<&'a VirtualHost>, Fault> {
    let Some(authority) = authority::of(head)? else { return Ok(None) };
    let name = authority::host(authority);
    Ok(table.virtual_host(&connection.pod.namespace, connection.original.0.port(), name).map(|host| &**host))
}

/// Unmirrored, to where the application asked to go, and tried once, as without us.
async fn onward(
    connection: &Rc<Connection>,
    head: Parts,
    body: Incoming,
    line: &mut Line,
) -> Result<Response<AnswerBody>, Fault> {
    let endpoint = Arc::new(Endpoint::new(EndpointAddr(connection.original.0), "".into()));
    let way = Way { endpoints: &[endpoint], further_tries: 0, timeout: None };
    forward(connection, head, body, way, Vec::new(), Shadows::default(), line).await
}

async fn ruled(
    connection: &Rc<Connection>,
    table: &Table,
    host: &VirtualHost,
    head: Parts,
    body: Incoming,
    line: &mut Line,
) -> Result<Response<AnswerBody>, Fault> {
    let labels = table.clients.get(&connection.client.0.ip());
    let client = Client { namespace: &connection.pod.namespace, labels };
    let Some((rule, matched)) = host.select(&head, client) else {
        unwanted(connection, &head, body, line);
        return Err(Fault::route(Kind::NoRule));
    };
    line.ruled(rule);
    let (shadows, sinks) = mirror(connection, rule, &head, &body.size_hint(), line);
    let answer = match &rule.action {
        Action::Answer(answer) => {
            line.destination(&OURSELVES.into());
            unwanted(connection, &head, body, line);
            Ok(respond::with_own(answer, &head))
        }
        Action::Forward(action) => steer(connection, action, matched, head, body, sinks, shadows, line).await,
    };
    let status = answer.as_ref().map_or_else(|fault| fault.status(), Response::status);
    rule.metrics.answered(status.as_u16());
    answer
}

/// The body of a request that goes nowhere.
fn unwanted(connection: &Rc<Connection>, head: &Parts, body: Incoming, line: &Line) {
    if unread::is_wanted(head) {
        let (body, _) = RequestBody::new(body, Vec::new(), line.received(), Some(connection.patience.part()));
        unread::read_on(connection, body);
    }
}

/// Chooses a destination, changes the request as the rule says, sends it, changes the answer.
#[expect(clippy::too_many_arguments, reason = "one caller; a request with its shadows is made of so much")]
async fn steer(
    connection: &Rc<Connection>,
    action: &Forward,
    matched: Option<&RequestMatch>,
    mut head: Parts,
    body: Incoming,
    sinks: Vec<Sink>,
    mut shadows: Shadows,
    line: &mut Line,
) -> Result<Response<AnswerBody>, Fault> {
    let target = action.targets.pick(connection.worker.random());
    let destination = &target.destination;
    line.destination(&destination.label);
    let endpoints = match &destination.endpoints {
        Ok(endpoints) if endpoints.is_empty() => Err(Kind::NoEndpoint),
        Ok(endpoints) => Ok(endpoints),
        Err(Unroutable::UnknownService | Unroutable::UnknownSubset) => Err(Kind::UnknownDestination),
    };
    let endpoints = match endpoints {
        Ok(endpoints) => endpoints,
        Err(kind) => {
            shadows.not_mirrorable();
            unwanted(connection, &head, body, line);
            return Err(Fault::route(kind));
        }
    };
    target.edit(&mut head, action.path.as_ref(), matched);
    let way = Way { endpoints, further_tries: action.further_tries, timeout: action.timeout };
    let mut response = forward(connection, head, body, way, sinks, shadows, line).await?;
    target.edit_answer(response.headers_mut());
    Ok(response)
}

/// Counts the request at every mirror of its rule.
pub(super) fn mirror(
    connection: &Connection,
    rule: &Rule,
    head: &Parts,
    body: &SizeHint,
    line: &Line,
) -> (Shadows, Vec<Sink>) {
    if rule.mirrors.is_empty() {
        return (Shadows::default(), Vec::new());
    }
    let candidate = Candidate {
        is_shadow: head.headers.contains_key(MARKER),
        not_mirrorable: headers::is_tunnel(head) || matches!(rule.action, Action::Answer(_)),
        is_overload: connection.worker.overload.sheds(line.began()),
        head,
        chances: Chances {
            request: connection.worker.random(),
            connection: connection.draw,
            source: connection.client.0.ip(),
        },
        identity: line.identity(),
        tie: line.tie(),
    };
    plan::plan(&rule.mirrors, candidate, body, &connection.worker.shared.limits)
}

/// Where a request goes, and with how much patience.
struct Way<'a> {
    /// Not empty.
    endpoints: &'a [Arc<Endpoint>],
    further_tries: u32,
    timeout: Option<Duration>,
}

/// Sends the request on its way; the shadows start when its head has been written.
async fn forward(
    connection: &Rc<Connection>,
    mut head: Parts,
    body: Incoming,
    way: Way<'_>,
    sinks: Vec<Sink>,
    shadows: Shadows,
    line: &mut Line,
) -> Result<Response<AnswerBody>, Fault> {
    let Way { endpoints, further_tries, timeout } = way;
    let tunnel = headers::is_tunnel(&head);
    let reads_on = unread::is_wanted(&head);
    let is_connect = head.method == Method::CONNECT;
    let client_upgrade = if tunnel { head.extensions.remove::<OnUpgrade>() } else { None };
    prepare(&mut head, tunnel);

    // Over HTTP/1 they get what is written.
    let copy = (!shadows.is_empty() && head.version == Version::HTTP_2).then(|| head.clone());
    let waiting = (!shadows.is_empty()).then(|| Waiting(Departure::new(&connection.origin, shadows, copy)));
    let caller = body.caller();
    let (mut body, progress) = RequestBody::new(body, sinks, line.received(), Some(connection.patience.part()));
    let replay =
        (further_tries > 0 && head.version == Version::HTTP_2 && !tunnel).then(|| body.keep(&connection.worker.replay));
    let mut deadline = timeout.map(|limit| Deadline::new(limit, Rc::clone(&progress)));
    let request = Request::from_parts(head, body);
    let primary = Primary { connection, endpoints, further_tries, body: progress, replay, tunnel, caller };
    let mut sending = pin!(primary.send(request, waiting.as_ref().map(|Waiting(shadows)| shadows)));
    let sent = match &mut deadline {
        None => sending.await,
        // What has been launched lives on: a shadow has a timeout of its own.
        Some(deadline) => tokio::select! {
            biased;
            sent = &mut sending => sent,
            () = deadline => Err(Unsent { fault: Fault::upstream(Kind::AnswerTimeout), body: None }),
        },
    };
    let (response, lease) = sent.map_err(|Unsent { fault, body }| {
        // A client that broke off has cancelled its shadows, launched or not.
        if let Some(Waiting(shadows)) = waiting.as_ref().filter(|_| fault.side != Side::Client) {
            shadows.not_mirrorable();
        }
        if let Some(body) = body.filter(|_| reads_on) {
            unread::read_on(connection, body);
        }
        fault
    })?;
    line.endpoint(lease.key.endpoint);

    if let Some(client) = client_upgrade
        && tunnel::switches(response.status(), is_connect)
    {
        return Ok(tunnel::start(connection, lease, client, response));
    }
    headers::check_answer_coding(response.headers())?;
    let (mut head, body) = response.into_parts();
    // An endpoint that ends its connection will not read what is left of the request: the client must know that it uploads in vain.
    let in_vain = lease.body.get() != Progress::Sent && headers::has_token(&head.headers, &header::CONNECTION, "close");
    head.headers = headers::end_to_end(head.headers);
    if in_vain {
        head.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if head.version != Version::HTTP_2 {
        head.version = Version::HTTP_11;
    }
    Ok(Response::from_parts(head, AnswerBody::upstream(body, lease, deadline)))
}

/// What an intermediary has to change in a request's head, and no more. A tunnel has a connection of its own, so nothing of its head belongs to
/// another one.
fn prepare(head: &mut Parts, tunnel: bool) {
    if !tunnel {
        head.headers = headers::end_to_end(mem::take(&mut head.headers));
    }
    headers::agree_on_host(head);
    // We speak 1.1 ourselves (RFC 9110, 2.5), but 1.1 without a Host would be malformed.
    if head.version != Version::HTTP_2 && head.headers.contains_key(header::HOST) {
        head.version = Version::HTTP_11;
    }
}
