//! A connection to v2 that carries one shadow at a time.
//!
//! Comes in: a TCP connection, a request. Goes out: how the exchange ended, and whether the connection may carry another. Never: a peaceful end of a
//! connection on which anything is unfinished: that is reset, so that the kernel keeps nothing for an endpoint that may never take it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead as _, ReadBuf},
    net::TcpStream,
};

use super::{
    super::{answer::Answer, queue::QueueBody},
    head::Head,
    outgoing::Outgoing,
    reply::{Reader, Reply},
};
use crate::upstream::pool::Reusable;

/// Reads of an answer in one turn.
const READS: usize = 8;

/// A connection.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    reused: bool,
    /// Nothing is under way on it: it ends in peace.
    quiet: bool,
    /// And it may carry another request.
    reusable: bool,
    /// It takes no more of the request. What the endpoint has said before may still be read.
    deaf: bool,
}

/// A shadow's request and what has come of its answer.
#[derive(Debug)]
pub struct Exchange {
    outgoing: Outgoing,
    reader: Reader,
    answer: Answer,
}

/// How an exchange ended on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// With an answer of this status.
    Answered(u16),
    /// The connection broke, or what came is no answer.
    Broken,
    /// A connection that had been used before was closed, and has taken nothing: another may.
    Unsent,
}

impl Exchange {
    /// Not begun; not more than `bound` bytes of the answer's body are read.
    #[must_use]
    pub fn new(head: Head, body: QueueBody, bound: u64) -> Self {
        let reader = Reader::new(head.is_head, head.is_current, bound);
        Self { outgoing: Outgoing::new(head, body), reader, answer: Answer::default() }
    }

    /// What was read of the answer.
    pub(in crate::shadow) fn answer(&self) -> Answer {
        self.answer
    }
}

impl Wire {
    /// Over a connection that has just been made.
    #[must_use]
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, reused: false, quiet: true, reusable: false, deaf: false }
    }

    /// Sends the request and reads the answer, both at once. `room` is where is read; nothing stays in it.
    pub fn poll(&mut self, exchange: &mut Exchange, room: &mut [u8], cx: &mut Context<'_>) -> Poll<Done> {
        let Exchange { outgoing, reader, answer } = exchange;
        (self.quiet, self.reusable) = (false, false);
        if !self.deaf
            && let Poll::Ready(Err(error)) = outgoing.poll(&mut self.stream, cx)
        {
            if self.reused && outgoing.is_untouched() {
                return Poll::Ready(Done::Unsent);
            }
            tracing::debug!(%error, "v2 takes no more of a shadow");
            self.deaf = true;
        }
        for _ in 0..READS {
            let mut read = ReadBuf::new(room);
            if ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read)).is_err() {
                return Poll::Ready(Done::Broken);
            }
            let reply = match read.filled() {
                // What broke the one direction may have cut the other.
                [] if self.deaf => Reply::Broken,
                [] => reader.end(),
                bytes => reader.feed(bytes, answer),
            };
            match reply {
                Reply::Partial => {}
                Reply::Whole { status, finished, reusable } => {
                    self.quiet = finished && outgoing.is_done() && !self.deaf;
                    self.reusable = self.quiet && reusable;
                    return Poll::Ready(Done::Answered(status));
                }
                Reply::Broken => return Poll::Ready(Done::Broken),
            }
        }
        // Others are waiting.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Reusable for Wire {
    /// Also if its endpoint says something that it was not asked for.
    fn is_closed(&self) -> bool {
        // Without an event since the last read this asks nobody.
        !matches!(self.stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn is_done(&self) -> bool {
        self.reusable
    }

    fn reuse(&mut self) {
        self.reused = true;
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if !self.quiet {
            let _ = self.stream.set_zero_linger();
        }
    }
}

#[cfg(test)]
mod tests;
