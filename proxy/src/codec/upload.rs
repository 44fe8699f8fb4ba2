//! A body on its way out on an HTTP/2 stream.
//!
//! Comes in: a body, the sending half of a stream. Goes out: its frames as the peer's windows allow, one chunk ahead at most; a reset if the body
//! breaks off. Never: a frame of the body asked for before the one before has room on the way.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use h2::{Reason, SendStream};
use http_body::{Body, Frame};

use super::ResetCode;

/// Why the upload ended before the body did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The peer has reset the stream.
    ByPeer(Reason),
    /// The connection is gone.
    Gone,
    /// The body broke off; the peer was told.
    BodyBroke,
}

/// What an HTTP/2 connection sends: chunks of a body, or the mere end of one.
#[derive(Debug)]
pub struct Piece<D>(Option<D>);

impl<D: Buf> Buf for Piece<D> {
    fn remaining(&self) -> usize {
        self.0.as_ref().map_or(0, D::remaining)
    }

    fn chunk(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], D::chunk)
    }

    fn advance(&mut self, count: usize) {
        if let Some(chunk) = &mut self.0 {
            chunk.advance(count);
        }
    }
}

/// A body and how far it has come.
#[derive(Debug)]
pub struct Upload<B: Body> {
    body: B,
    /// A chunk that waits for room, and whether it is the last.
    waiting: Option<(B::Data, bool)>,
    touched: bool,
    /// Pieces handed over so far.
    sent: u64,
    ended: bool,
    /// What the peer is told if the body breaks off for another reason than a reset.
    broken: Reason,
}

impl<B> Upload<B>
where
    B: Body + Unpin,
    B::Error: ResetCode,
{
    /// Nothing is sent before it is polled. `broken`: the code for the peer if the body breaks off without one of its own.
    #[must_use]
    pub fn new(body: B, broken: Reason) -> Self {
        let ended = body.is_end_stream();
        Self { body, waiting: None, touched: false, sent: 0, ended, broken }
    }

    /// How many pieces have found room, if one waits for room now: the peer does not read.
    #[must_use]
    pub fn is_stuck_after(&self) -> Option<u64> {
        self.waiting.is_some().then_some(self.sent)
    }

    /// Nothing more will be sent.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// The body, and whether nothing has been taken from it.
    #[must_use]
    pub fn into_body(self) -> (B, bool) {
        (self.body, !self.touched)
    }

    /// Sends what can be sent; ready when nothing more will be.
    pub fn poll(&mut self, stream: &mut SendStream<Piece<B::Data>>, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        let result = ready!(self.advance(stream, cx));
        self.ended = true;
        Poll::Ready(result)
    }

    fn advance(&mut self, stream: &mut SendStream<Piece<B::Data>>, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        loop {
            // Also wakes us if the peer resets the stream while the body is awaited.
            match stream.poll_reset(cx) {
                Poll::Ready(Ok(code)) => return Poll::Ready(Err(Stopped::ByPeer(code))),
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Stopped::Gone)),
                Poll::Pending => {}
            }
            if self.waiting.is_some() {
                while stream.capacity() == 0 {
                    match ready!(stream.poll_capacity(cx)) {
                        Some(Ok(_)) => {}
                        Some(Err(_)) | None => return Poll::Ready(Err(Stopped::Gone)),
                    }
                }
                let Some((chunk, last)) = self.waiting.take() else { continue };
                if stream.send_data(Piece(Some(chunk)), last).is_err() {
                    return Poll::Ready(Err(Stopped::Gone));
                }
                self.sent += 1;
                if last {
                    return Poll::Ready(Ok(()));
                }
            }
            let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
            self.touched = true;
            let done = match frame.map(|frame| frame.map(Frame::into_data)) {
                None => stream.send_data(Piece(None), true),
                Some(Err(error)) => {
                    stream.send_reset(error.reset_code().unwrap_or(self.broken));
                    return Poll::Ready(Err(Stopped::BodyBroke));
                }
                Some(Ok(Ok(chunk))) if !chunk.has_remaining() && !self.body.is_end_stream() => continue,
                Some(Ok(Ok(chunk))) if !chunk.has_remaining() => stream.send_data(Piece(Some(chunk)), true),
                Some(Ok(Ok(chunk))) => {
                    // No room is asked for before there is something to send: it would be taken from the other streams. One byte is enough to
                    // be told; h2 asks for the rest itself.
                    stream.reserve_capacity(1);
                    self.waiting = Some((chunk, self.body.is_end_stream()));
                    continue;
                }
                Some(Ok(Err(other))) => match other.into_trailers() {
                    Ok(trailers) => stream.send_trailers(trailers),
                    Err(_) => continue,
                },
            };
            return Poll::Ready(done.map_err(|_| Stopped::Gone));
        }
    }
}
