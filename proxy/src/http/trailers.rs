//! Trailer fields behind a chunked HTTP/1 message, announced or not (RFC 9112, 7.1.2).
//!
//! Comes in: the trailers that a body ended with, and what the codec writes after them. Goes out: the same bytes, with the trailers in the last
//! chunk. Never: a change to a message without trailers.
//!
//! hyper writes only trailers that a `Trailer` field announces, and a server's only to a client that sent `TE: trailers`; Go, nginx and many
//! others send them unannounced. So the codec never hears of them ([`Trailers::put`] takes them out of the body), and the last chunk that it
//! writes for the body is completed here.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, header};
use send_wrapper::SendWrapper;
use tokio::io::AsyncWrite;

/// The last chunk without trailers, as hyper writes it: one buffer, the last before it flushes.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// Its part before the trailers.
const LAST_SIZE: usize = 3;

/// Fields that would change how the message is read (RFC 9110, 6.5.1).
const FRAMING: [HeaderName; 4] = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::HOST, header::TRAILER];

/// The trailers of the message that is being written on a connection; shared by the message's body and the connection.
#[derive(Debug, Default)]
pub struct Trailers {
    fields: RefCell<Option<Bytes>>,
    waiting: RefCell<Option<Waker>>,
}

impl Trailers {
    /// The body has ended with these.
    pub fn put(&self, trailers: &HeaderMap) {
        let mut text = BytesMut::new();
        for (name, value) in trailers.iter().filter(|(name, _)| !FRAMING.contains(name)) {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                text.extend_from_slice(part);
            }
        }
        if !text.is_empty() {
            self.fields.replace(Some(text.freeze()));
        }
    }

    /// Whether trailers wait to be written.
    #[must_use]
    pub fn are_waiting(&self) -> bool {
        self.fields.borrow().is_some()
    }

    /// Resolves when none wait: the next message may be given to the codec.
    pub async fn written(&self) {
        poll_fn(|cx| {
            if !self.are_waiting() {
                return Poll::Ready(());
            }
            self.waiting.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

/// The writing side of a connection: puts the trailers into the last chunk.
#[derive(Debug)]
pub struct LastChunk {
    trailers: SendWrapper<Rc<Trailers>>,
    /// What was taken from the codec and not written yet: a last chunk, unless more comes before the flush.
    held: Bytes,
}

impl LastChunk {
    /// For a connection whose bodies put their trailers there.
    #[must_use]
    pub fn new(trailers: Rc<Trailers>) -> Self {
        Self { trailers: SendWrapper::new(trailers), held: Bytes::new() }
    }

    /// Whether writes and flushes have to come this way now.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.trailers.are_waiting()
    }

    /// Writes what the codec wants to write, but for the last chunk.
    ///
    /// # Errors
    /// As the connection's.
    pub fn poll_write<IO: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut IO,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        // Something follows: what was held looked like a last chunk and was none.
        ready!(self.poll_held(cx, io))?;
        match buf.strip_suffix(LAST_CHUNK) {
            Some([]) => {
                self.held = Bytes::from_static(LAST_CHUNK);
                Poll::Ready(Ok(LAST_CHUNK.len()))
            }
            Some(before) => Pin::new(io).poll_write(cx, before),
            None => Pin::new(io).poll_write(cx, buf),
        }
    }

    /// The codec has nothing more: what is held is the last chunk.
    ///
    /// # Errors
    /// As the connection's.
    pub fn poll_flush<IO: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, io: &mut IO) -> Poll<io::Result<()>> {
        if &*self.held == LAST_CHUNK
            && let Some(fields) = self.trailers.fields.borrow_mut().as_mut()
        {
            self.held = [&LAST_CHUNK[..LAST_SIZE], fields, &LAST_CHUNK[LAST_SIZE..]].concat().into();
            fields.clear();
        }
        let completes = !self.held.is_empty();
        ready!(self.poll_held(cx, io))?;
        if completes {
            self.trailers.fields.replace(None);
            if let Some(waker) = self.trailers.waiting.take() {
                waker.wake();
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_held<IO: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, io: &mut IO) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let count = ready!(Pin::new(&mut *io).poll_write(cx, &self.held))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.advance(count);
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use http::HeaderValue;

    use super::*;

    /// A connection that takes one byte at a time.
    #[derive(Default)]
    struct Slow(Vec<u8>);

    impl AsyncWrite for Slow {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.0.extend(buf.first());
            Poll::Ready(Ok(buf.len().min(1)))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    async fn written(fields: &[(&'static str, &'static str)], buffers: &[&[u8]]) -> String {
        let trailers = Rc::new(Trailers::default());
        let map: HeaderMap =
            fields.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect();
        trailers.put(&map);
        let (mut last, mut io) = (LastChunk::new(Rc::clone(&trailers)), Slow::default());
        for buffer in buffers {
            let mut rest = *buffer;
            while !rest.is_empty() {
                let count = poll_fn(|cx| last.poll_write(cx, &mut io, rest)).await.unwrap();
                rest = &rest[count..];
            }
        }
        poll_fn(|cx| last.poll_flush(cx, &mut io)).await.unwrap();
        trailers.written().await;
        String::from_utf8(io.0).unwrap()
    }

    #[tokio::test]
    async fn the_last_chunk_carries_them() {
        let text = written(&[("x-a", "1"), ("x-b", "2")], &[b"5\r\nhello", b"\r\n0\r\n\r\n"]).await;
        assert_eq!(text, "5\r\nhello\r\n0\r\nx-a: 1\r\nx-b: 2\r\n\r\n");
    }

    #[tokio::test]
    async fn data_that_looks_like_a_last_chunk_is_data() {
        let text = written(&[("x-a", "1")], &[b"5\r\n", b"0\r\n\r\n", b"\r\n", b"0\r\n\r\n"]).await;
        assert_eq!(text, "5\r\n0\r\n\r\n\r\n0\r\nx-a: 1\r\n\r\n");
    }

    #[test]
    fn framing_is_no_trailer() {
        let trailers = Trailers::default();
        let names = ["content-length", "transfer-encoding", "host", "trailer"];
        trailers.put(&names.iter().map(|n| (HeaderName::from_static(n), HeaderValue::from_static("1"))).collect());
        assert!(!trailers.are_waiting());
    }
}
