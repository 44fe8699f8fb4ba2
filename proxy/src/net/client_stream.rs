//! The application's end of a captured connection, in several hands: the codec reads and writes, others watch whether it is still there or
//! reset it.

use std::{
    io,
    net::Shutdown,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

/// When the kernel begins to ask a silent client whether it is still there, and how often: a client that has closed entirely answers with a
/// reset, one that has only closed its own direction does not.
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));

/// A shared TCP connection. One task at a time reads, one writes.
#[derive(Clone, Debug)]
pub struct ClientStream(Arc<Socket>);

/// The marks are plain stores; whoever wants to know takes them away.
#[derive(Debug)]
struct Socket {
    stream: TcpStream,
    read: AtomicBool,
    wrote: AtomicBool,
}

impl ClientStream {
    /// Sets the connection up for a proxy: no waiting for more bytes, and probes while it is silent.
    ///
    /// # Errors
    /// If the connection is gone already.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE)?;
        Ok(Self(Arc::new(Socket { stream, read: AtomicBool::new(false), wrote: AtomicBool::new(false) })))
    }

    /// Whether bytes have been read since the last time that somebody asked.
    pub fn take_read(&self) -> bool {
        self.0.read.swap(false, Ordering::Relaxed)
    }

    /// Whether bytes have been written since the last time that somebody asked.
    pub fn take_wrote(&self) -> bool {
        self.0.wrote.swap(false, Ordering::Relaxed)
    }

    /// Resolves when the connection is broken (reset, or the client is gone), also while nobody reads. Half a close is no break.
    pub async fn broken(&self) {
        if self.0.stream.ready(Interest::ERROR).await.is_err() {
            std::future::pending().await
        }
    }

    /// Closes with RST instead of FIN as soon as nobody holds it any more.
    pub fn reset(&self) {
        // A failure means that the peer has reset it already.
        let _ = self.0.stream.set_zero_linger();
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let stream = &self.0.stream;
            ready!(stream.poll_read_ready(cx))?;
            // Not `try_read`: that would want the buffer initialised, which is a page or two for each read.
            match stream.try_read_buf(buf) {
                Ok(count) => {
                    if count > 0 {
                        self.0.read.store(true, Ordering::Relaxed);
                    }
                    if count > 0 && buf.remaining() > 0 {
                        // That was everything; more comes with another event (epoll(7), question 9). Without this word the next read would ask for nothing.
                        // The runtime hears of events in this thread, so none has come in between.
                        let _: io::Result<()> =
                            stream.try_io(Interest::READABLE, || Err(io::ErrorKind::WouldBlock.into()));
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl ClientStream {
    fn poll_try(
        &self,
        cx: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.stream.poll_write_ready(cx))?;
            match write(&self.0.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => {
                    self.0.wrote.store(true, Ordering::Relaxed);
                    return Poll::Ready(result);
                }
            }
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_try(cx, |stream| stream.try_write(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_try(cx, |stream| stream.try_write_vectored(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match SockRef::from(&self.0.stream).shutdown(Shutdown::Write) {
            // The peer was faster.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    async fn pair() -> (TcpStream, ClientStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (far, ClientStream::new(listener.accept().await.unwrap().0).unwrap())
    }

    #[tokio::test]
    async fn a_reset_is_noticed_while_nobody_reads() {
        let (far, near) = pair().await;
        far.set_zero_linger().unwrap();
        drop(far);
        near.broken().await;
    }

    #[tokio::test]
    async fn half_a_close_is_no_break() {
        let (mut far, mut near) = pair().await;
        far.write_all(b"last words").await.unwrap();
        far.shutdown().await.unwrap();
        let mut read = String::new();
        near.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "last words");
        tokio::select! {
            biased;
            () = near.broken() => panic!("taken for broken"),
            () = tokio::task::yield_now() => {}
        }
        near.write_all(b"answer").await.unwrap();
        near.shutdown().await.unwrap();
        let mut answer = String::new();
        far.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer");
    }
}
