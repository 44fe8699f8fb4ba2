//! Informational answers on the client's connection: the endpoint's, in order, before the final answer, and no others (RFC 9110, 15.2).
//!
//! hyper's server knows only one and says it by itself: `100 Continue`, as soon as somebody polls a body that the client announced with
//! `Expect`. [`ClientIo`] swallows that line and writes what `upstream::interim` heard of the endpoint instead, between two messages. Nothing
//! waits: the body is polled at once, so a client that does not wait for a 100 (or gives up waiting) is served as without us.
//!
//! What stands between two messages: hyper flushes its IO only when it has written everything that it has, and it tries to write whatever it
//! has before it reads on. So after a flush, and before the next attempt to write, a request under way has nothing of its answer before us.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use http::{Version, header::EXPECT, request::Parts};
use send_wrapper::SendWrapper;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    codec::trailers::{Trailers, WithTrailers},
    upstream::interim::Interims,
};

/// What hyper writes, byte for byte.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The requests' side of it; one per client connection, shared on its worker.
#[derive(Debug, Default)]
pub struct Interim {
    endpoints: Rc<Interims>,
    /// Trailers of the answer that is being written.
    trailers: Rc<Trailers>,
    /// The request under way may be answered with 1xx: its client speaks 1.1 (RFC 9110, 15.2).
    relays: Cell<bool>,
    /// If hyper's next words are its own 100, they are not said.
    swallows: Cell<bool>,
    /// hyper has tried to write since its last flush.
    writing: Cell<bool>,
    /// A request that waits for that flush.
    waiting: RefCell<Option<Waker>>,
}

impl Interim {
    /// A request has come. One behind an answer with trailers waits until those are out, so that they get into the last chunk of their own answer.
    /// One that expects a 100 waits until the answer before it has left hyper's buffer, so that hyper's own 100 is known by its place and not by
    /// its looks, which a body could have as well.
    pub async fn begin(&self, head: &Parts) {
        self.trailers.written().await;
        self.relays.set(head.version == Version::HTTP_11);
        let expects = self.relays.get() && head.headers.contains_key(EXPECT);
        if expects {
            poll_fn(|cx| {
                if !self.writing.get() {
                    return Poll::Ready(());
                }
                *self.waiting.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            })
            .await;
        }
        self.swallows.set(expects);
    }

    /// Where an endpoint's informational answers go; `None` if the client could not read them.
    #[must_use]
    pub fn relay(&self) -> Option<Rc<Interims>> {
        self.relays.get().then(|| Rc::clone(&self.endpoints))
    }

    /// Where the answer puts its trailers; `None` if its client knows no chunks.
    #[must_use]
    pub fn trailers(&self) -> Option<Rc<Trailers>> {
        self.relays.get().then(|| Rc::clone(&self.trailers))
    }

    /// Whether nothing has been begun on the connection that is not written to its end.
    #[must_use]
    pub fn is_between_messages(&self) -> bool {
        !self.writing.get() && self.endpoints.is_empty()
    }

    fn flushed(&self) {
        if self.writing.replace(false)
            && let Some(request) = self.waiting.take()
        {
            request.wake();
        }
    }
}

/// The client's connection as hyper sees it.
#[derive(Debug)]
pub struct ClientIo<IO> {
    inner: WithTrailers<IO>,
    interim: SendWrapper<Rc<Interim>>,
}

impl<IO> ClientIo<IO> {
    /// Over the client's connection.
    #[must_use]
    pub fn new(inner: IO, interim: Rc<Interim>) -> Self {
        let inner = WithTrailers::new(inner, Rc::clone(&interim.trailers));
        Self { inner, interim: SendWrapper::new(interim) }
    }
}

impl<IO: AsyncWrite + Unpin> ClientIo<IO> {
    /// Before hyper writes `bytes`: what the endpoint has said comes first. Returns how many of the bytes are not to be written.
    fn poll_before(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.interim.writing.get() {
            ready!(self.interim.endpoints.poll_write(cx, &mut self.inner))?;
            if self.interim.swallows.replace(false) && bytes.starts_with(CONTINUE) {
                return Poll::Ready(Ok(CONTINUE.len()));
            }
            self.interim.writing.set(true);
        }
        Poll::Ready(Ok(0))
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for ClientIo<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for ClientIo<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match ready!(self.poll_before(cx, buf))? {
            0 => Pin::new(&mut self.inner).poll_write(cx, buf),
            swallowed => Poll::Ready(Ok(swallowed)),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // hyper's own 100 stands in its buffer of heads, which comes first, and whole.
        match ready!(self.poll_before(cx, bufs.first().map_or(&[], |buf| buf)))? {
            0 => Pin::new(&mut self.inner).poll_write_vectored(cx, bufs),
            swallowed => Poll::Ready(Ok(swallowed)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(Pin::new(&mut this.inner).poll_flush(cx))?;
        this.interim.flushed();
        this.interim.endpoints.wake_later(cx);
        ready!(this.interim.endpoints.poll_write(cx, &mut this.inner))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
