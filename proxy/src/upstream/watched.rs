//! An upstream connection that tells when bytes of a request have gone out. The shadow of a request starts then, not before.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::Notify,
};

/// Says when the next write has happened. One per connection, used by one request at a time.
#[derive(Clone, Debug, Default)]
pub struct WriteWatch(Arc<Watch>);

#[derive(Debug, Default)]
struct Watch {
    armed: AtomicBool,
    written: Notify,
    given_up: AtomicBool,
    abandon: Notify,
}

impl WriteWatch {
    /// Call before the request is handed to the connection.
    pub fn arm(&self) {
        self.0.armed.store(true, Ordering::Relaxed);
    }

    /// Resolves after the first write since [`WriteWatch::arm`].
    pub async fn written(&self) {
        while self.0.armed.load(Ordering::Relaxed) {
            self.0.written.notified().await;
        }
    }

    /// Nobody wants the connection any more: whoever drives it lets go of it, and its end is a reset, so that the kernel does not keep what is
    /// unsent for a peer that may never take it.
    pub fn give_up(&self) {
        self.0.given_up.store(true, Ordering::Relaxed);
        self.0.abandon.notify_one();
    }

    /// Resolves after [`WriteWatch::give_up`].
    pub async fn given_up(&self) {
        self.0.abandon.notified().await;
    }

    fn wrote(&self) {
        if self.0.armed.load(Ordering::Relaxed) {
            self.0.armed.store(false, Ordering::Relaxed);
            self.0.written.notify_one();
        }
    }
}

/// A TCP connection with a [`WriteWatch`].
#[derive(Debug)]
pub struct Watched {
    stream: TcpStream,
    watch: WriteWatch,
}

impl Watched {
    /// The connection, and the watch on it.
    #[must_use]
    pub fn new(stream: TcpStream) -> (Self, WriteWatch) {
        let watch = WriteWatch::default();
        (Self { stream, watch: watch.clone() }, watch)
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
        if self.watch.0.given_up.load(Ordering::Relaxed) {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
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
