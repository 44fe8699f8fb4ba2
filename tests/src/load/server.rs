//! A server that carries many connections on one thread, keeps nothing of what it reads, and behaves as it is told.
//!
//! Comes in: connections, and a [`Manner`] that may change at any time. Goes out: answers as [`exchange`] has them, or the misbehaviour, and
//! counts of what it saw.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, Interest},
    net::TcpStream,
    sync::{oneshot, watch},
    time::sleep,
};

use super::exchange;
use crate::{
    http::{self, Framing},
    netns::Netns,
    theatre::noise,
    wire,
};

/// What the server does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Reads it whole and answers 200.
    Answers,
    /// Reads it whole and answers 500.
    Answers500,
    /// Accepts, and reads nothing more.
    NeverReads,
    /// Reads one byte a second.
    ReadsAByteASecond,
    /// Reads it whole and never answers.
    Hangs,
    /// Reads the head and the first bytes of a body, and resets the connection.
    ResetsMidBody,
    /// Answers half of what it promised, and closes.
    DiesMidAnswer,
    /// Answers 200 as soon as the head is there; reads the body after that.
    AnswersEarly,
    /// Answers with 1 GiB.
    AnswersAGibibyte,
}

/// What the server saw.
#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    broken: AtomicU64,
    open: AtomicU64,
}

