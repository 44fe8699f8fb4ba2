//! An answer on its way from an endpoint's connection to the client's.
//!
//! Comes in: both connections. Goes out: the answer, at the client's pace, head and body in one write where they came in one read. Never: more than one
//! read that waits for the client.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead as _, AsyncWrite as _, ReadBuf},
    net::TcpStream,
};

use super::answer::{End, Piece, Reader};
use crate::{fault::Kind, net::client_stream::ClientStream};

/// Reads of an answer in one turn.
const READS: usize = 8;

/// What is cheaper to copy than to write from two places.
const SMALL: usize = 1024;

/// Why an answer did not come to its end.
#[derive(Debug)]
pub(super) enum Broke<E = Kind> {
    /// The endpoint's connection ended before a byte of it.
    Unanswered,
    /// Before its head had come.
    Endpoint(E),
    /// Behind its head: the client must not take what it has for the whole.
    Halfway,
    /// The client takes no more.
    Client(io::Error),
}

/// Whoever is told of an answer before the client gets it.
pub(super) trait Audience {
    /// A piece of it has come.
    fn hear(&mut self, piece: &Piece);
    /// Whether the client is told that its connection ends.
    fn closes(&self) -> bool;
}

/// An answer.
#[derive(Debug)]
pub(super) struct Relay {
    reader: Reader,
    outgoing: Outgoing,
    begun: bool,
    end: Option<End>,
}

/// What waits to be written to the client.
#[derive(Debug, Default)]
struct Outgoing {
    bytes: Vec<u8>,
    written: usize,
}

impl Relay {
    /// Of the answer to a request, of HEAD for instance.
    pub(super) fn new(is_head: bool) -> Self {
        Self { reader: Reader::new(is_head), outgoing: Outgoing::default(), begun: false, end: None }
    }

    /// Moves what there is. `room` is where is read; nothing stays in it.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut TcpStream,
        to: &mut ClientStream,
        room: &mut [u8],
        audience: &mut impl Audience,
    ) -> Poll<Result<End, Broke>> {
        for _ in 0..READS {
            ready!(self.outgoing.poll_flush(cx, to)).map_err(Broke::Client)?;
            if let Some(end) = self.end {
                return Poll::Ready(Ok(end));
            }
            let mut read = ReadBuf::new(room);
            let ended = match ready!(Pin::new(&mut *from).poll_read(cx, &mut read)) {
                Ok(()) => read.filled().is_empty(),
                Err(error) => {
                    tracing::debug!(%error, "the endpoint's connection broke");
                    return Poll::Ready(Err(self.broke(Kind::Reset)));
                }
            };
            if ended {
                let Some(last) = self.reader.close() else { return Poll::Ready(Err(self.broke(Kind::Reset))) };
                let end = End { reusable: false };
                audience.hear(&Piece { end: Some(end), ..Piece::default() });
                self.end = Some(end);
                self.outgoing.bytes.extend_from_slice(last);
                continue;
            }
            let piece =
                match self.reader.feed(read.filled(), &mut self.outgoing.bytes, !self.begun && audience.closes()) {
                    Ok(piece) => piece,
                    Err(kind) => {
                        let broke = self.broke(kind);
                        if matches!(broke, Broke::Endpoint(_)) {
                            self.outgoing.clear();
                        }
                        return Poll::Ready(Err(broke));
                    }
                };
            self.begun |= piece.status.is_some();
            self.end = piece.end;
            audience.hear(&piece);
            self.outgoing.write(cx, to, &read.filled()[piece.body], piece.tail).map_err(Broke::Client)?;
        }
        // Others are waiting.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn broke(&self, kind: Kind) -> Broke {
        if self.begun {
            Broke::Halfway
        } else if self.reader.is_untouched() && kind == Kind::Reset {
            Broke::Unanswered
        } else {
            Broke::Endpoint(kind)
        }
    }
}

impl Outgoing {
    fn clear(&mut self) {
        self.bytes.clear();
        self.written = 0;
    }

    /// Writes what waits.
    fn poll_flush(&mut self, cx: &mut Context<'_>, to: &mut ClientStream) -> Poll<io::Result<()>> {
        while self.written < self.bytes.len() {
            match ready!(Pin::new(&mut *to).poll_write(cx, &self.bytes[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        self.clear();
        Poll::Ready(Ok(()))
    }

    /// Writes what waits and, behind it, these; what the connection does not take at once waits.
    fn write(&mut self, cx: &mut Context<'_>, to: &mut ClientStream, body: &[u8], tail: &[u8]) -> io::Result<()> {
        if body.len() <= SMALL {
            for part in [body, tail] {
                self.bytes.extend_from_slice(part);
            }
            return match self.poll_flush(cx, to) {
                Poll::Ready(result) => result,
                Poll::Pending => Ok(()),
            };
        }
        let parts = [&self.bytes, body, tail].map(IoSlice::new);
        let mut count = match Pin::new(to).poll_write_vectored(cx, &parts) {
            Poll::Ready(result) => result?,
            Poll::Pending => 0,
        };
        if count == self.bytes.len() + body.len() + tail.len() {
            self.clear();
            return Ok(());
        }
        let own = self.bytes.len();
        self.written = count.min(own);
        count -= self.written;
        for part in [body, tail] {
            let taken = count.min(part.len());
            count -= taken;
            self.bytes.extend_from_slice(&part[taken..]);
        }
        Ok(())
    }
}
