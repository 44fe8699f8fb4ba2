//! Informational answers (1xx but 101), which an endpoint gives before its final one, in its own words (RFC 9110, 15.2).
//!
//! Comes in: the bytes of an endpoint's connection while an answer's head is awaited. Goes out: whole 1xx messages without their hop-by-hop
//! fields, for the client's connection. Never: a byte taken from hyper, which reads the same heads and skips them without keeping reason phrase or
//! letter case; a wait for the client.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf as _, BytesMut};
use tokio::io::AsyncWrite;

/// How every such message begins.
const BEGINNING: &[u8] = b"HTTP/1.1 1";
/// With the whole status, which tells 101 from the others.
const WITH_STATUS: usize = BEGINNING.len() + 2;
/// A message with more fields is not passed on.
const MOST_FIELDS: usize = 64;
/// Bytes that wait for a client that does not read. What comes on top is lost: it was only information.
const MOST_WAITING: usize = 64 * 1024;

/// Fields that say nothing to the client: of the endpoint's connection, or of a body that a 1xx does not have.
const NOT_PASSED_ON: [&str; 6] =
    ["connection", "keep-alive", "proxy-connection", "upgrade", "transfer-encoding", "content-length"];

/// Messages on their way to one client connection.
#[derive(Debug, Default)]
pub struct Interims {
    waiting: RefCell<BytesMut>,
    writer: RefCell<Option<Waker>>,
}

impl Interims {
    fn push(&self, message: &[u8]) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() + message.len() > MOST_WAITING {
            return;
        }
        waiting.extend_from_slice(message);
        if let Some(writer) = self.writer.borrow_mut().take() {
            writer.wake();
        }
    }

    /// Whether everything has been written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    /// Wakes this task when there is a message.
    pub fn wake_later(&self, cx: &Context<'_>) {
        let mut writer = self.writer.borrow_mut();
        match &mut *writer {
            Some(writer) => writer.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }

    /// Writes everything.
    ///
    /// # Errors
    /// As the connection's.
    pub fn poll_write<IO: AsyncWrite + Unpin>(&self, cx: &mut Context<'_>, io: &mut IO) -> Poll<io::Result<()>> {
        let mut waiting = self.waiting.borrow_mut();
        while !waiting.is_empty() {
            let count = ready!(Pin::new(&mut *io).poll_write(cx, &waiting))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            waiting.advance(count);
        }
        Poll::Ready(Ok(()))
    }
}

/// Reads along on an endpoint's connection.
#[derive(Debug, Default)]
pub struct Listener {
    /// The part of a message that has come.
    held: Vec<u8>,
}

impl Listener {
    /// Hears what has come since the last time. Returns whether the final answer is still to come.
    pub fn hear(&mut self, bytes: &[u8], interims: &Interims) -> bool {
        if self.held.is_empty() {
            let (heard, awaits) = pass_on(bytes, interims);
            self.held.extend_from_slice(if awaits { &bytes[heard..] } else { &[] });
            return awaits;
        }
        self.held.extend_from_slice(bytes);
        let (heard, awaits) = pass_on(&self.held, interims);
        self.held.drain(..heard);
        if !awaits {
            self.held = Vec::new();
        }
        awaits
    }
}

/// Passes on all whole messages; returns their length and whether what follows may be another.
fn pass_on(bytes: &[u8], interims: &Interims) -> (usize, bool) {
    let mut heard = 0;
    loop {
        let rest = &bytes[heard..];
        let compared = rest.len().min(BEGINNING.len());
        if rest[..compared] != BEGINNING[..compared] || rest.get(BEGINNING.len()..WITH_STATUS) == Some(b"01") {
            return (heard, false);
        }
        let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
        let mut head = httparse::Response::new(&mut fields);
        match head.parse(rest) {
            Ok(httparse::Status::Complete(length)) => {
                interims.push(&end_to_end(&rest[..length], head.headers));
                heard += length;
            }
            // hyper gives up on an answer whose head grows and grows, and on one that makes no sense.
            Ok(httparse::Status::Partial) => return (heard, true),
            Err(_) => return (heard, false),
        }
    }
}