/// A running server; it and its connections end when it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    manner: watch::Sender<Manner>,
    counts: Arc<Counts>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens in a namespace. `who` is what it calls itself in its answers.
    ///
    /// # Errors
    /// When the address is taken.
    pub fn start(netns: &Netns, address: SocketAddr, who: &'static str, manner: Manner) -> Result<Self> {
        let listener = netns.run(|| {
            let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
            // The standard library's queue of 128 is shorter than the bursts of the load.
            nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(4096)?)?;
            Ok(listener)
        })?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (manner, seen) = watch::channel(manner);
        let (end, ended) = oneshot::channel();
        let counts = Arc::<Counts>::default();
        let thread = thread::spawn({
            let counts = Arc::clone(&counts);
            move || runtime.block_on(accept(listener, who, seen, counts, ended))
        });
        Ok(Self { address, manner, counts, end: Some(end), thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From the next request on, behaves like this. Requests that an earlier manner holds are reset.
    pub fn behave(&self, manner: Manner) {
        self.manner.send_replace(manner);
    }

    /// Heads of requests so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.counts.requests.load(Ordering::Relaxed)
    }

    /// Uploads so far whose bytes were not what was sent.
    #[must_use]
    pub fn broken(&self) -> u64 {
        self.counts.broken.load(Ordering::Relaxed)
    }

    /// Connections that are open on its side.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.counts.open.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(
    listener: TcpListener,
    who: &'static str,
    manner: watch::Receiver<Manner>,
    counts: Arc<Counts>,
    mut end: oneshot::Receiver<()>,
) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut end => return,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors: others will close.
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        counts.open.fetch_add(1, Ordering::Relaxed);
        let connection =
            Connection { stream, who, manner: manner.clone(), counts: Arc::clone(&counts), unread: Vec::new() };
        tokio::spawn(async move {
            let counts = Arc::clone(&connection.counts);
            // The connection's end is the client's to notice.
            let _ = connection.serve().await;
            counts.open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

struct Connection {
    stream: TcpStream,
    who: &'static str,
    manner: watch::Receiver<Manner>,
    counts: Arc<Counts>,
    unread: Vec<u8>,
}

/// A request's head.
struct Head {
    path: String,
    length: usize,
}

impl Connection {
    async fn serve(mut self) -> Result<()> {
        loop {
            let manner = *self.manner.borrow_and_update();
            if matches!(manner, Manner::NeverReads | Manner::ReadsAByteASecond) {
                return self.hold(manner == Manner::ReadsAByteASecond).await;
            }
            let Some(head) = self.head().await? else { return Ok(()) };
            // It may have changed while the connection was idle.
            let manner = *self.manner.borrow_and_update();
            match manner {
                Manner::Answers => {
                    let intact = self.body(head.length).await?;
                    self.stream.write_all(&exchange::answer(self.who, &head.path, head.length, intact)).await?;
                }
                Manner::Answers500 => {
                    self.body(head.length).await?;
                    let answer = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 5\r\n\r\noops\n";
                    self.stream.write_all(answer).await?;
                }
                Manner::NeverReads => return self.hold(false).await,
                Manner::ReadsAByteASecond => return self.hold(true).await,
                Manner::Hangs => {
                    self.body(head.length).await?;
                    return self.hold(false).await;
                }
                Manner::ResetsMidBody => {
                    if head.length > self.unread.len() {
                        self.more().await?;
                    }
                    return wire::reset_on_close(&self.stream);
                }
                Manner::DiesMidAnswer => {
                    self.body(head.length).await?;
                    let answer = exchange::answer(self.who, &head.path, head.length, true);
                    self.stream.write_all(&answer[..answer.len() - 100]).await?;
                    return Ok(());
                }
                Manner::AnswersEarly => {
                    self.stream.write_all(&exchange::answer(self.who, &head.path, 0, true)).await?;
                    self.body(head.length).await?;
                }
                Manner::AnswersAGibibyte => {
                    self.body(head.length).await?;
                    return self.gibibyte().await;
                }
            }
        }
    }

    /// The next request's head; `None` when the client has closed.
    async fn head(&mut self) -> Result<Option<Head>> {
        let end = loop {
            if let Some(end) = http::head_end(&self.unread) {
                break end;
            }
            if self.more().await? == 0 {
                return Ok(None);
            }
        };
        let text = String::from_utf8_lossy(&self.unread[..end]).into_owned();
        self.unread.drain(..end);
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        let path = text.split(' ').nth(1).context("no path")?.to_owned();
        let length = if let Framing::Length(length) = http::framing(&text)? { length } else { 0 };
        Ok(Some(Head { path, length }))
    }

    /// Reads a body; is it what the load sends?
    async fn body(&mut self, length: usize) -> Result<bool> {
        let wanted = exchange::upload();
        let (mut at, mut intact) = (0, true);
        loop {
            let part = self.unread.len().min(length - at);
            intact &= wanted.get(at..at + part) == Some(&self.unread[..part]);
            self.unread.drain(..part);
            at += part;
            if at == length {
                break;
            }
            anyhow::ensure!(self.more().await? > 0, "the client broke off");
        }
        if !intact {
            self.counts.broken.fetch_add(1, Ordering::Relaxed);
        }
        Ok(intact)
    }

    async fn more(&mut self) -> Result<usize> {
        if self.unread.capacity() < 32 * 1024 {
            self.unread.reserve(64 * 1024);
        }
        Ok(self.stream.read_buf(&mut self.unread).await?)
    }

    /// Keeps the connection, unread or nearly so, until the client resets it or the manner changes; then it is reset from here.
    async fn hold(mut self, a_byte_a_second: bool) -> Result<()> {
        // A quiet connection is to cost little: there may be many.
        self.unread = Vec::new();
        let changed = self.manner.changed();
        tokio::pin!(changed);
        loop {
            tokio::select! {
                _ = &mut changed => return wire::reset_on_close(&self.stream),
                // The client's reset; that it merely closed does not show without reading.
                _ = self.stream.ready(Interest::ERROR) => return Ok(()),
                () = sleep(Duration::from_secs(1)), if a_byte_a_second => {
                    if self.stream.read(&mut [0]).await? == 0 {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn gibibyte(mut self) -> Result<()> {
        const GIBIBYTE: usize = 1 << 30;
        let chunk = noise(64 * 1024);
        self.stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {GIBIBYTE}\r\n\r\n").as_bytes()).await?;
        for _ in 0..GIBIBYTE / chunk.len() {
            self.stream.write_all(&chunk).await?;
        }
        Ok(())
    }
}
