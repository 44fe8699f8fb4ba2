//! Trailer fields behind a chunked HTTP/1 message, announced or not (RFC 9112, 7.1.2).
//!
//! Comes in: the trailers that a body ended with, and what the codec writes after them. Goes out: the same bytes, with the trailers in the last
//! chunk. Never: a change to a message without trailers.
//!
//! hyper writes only trailers that a `Trailer` field announces, and a server's only to a client that sent `TE: trailers`; Go, nginx and many
//! others send them unannounced. So the codec never hears of them ([`Trailers::put`] takes them out of the body, [`Trailing`] is a body that
//! does so by itself), and the last chunk that it writes for the body is completed on its way out ([`WithTrailers`]).

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
use http_body::{Body, Frame, SizeHint};
use send_wrapper::SendWrapper;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The last chunk without trailers, as hyper writes it: one buffer, the last before it flushes.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// Its part before the trailers.
const LAST_SIZE: usize = 3;

/// Fields that would change how the message is read (RFC 9110, 6.5.1).
pub(crate) const FRAMING: [HeaderName; 4] =
    [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::HOST, header::TRAILER];

/// Trailers as they are written, without those that would change how the message is read.
#[must_use]
pub fn lines(trailers: &HeaderMap) -> Bytes {
    let mut text = BytesMut::new();
    for (name, value) in trailers.iter().filter(|(name, _)| !FRAMING.contains(name)) {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            text.extend_from_slice(part);
        }
    }
    text.freeze()
}

/// The trailers of the message that is being written on a connection; shared by the message's body and the connection.
#[derive(Debug, Default)]
pub struct Trailers {
    fields: RefCell<Option<Bytes>>,
    waiting: RefCell<Option<Waker>>,
}

impl Trailers {
    /// The body has ended with these.
    pub fn put(&self, trailers: &HeaderMap) {
        let text = lines(trailers);
        if !text.is_empty() {
            self.fields.replace(Some(text));
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

/// A body whose trailers go to the connection that it is written on.
#[derive(Debug)]
pub struct Trailing<B> {
    body: B,
    place: Rc<Trailers>,
}

impl<B> Trailing<B> {
    /// A body for the connection whose place this is.
    #[must_use]
    pub fn new(body: B, place: Rc<Trailers>) -> Self {
        Self { body, place }
    }

    /// The body as it was.
    #[must_use]
    pub fn into_inner(self) -> B {
        self.body
    }
}

impl<B: Body + Unpin> Body for Trailing<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            self.place.put(trailers);
            return Poll::Ready(None);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection as the codec sees it: puts the trailers into the last chunk that is written on it.
#[derive(Debug)]
pub struct WithTrailers<IO> {
    inner: IO,
    trailers: SendWrapper<Rc<Trailers>>,
    /// What was taken from the codec and not written yet: a last chunk, unless more comes before the flush.
    held: Bytes,
}

impl<IO> WithTrailers<IO> {
    /// Over a connection whose bodies put their trailers there.
    #[must_use]
    pub fn new(inner: IO, trailers: Rc<Trailers>) -> Self {
        Self { inner, trailers: SendWrapper::new(trailers), held: Bytes::new() }
    }
}

impl<IO: AsyncWrite + Unpin> WithTrailers<IO> {
    /// Writes what the codec wants to write, but for the last chunk.
    fn poll_all_but_last(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        // Something follows: what was held looked like a last chunk and was none.
        ready!(self.poll_held(cx))?;
        // It stands behind the end of a line, or alone: a head may end in these bytes too, in the value of a field.
        let before = buf.strip_suffix(LAST_CHUNK).filter(|before| before.is_empty() || before.ends_with(b"\n"));
        match before {
            Some([]) => {
                self.held = Bytes::from_static(LAST_CHUNK);
                Poll::Ready(Ok(LAST_CHUNK.len()))
            }
            Some(before) => Pin::new(&mut self.inner).poll_write(cx, before),
            None => Pin::new(&mut self.inner).poll_write(cx, buf),
        }
    }

    /// The codec has nothing more: what is held is the last chunk.
    fn poll_last(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if &*self.held == LAST_CHUNK
            && let Some(fields) = self.trailers.fields.borrow_mut().as_mut()
        {
            self.held = [&LAST_CHUNK[..LAST_SIZE], fields, &LAST_CHUNK[LAST_SIZE..]].concat().into();
            fields.clear();
        }
        let completes = !self.held.is_empty();
        ready!(self.poll_held(cx))?;
        if completes {
            self.trailers.fields.replace(None);
            if let Some(waker) = self.trailers.waiting.take() {
                waker.wake();
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let count = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.held))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.advance(count);
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for WithTrailers<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for WithTrailers<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.trailers.are_waiting() {
            true => self.poll_all_but_last(cx, buf),
            false => Pin::new(&mut self.inner).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.trailers.are_waiting() {
            true => {
                let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
                self.poll_all_but_last(cx, first)
            }
            false => Pin::new(&mut self.inner).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_last(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use tokio::io::AsyncWriteExt as _;

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
        let mut io = WithTrailers::new(Slow::default(), Rc::clone(&trailers));
        for buffer in buffers {
            io.write_all(buffer).await.unwrap();
        }
        io.flush().await.unwrap();
        trailers.written().await;
        String::from_utf8(io.inner.0).unwrap()
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
