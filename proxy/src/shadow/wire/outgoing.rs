//! A shadow's request on its way out: the head, then what the queue of its body gives, framed as the primary's is.
//!
//! Comes in: the head, the queue, a connection. Goes out: bytes, the head and the first piece of the body in one write. Never: more of the body than one
//! piece, or a wait for a piece while something is left to write.

use std::{
    io::{self, IoSlice, Write as _},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf as _;
use http::HeaderMap;
use http_body::{Body as _, Frame};
use tokio::{io::AsyncWrite as _, net::TcpStream};

use super::{
    super::{chunk::Chunk, queue::QueueBody},
    head::{Framing, Head},
};
use crate::codec::trailers;

/// What is left to write of a request.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Written before the chunk: the head at first, sizes later.
    lead: Vec<u8>,
    /// So much of the lead is written.
    led: usize,
    chunk: Option<Chunk>,
    /// Written behind the chunk: the end of its line, or what is left of that.
    tail: &'static [u8],
    body: QueueBody,
    framing: Framing,
    /// The body has ended.
    ended: bool,
    untouched: bool,
}

impl Outgoing {
    pub(super) fn new(head: Head, body: QueueBody) -> Self {
        let Head { bytes: lead, framing, .. } = head;
        Self { lead, led: 0, chunk: None, tail: &[], body, framing, ended: false, untouched: true }
    }

    /// Nothing was written.
    pub(super) fn is_untouched(&self) -> bool {
        self.untouched
    }

    /// Everything is written.
    pub(super) fn is_done(&self) -> bool {
        self.ended && !self.is_waiting()
    }

    /// Something is to be written.
    fn is_waiting(&self) -> bool {
        self.led < self.lead.len() || self.chunk.is_some() || !self.tail.is_empty()
    }

    /// Writes what there is.
    pub(super) fn poll(&mut self, stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.chunk.is_none() && self.tail.is_empty() && !self.ended {
                match Pin::new(&mut self.body).poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => self.add(frame)?,
                    Poll::Ready(Some(Err(given_up))) => return Poll::Ready(Err(io::Error::other(given_up))),
                    Poll::Ready(None) => self.end(&HeaderMap::new()),
                    Poll::Pending if !self.is_waiting() => return Poll::Pending,
                    Poll::Pending => {}
                }
            }
            if self.is_done() {
                return Poll::Ready(Ok(()));
            }
            let stream = Pin::new(&mut *stream);
            let count = ready!(match &self.chunk {
                None if self.tail.is_empty() => stream.poll_write(cx, &self.lead[self.led..]),
                chunk => {
                    let chunk = chunk.as_ref().map_or(&[][..], |chunk| chunk.chunk());
                    stream.poll_write_vectored(cx, &[&self.lead[self.led..], chunk, self.tail].map(IoSlice::new))
                }
            })?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.wrote(count);
        }
    }

    fn wrote(&mut self, count: usize) {
        self.untouched = false;
        let lead = count.min(self.lead.len() - self.led);
        self.led += lead;
        if self.led == self.lead.len() {
            self.lead.clear();
            self.led = 0;
        }
        let mut behind = count - lead;
        if let Some(chunk) = &mut self.chunk {
            let data = behind.min(chunk.remaining());
            chunk.advance(data);
            behind -= data;
            if !chunk.has_remaining() {
                self.chunk = None;
            }
        }
        self.tail = self.tail.get(behind..).unwrap_or_default();
    }

    /// A piece of the body follows the lead.
    fn add(&mut self, frame: Frame<Chunk>) -> io::Result<()> {
        let chunk = match frame.into_data() {
            Ok(chunk) => chunk,
            Err(last) => {
                self.end(&last.into_trailers().unwrap_or_default());
                return Ok(());
            }
        };
        if self.framing == Framing::Chunked {
            write!(self.lead, "{:x}\r\n", chunk.remaining())?;
            self.tail = b"\r\n";
        }
        self.chunk = Some(chunk);
        Ok(())
    }

    fn end(&mut self, last: &HeaderMap) {
        if self.framing == Framing::Chunked {
            for part in [&b"0\r\n"[..], &trailers::lines(last), b"\r\n"] {
                self.lead.extend_from_slice(part);
            }
        }
        self.ended = true;
    }
}
