//! An upstream connection that tells when bytes of a request have gone out (the shadow of a request starts then, not before), and what the
//! endpoint says before its final answer.

use std::{
    cell::{Cell, RefCell},
    fmt, io,
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

/// Says when the next write has happened. One per connection; over HTTP/2, several requests wait for it at a time.
#[derive(Clone, Debug, Default)]
pub struct WriteWatch(Rc<Watch>);

/// How many writes a connection had seen at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writes(u64);

/// Hears when a request's head goes out.
pub trait Witness: fmt::Debug {
    /// This was written, or its first bytes were: the head, and nothing else.
    fn saw(&self, head: &[u8]);
}

#[derive(Debug, Default)]
struct Watch {
    writes: Cell<u64>,
    /// Somebody waits for the next.
    awaited: Cell<bool>,
    written: Notify,
    given_up: Cell<bool>,
    abandon: Notify,
    /// Over HTTP/1: who hears of the next write.
    witness: RefCell<Option<Rc<dyn Witness>>>,
    /// Over HTTP/1: the next write is kept in `head`.
    keeps: Cell<bool>,
    head: RefCell<Vec<u8>>,
    /// Where informational answers go, until the final one begins.
    interims: RefCell<Option<Rc<Interims>>>,
}

impl WriteWatch {
    /// Call before a request is handed to an HTTP/1 connection: what the endpoint says before its final answer goes to `interims`.
    pub fn relay(&self, interims: Option<Rc<Interims>>) {
        self.0.interims.replace(interims);
    }

    /// Call before a request is handed to an HTTP/1 connection: the `witness` hears of its head, once it has gone out. If it is to be kept,
    /// [`WriteWatch::head`] has it from the first attempt to write it until the next request.
    pub fn attend(&self, witness: Option<Rc<dyn Witness>>, keep: bool) {
        self.0.witness.replace(witness);
        self.0.keeps.set(keep);
        self.0.head.borrow_mut().clear();
    }

    /// The head that was to be written last, if it was to be kept.
    #[must_use]
    pub fn head(&self) -> Vec<u8> {
        self.0.head.take()
    }

    /// Call before a request is handed to the connection.
    #[must_use]
    pub fn writes(&self) -> Writes {
        Writes(self.0.writes.get())
    }

    /// Resolves after the first write since `before`.
    pub async fn written(&self, before: Writes) {
        while self.writes() == before {
            self.0.awaited.set(true);
            self.0.written.notified().await;
        }
    }

    /// Nobody wants the connection any more: whoever drives it lets go of it, and its end is a reset, so that the kernel does not keep what is
    /// unsent for a peer that may never take it.
    pub fn give_up(&self) {
        self.0.given_up.set(true);
        self.0.abandon.notify_one();
    }

    /// Somebody has given up what the connection carried for him; others still use it.
    pub fn retire(&self) {
        self.0.given_up.set(true);
    }

    /// Whether it is given up, or will be with the last that use it.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.0.given_up.get()
    }

    /// Resolves after [`WriteWatch::give_up`].
    pub async fn given_up(&self) {
        self.0.abandon.notified().await;
    }

    /// `bytes` are the first of what is to be written. Kept before anybody knows whether they can be: a connection that was closed already takes none.
    fn tries(&self, bytes: &[u8]) {
        if self.0.keeps.replace(false) {
            self.0.head.borrow_mut().extend_from_slice(bytes);
        }
    }

    /// Part of `bytes`, which is the first of what was to be written.
    fn wrote(&self, bytes: &[u8]) {
        if let Some(witness) = self.0.witness.take() {
            witness.saw(bytes);
        }
        self.0.writes.set(self.0.writes.get().wrapping_add(1));
        if self.0.awaited.replace(false) {
            self.0.written.notify_waiters();
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

    fn note(&self, bytes: &[u8], result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(result, Poll::Ready(Ok(count)) if count > 0) {
            self.watch.wrote(bytes);
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
        self.watch.tries(buf);
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(buf, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = bufs.first().map_or(&[][..], |first| first);
        self.watch.tries(first);
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(first, result)
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
