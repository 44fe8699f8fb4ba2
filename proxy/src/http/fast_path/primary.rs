//! A plain request: counted, sent to one of its endpoints, its shadows started, its answer passed on.
//!
//! Comes in: a request whose rule is plain. Goes out: the answer, or the reason why there is none, in our own words. Never: a try that could do harm: the
//! rules are those of [`crate::http::primary`].

use std::{
    future::poll_fn,
    io,
    rc::Rc,
    task::{Poll, ready},
};

use http::StatusCode;
use http_body::SizeHint;
use tokio::io::AsyncWriteExt as _;

use super::{
    answer::{End, Piece},
    choose::Chosen,
    link::Link,
    relay::{Audience, Broke, Relay},
    request::Plain,
    sending::{Sending, State},
};
use crate::{
    fault::{Fault, Kind},
    http::{exchange, line::Line, tries::Tries},
    net::{Class, client_stream::ClientStream},
    shadow::{plan::Shadows, send},
    upstream::{
        balance,
        pool::{Key, Protocol},
    },
    worker::Connection,
};

/// Why the client's connection ends without a whole answer.
#[derive(Debug)]
pub(super) enum Cut {
    /// The answer broke off: the client must not take what it has for the whole.
    Halfway,
    /// The client takes no more.
    Client(io::Error),
}

/// What one exchange has in hand.
struct Exchange<'a> {
    connection: &'a Rc<Connection>,
    chosen: &'a Chosen<'a>,
    plain: &'a Plain,
    /// Until the request's first bytes have gone out.
    shadows: Option<Shadows>,
    /// Until the answer has ended.
    line: Option<Line>,
}

/// Handles one request. Returns whether the client's connection may carry another.
///
/// # Errors
/// If the client has no whole answer.
pub(super) async fn perform(
    connection: &Rc<Connection>,
    chosen: &Chosen<'_>,
    plain: &Plain,
    client: &mut ClientStream,
) -> Result<bool, Cut> {
    let _under_way = connection.patience.request();
    let mut line = Line::begin(connection, &plain.head);
    line.ruled(chosen.rule);
    if let Some(received) = line.received() {
        received.set(plain.body.len() as u64);
    }
    let size = SizeHint::with_exact(plain.body.len() as u64);
    let (shadows, sinks) = exchange::mirror(connection, chosen.rule, &plain.head, &size, &line);
    for sink in sinks {
        if !plain.body.is_empty() {
            sink.push(&plain.body);
        }
        sink.complete();
    }
    let shadows = Some(shadows).filter(|shadows| !shadows.is_empty());
    let mut exchange = Exchange { connection, chosen, plain, shadows, line: Some(line) };
    match exchange.send(client).await {
        Ok(()) => {}
        Err(Broke::Halfway) => return Err(Cut::Halfway),
        Err(Broke::Client(error)) => return Err(Cut::Client(error)),
        Err(Broke::Unanswered) => exchange.own(Fault::upstream(Kind::Reset), client).await?,
        Err(Broke::Endpoint(fault)) => exchange.own(fault, client).await?,
    }
    Ok(plain.stays && !connection.drain.is_cancelled())
}

