//! A server that carries many connections on one thread, keeps nothing of what it reads, and behaves as it is told. It speaks HTTP/1.1 and, with
//! prior knowledge, HTTP/2 on the same port.
//!
//! Comes in: connections, and a [`Manner`] that may change at any time. Goes out: answers as [`super::exchange`] has them, or the misbehaviour, and
//! counts of what it saw.

mod http1;
mod http2;

use std::{
    io,
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
    net::TcpStream,
    sync::{oneshot, watch},
    time::sleep,
};

use crate::netns::Netns;

/// What the server does with a request. What breaks a connection of HTTP/1 breaks a stream of HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Reads it whole and answers 200.
    Answers,
    /// Reads it whole and answers 500.
    Answers500,
    /// Accepts, and reads nothing more.
    NeverReads,
    /// Reads one byte a second; over HTTP/2, opens a stream's window by as much.
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

const GIBIBYTE: usize = 1 << 30;

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
        let (manner, counts) = (manner.clone(), Arc::clone(&counts));
        tokio::spawn(async move {
            // The connection's end is the client's to notice.
            let _ = serve(stream, who, manner, &counts).await;
            counts.open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

async fn serve(
    stream: TcpStream,
    who: &'static str,
    mut manner: watch::Receiver<Manner>,
    counts: &Arc<Counts>,
) -> Result<()> {
    let http2 = begins_http2(&stream).await?;
    let current = *manner.borrow_and_update();
    match current {
        Manner::NeverReads => http1::hold(stream, manner, false).await,
        _ if http2 => http2::serve(stream, who, manner, counts).await,
        _ => http1::serve(stream, who, manner, counts).await,
    }
}

/// Looks at the first bytes and leaves them where they are.
async fn begins_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; 3];
    loop {
        match stream.peek(&mut first).await? {
            0 => return Ok(false),
            3 => return Ok(&first == b"PRI"),
            _ => sleep(Duration::from_millis(1)).await,
        }
    }
}