/// The message without what belongs to the endpoint's connection.
fn end_to_end(message: &[u8], fields: &[httparse::Header<'_>]) -> Vec<u8> {
    let is = |field: &httparse::Header<'_>, name: &str| field.name.eq_ignore_ascii_case(name);
    let nominated = |field: &httparse::Header<'_>| {
        let mut connections = fields.iter().filter(|other| is(other, "connection"));
        connections.any(|value| {
            let mut tokens = value.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            tokens.any(|token| token.eq_ignore_ascii_case(field.name.as_bytes()))
        })
    };
    let line = message.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_end();
    let mut kept = [line, b"\r\n"].concat();
    for field in fields {
        if !NOT_PASSED_ON.iter().any(|name| is(field, name)) && !nominated(field) {
            for part in [field.name.as_bytes(), b": ", field.value, b"\r\n"] {
                kept.extend_from_slice(part);
            }
        }
    }
    kept.extend_from_slice(b"\r\n");
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const HINTS: &[u8] = b"HTTP/1.1 103 Early, Early Hints\r\nLINK: </a.css>; rel=preload\r\nx-A: 1\r\n\r\n";
    const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

    /// What is passed on if the bytes come in such pieces, and whether the final answer is still to come.
    fn heard(pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let (mut listener, interims) = (Listener::default(), Interims::default());
        let awaits = pieces.iter().all(|piece| listener.hear(piece, &interims));
        (interims.waiting.take().to_vec(), awaits)
    }

    /// Fails if a message is lost, doubled or changed where a read happens to end.
    #[test]
    fn wherever_the_bytes_are_cut_every_message_comes_once_and_unchanged() {
        let all = [CONTINUE, HINTS, HINTS, b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"].concat();
        let expected = ([CONTINUE, HINTS, HINTS].concat(), false);
        for cut in 0..all.len() {
            assert_eq!(heard(&[&all[..cut], &all[cut..]]), expected, "cut at {cut}");
        }
        let bytes: Vec<_> = all.chunks(1).collect();
        assert_eq!(heard(&bytes), expected);
    }

    #[test]
    fn the_final_answer_ends_it() {
        for last in
            [&b"HTTP/1.1 200 OK\r\n"[..], b"HTTP/1.1 101 Switching Protocols\r\n\r\n", b"HTTP/1.0 ", b"nonsense"]
        {
            assert_eq!(heard(&[last, CONTINUE]), (Vec::new(), false), "{last:?}");
        }
        assert_eq!(heard(&[CONTINUE]), (CONTINUE.to_vec(), true));
        assert_eq!(heard(&[b"HTTP/1.1 103 \0\r\n\r\n", CONTINUE]), (Vec::new(), false), "makes no sense");
    }

    #[test]
    fn fields_of_the_endpoints_connection_stay_there() {
        let message =
            b"HTTP/1.1 102 Busy\r\nConnection: close, X-mine\r\nX-Mine: 1\r\nContent-Length: 5\r\nX-Yours: 2\r\n\r\n";
        assert_eq!(heard(&[message]).0, b"HTTP/1.1 102 Busy\r\nX-Yours: 2\r\n\r\n");
    }

    #[test]
    fn a_client_that_does_not_read_bounds_what_waits() {
        let (mut listener, interims) = (Listener::default(), Interims::default());
        for _ in 0..MOST_WAITING {
            assert!(listener.hear(CONTINUE, &interims));
        }
        let waiting = interims.waiting.borrow().len();
        assert!((MOST_WAITING - CONTINUE.len()..=MOST_WAITING).contains(&waiting));
        assert_eq!(waiting % CONTINUE.len(), 0, "half a message waits");
    }
}