impl Exchange<'_> {
    /// Tries until there is an answer, or no try is left that cannot do harm.
    async fn send(&mut self, client: &mut ClientStream) -> Result<(), Broke<Fault>> {
        let Exchange { connection, chosen, plain, .. } = *self;
        let worker = &connection.worker;
        let target = chosen.forward.targets.pick(worker.random());
        if let Some(line) = &mut self.line {
            line.destination(&target.destination.label);
        }
        let endpoints = target.destination.endpoints.as_deref().unwrap_or_default();
        let endpoints = balance::of_family(endpoints, &connection.original);
        let none = || Broke::Endpoint(Fault::route(Kind::NoEndpoint));
        let mut endpoint = balance::least_request(endpoints, worker.random()).ok_or_else(none)?;
        let mut tries = Tries::new(endpoints, chosen.forward.further_tries);
        loop {
            let key = Key {
                pod: connection.pod.cookie,
                endpoint: endpoint.address,
                class: Class::Primary,
                protocol: Protocol::Http1,
            };
            let in_flight = endpoint.begin();
            let mut link = match worker.links.take(&connection.pod, key).await {
                Ok(link) => link,
                Err(fault) => {
                    drop(in_flight);
                    // Whoever refuses now may listen in a moment; what took its time would take it again.
                    let worth = fault.kind == Kind::ConnectFailed;
                    let next = Box::pin(tries.next(worker, endpoint, worth)).await;
                    endpoint = next.ok_or(Broke::Endpoint(fault))?;
                    continue;
                }
            };
            match self.over(&mut link, key, client).await {
                Ok(End { reusable }) => {
                    link.reusable = reusable;
                    worker.links.give_back(connection.drain.is_cancelled(), key, link);
                    return Ok(());
                }
                // It was closed already, which nobody could know: a fresh one, at once.
                Err(Gone { untouched: true, .. }) if link.reused => {}
                Err(Gone { broke: Broke::Unanswered, .. })
                    if link.reused && plain.head.method.is_idempotent() && plain.body.is_empty() => {}
                Err(Gone { broke, .. }) => {
                    return Err(match broke {
                        Broke::Unanswered => Broke::Unanswered,
                        Broke::Endpoint(kind) => Broke::Endpoint(Fault::upstream(kind)),
                        Broke::Halfway => Broke::Halfway,
                        Broke::Client(error) => Broke::Client(error),
                    });
                }
            }
        }
    }

    /// One try on a connection. The answer is read while the request is written: an endpoint may know enough before it has the whole.
    async fn over(&mut self, link: &mut Link, key: Key, client: &mut ClientStream) -> Result<End, Gone> {
        let mut sending = Sending::new(&self.plain.written, &self.plain.body);
        let mut relay = Relay::new(self.plain.is_head);
        poll_fn(|cx| {
            sending.poll(cx, &mut link.stream);
            match sending.state() {
                State::Untouched => return Poll::Pending,
                State::Refused => return Poll::Ready(Err(Gone { untouched: true, broke: Broke::Unanswered })),
                State::Begun | State::Broken | State::Whole => self.launch(),
            }
            let room = &mut self.connection.worker.room.borrow_mut();
            let relayed = ready!(relay.poll(cx, &mut link.stream, client, room, &mut Heard { exchange: self, key }));
            Poll::Ready(match relayed {
                Ok(End { reusable }) => Ok(End { reusable: reusable && sending.state() == State::Whole }),
                Err(broke) => Err(Gone { untouched: false, broke }),
            })
        })
        .await
    }

    /// The first bytes of the primary have gone out: the shadows start, if they have not.
    fn launch(&mut self) {
        if let Some(shadows) = self.shadows.take() {
            let origin = &self.connection.origin;
            let written: Rc<[u8]> = self.plain.written[..].into();
            shadows.launch(|planned, _| send::over_http1(origin, planned, Rc::clone(&written)));
        }
    }

    /// Answers ourselves: there is no endpoint's answer.
    async fn own(&mut self, fault: Fault, client: &mut ClientStream) -> Result<(), Cut> {
        let Self { connection, chosen, plain, line, shadows } = self;
        if let Some(mut shadows) = shadows.take() {
            shadows.not_mirrorable();
        }
        connection.worker.fault(fault);
        let (status, text) = (fault.status(), fault.explanation());
        chosen.rule.metrics.answered(status.as_u16());
        let head = head_of(status, text.len(), !plain.stays || connection.drain.is_cancelled());
        let text = if plain.is_head { "" } else { text };
        if let Some(mut line) = line.take() {
            line.answered(status.as_u16());
            line.sent(text.len());
        }
        client.write_all(&[head.as_bytes(), text.as_bytes()].concat()).await.map_err(Cut::Client)
    }
}

/// What is counted and logged of an answer.
struct Heard<'a, 'b> {
    exchange: &'a mut Exchange<'b>,
    key: Key,
}

impl Audience for Heard<'_, '_> {
    fn hear(&mut self, piece: &Piece) {
        let Exchange { chosen, line, .. } = &mut *self.exchange;
        if let Some(status) = piece.status {
            chosen.rule.metrics.answered(status);
        }
        if let Some(known) = line {
            if let Some(status) = piece.status {
                known.endpoint(self.key.endpoint);
                known.answered(status);
            }
            known.sent(piece.data as usize);
        }
        if piece.end.is_some() {
            *line = None;
        }
    }

    fn closes(&self) -> bool {
        !self.exchange.plain.stays || self.exchange.connection.drain.is_cancelled()
    }
}

/// A try came to nothing.
struct Gone {
    /// Nothing of the request has gone out.
    untouched: bool,
    broke: Broke,
}

fn head_of(status: StatusCode, length: usize, closes: bool) -> String {
    let close = if closes { "connection: close\r\n" } else { "" };
    format!("HTTP/1.1 {status}\r\ncontent-type: text/plain\r\n{close}content-length: {length}\r\n\r\n")
}
