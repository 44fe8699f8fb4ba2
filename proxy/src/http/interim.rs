//! `100 Continue` on the client's connection: said when the endpoint says it, and only then (RFC 9110, 10.1.1).
//!
//! hyper's server says 100 by itself as soon as somebody polls the body. [`ClientIo`] holds that line back; the endpoint's own 100 releases it,
//! and the final answer discards it. Nothing waits: the body is polled at once, so a client that does not wait for a 100 (or gives up waiting)
//! is served as without us.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Waker, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What hyper writes, byte for byte.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

const IDLE: u8 = 0;
/// The next 100 that hyper writes is held back.
const ARMED: u8 = 1;
/// It is being held.
const HELD: u8 = 2;
/// The endpoint has said it: it may go out.
const RELEASED: u8 = 3;

/// The request's side of it; one per client connection.
#[derive(Debug, Default)]
pub struct Interim {
    state: AtomicU8,
    /// hyper's task, while it waits for the body. Only locked for requests that expect a 100.
    reader: Mutex<Option<Waker>>,
}

impl Interim {
    /// A request expects a 100: from now on it takes the endpoint's word.
    pub fn arm(&self) {
        self.state.store(ARMED, Ordering::Relaxed);
    }

    /// The endpoint has said 100.
    pub fn release(&self) {
        // Not held yet: hyper's own will pass.
        if self.state.compare_exchange(ARMED, IDLE, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            return;
        }
        if self.state.compare_exchange(HELD, RELEASED, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let waker = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    fn wake_later(&self, cx: &Context<'_>) {
        *self.reader.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
    }

    /// The final answer is there.
    pub fn disarm(&self) {
        // A released line that is not out yet goes out before the answer.
        for state in [ARMED, HELD] {
            let _ = self.state.compare_exchange(state, IDLE, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

/// The client's connection as hyper sees it.
#[derive(Debug)]
pub struct ClientIo<IO> {
    inner: IO,
    interim: Arc<Interim>,
    /// How much of a released line is out.
    written: usize,
}

impl<IO> ClientIo<IO> {
    /// Over the client's connection.
    #[must_use]
    pub fn new(inner: IO, interim: Arc<Interim>) -> Self {
        Self { inner, interim, written: 0 }
    }
}

impl<IO: AsyncWrite + Unpin> ClientIo<IO> {
    /// Writes a released line, if there is one.
    fn poll_release(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.interim.state.load(Ordering::Relaxed) == RELEASED {
            self.written += ready!(Pin::new(&mut self.inner).poll_write(cx, &CONTINUE[self.written..]))?;
            if self.written >= CONTINUE.len() {
                self.written = 0;
                self.interim.state.store(IDLE, Ordering::Relaxed);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for ClientIo<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.interim.state.load(Ordering::Relaxed) == HELD {
            this.interim.wake_later(cx);
        }
        if let Poll::Ready(Err(error)) = this.poll_release(cx) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut this.inner).poll_read(cx, buf)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for ClientIo<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_release(cx))?;
        if self.interim.state.load(Ordering::Relaxed) == ARMED
            && let Some(before) = buf.strip_suffix(CONTINUE)
        {
            // What is left of an answer before goes first; then there is nothing but the line.
            if !before.is_empty() {
                return Pin::new(&mut self.inner).poll_write(cx, before);
            }
            // hyper writes the line after it has asked for the body: nothing else may wake it until the endpoint speaks.
            self.interim.wake_later(cx);
            self.interim.state.store(HELD, Ordering::Relaxed);
            return Poll::Ready(Ok(buf.len()));
        }
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.interim.state.load(Ordering::Relaxed) != IDLE {
            let first = bufs.iter().find(|buf| !buf.is_empty());
            return self.poll_write(cx, first.map_or(&[], |buf| buf));
        }
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    async fn received(mut far: tokio::io::DuplexStream) -> String {
        let mut text = String::new();
        far.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn a_held_line_goes_out_when_the_endpoint_says_it() {
        let (near, mut far) = duplex(1024);
        let interim = Arc::new(Interim::default());
        let mut io = ClientIo::new(near, Arc::clone(&interim));
        interim.arm();
        io.write_all(CONTINUE).await.unwrap();
        let reading = tokio::spawn(async move {
            let mut byte = [0];
            io.read_exact(&mut byte).await.unwrap();
            io
        });
        tokio::task::yield_now().await;
        interim.release();
        let mut line = [0; CONTINUE.len()];
        far.read_exact(&mut line).await.unwrap();
        assert_eq!(line, CONTINUE);
        far.write_all(b"x").await.unwrap();
        drop(reading.await.unwrap());
        assert_eq!(received(far).await, "");
    }

    #[tokio::test]
    async fn who_has_asked_for_the_body_before_the_line_was_held_is_woken() {
        let (near, mut far) = duplex(1024);
        let interim = Arc::new(Interim::default());
        let mut io = ClientIo::new(near, Arc::clone(&interim));
        interim.arm();
        let mut wrote = false;
        let task = tokio::spawn(std::future::poll_fn(move |cx| {
            let mut byte = [0];
            let mut buf = ReadBuf::new(&mut byte);
            let read = Pin::new(&mut io).poll_read(cx, &mut buf).map(|_| buf.filled().len());
            if !std::mem::replace(&mut wrote, true) {
                assert!(Pin::new(&mut io).poll_write(cx, CONTINUE).is_ready());
            }
            read
        }));
        tokio::task::yield_now().await;
        interim.release();
        let mut line = [0; CONTINUE.len()];
        far.read_exact(&mut line).await.unwrap();
        assert_eq!(line, CONTINUE);
        far.write_all(b"x").await.unwrap();
        assert_eq!(task.await.unwrap(), 1);
    }

    #[tokio::test]
    async fn the_final_answer_discards_a_held_line() {
        let (near, far) = duplex(1024);
        let interim = Arc::new(Interim::default());
        let mut io = ClientIo::new(near, Arc::clone(&interim));
        interim.arm();
        io.write_all(&[b"rest of the answer before", CONTINUE].concat()).await.unwrap();
        interim.disarm();
        io.write_all(b"HTTP/1.1 417 \r\n\r\n").await.unwrap();
        drop(io);
        assert_eq!(received(far).await, "rest of the answer beforeHTTP/1.1 417 \r\n\r\n");
    }

    #[tokio::test]
    async fn without_an_expectation_nothing_is_held() {
        let (near, far) = duplex(1024);
        let interim = Arc::new(Interim::default());
        let mut io = ClientIo::new(near, Arc::clone(&interim));
        interim.arm();
        // The endpoint was faster than hyper: its word stands for the line that hyper is about to write.
        interim.release();
        io.write_all(CONTINUE).await.unwrap();
        drop(io);
        assert_eq!(received(far).await.as_bytes(), CONTINUE);
    }
}
