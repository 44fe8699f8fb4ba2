//! An upstream connection that tells when bytes of a request have gone out (the shadow of a request starts then, not before), and what the
//! endpoint says before its final answer.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use send_wrapper::SendWrapper;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::Notify,
};

use super::interim::{Interims, Listener};

/// Says when the next write has happened. One per connection, used by one request at a time.
#[derive(Clone, Debug, Default)]
pub struct WriteWatch(Rc<Watch>);

#[derive(Debug, Default)]
struct Watch {
    armed: Cell<bool>,
    written: Notify,
    given_up: Cell<bool>,
    abandon: Notify,
    /// Where informational answers go, until the final one begins.
    interims: RefCell<Option<Rc<Interims>>>,
}

impl WriteWatch {
    /// Call before the request is handed to the connection. What the endpoint says before its final answer goes to `interims`.
    pub fn arm(&self, interims: Option<Rc<Interims>>) {
        self.0.armed.set(true);
        self.0.interims.replace(interims);
    }

    /// Resolves after the first write since [`WriteWatch::arm`].
    pub async fn written(&self) {
        while self.0.armed.get() {
            self.0.written.notified().await;
        }
    }

    /// Nobody wants the connection any more: whoever drives it lets go of it, and its end is a reset, so that the kernel does not keep what is
    /// unsent for a peer that may never take it.
    pub fn give_up(&self) {
        self.0.given_up.set(true);
        self.0.abandon.notify_one();
    }

    /// Resolves after [`WriteWatch::give_up`].
    pub async fn given_up(&self) {
        self.0.abandon.notified().await;
    }

    fn wrote(&self) {
        if self.0.armed.replace(false) {
            self.0.written.notify_one();
        }
    }
}

/// A TCP connection with a [`WriteWatch`].
#[derive(Debug)]
pub struct Watched {
    stream: TcpStream,
    watch: SendWrapper<WriteWatch>,
    listener: Listener,
}

impl Watched {
    /// The connection, and the watch on it.
    #[must_use]
    pub fn new(stream: TcpStream) -> (Self, WriteWatch) {
        let watch = WriteWatch::default();
        (Self { stream, watch: SendWrapper::new(watch.clone()), listener: Listener::default() }, watch)
    }

    fn note(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(result, Poll::Ready(Ok(count)) if count > 0) {
            self.watch.wrote();
        }
        result
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.watch.0.given_up.get() {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(cx, buf);
        let mut interims = this.watch.0.interims.borrow_mut();
        if let (Some(to), Some(bytes @ [_, ..])) = (&*interims, buf.filled().get(before..))
            && !this.listener.hear(bytes, to)
        {
            *interims = None;
        }
        drop(interims);
        result
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
