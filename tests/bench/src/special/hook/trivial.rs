//! A proxy that does as little as a proxy can: accept, find out where the connection wanted to go, connect there, copy both ways. What stands
//! before it, the hook or REDIRECT, makes one difference to it: whom it asks.
//!
//! Two threads accept from one listener, each with a runtime of its own, as our workers have.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener as Listener},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result};
use integration::netns;
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpSocket, TcpStream},
    runtime::{Builder, LocalOptions},
    task::spawn_local,
};
use tokio_util::sync::CancellationToken;
use understudy::{
    capture::Origins,
    net::{Mark, NetnsCookie, addr::ClientAddr},
};

const THREADS: usize = 2;

/// Who knows where a connection wanted to go.
pub(super) enum Asked {
    /// The kernel's table of translated connections.
    Tracking,
    /// What our hook wrote down.
    Hook(Origins, NetnsCookie),
}

impl Asked {
    fn about(&self, stream: &TcpStream, peer: SocketAddr) -> Result<SocketAddr> {
        match self {
            Self::Tracking => {
                let original = getsockopt(stream, sockopt::OriginalDst)?;
                let ip = IpAddr::from(u32::from_be(original.sin_addr.s_addr).to_be_bytes());
                Ok((ip, u16::from_be(original.sin_port)).into())
            }
            Self::Hook(origins, pod) => {
                let origin = origins.of(*pod, ClientAddr(peer), stream.local_addr()?)?;
                Ok(origin.context("the hook knows nothing of this connection")?.destination.0)
            }
        }
    }
}

/// A running proxy.
pub(super) struct Trivial {
    stop: CancellationToken,
    carried: Arc<AtomicU64>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Trivial {
    pub(super) fn new() -> Self {
        Self { stop: CancellationToken::new(), carried: Arc::default(), threads: Mutex::default() }
    }

    /// Serves a listener of a pod, with one who can be asked for each thread.
    pub(super) fn serve(&self, pod: &Path, listener: &Listener, asked: impl Fn() -> Result<Asked>) -> Result<()> {
        listener.set_nonblocking(true)?;
        for _ in 0..THREADS {
            let (listener, asked) = (listener.try_clone()?, asked()?);
            let (stop, carried) = (self.stop.clone(), Arc::clone(&self.carried));
            // A thread is in the namespace of the one that makes it.
            let thread = netns::run_in(pod, || {
                Ok(thread::spawn(move || {
                    if let Err(error) = run(listener, asked, &stop, &carried) {
                        eprintln!("the trivial proxy has ended: {error:#}");
                    }
                }))
            })?;
            self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        Ok(())
    }

    /// Connections that it has brought where they wanted to go.
    pub(super) fn carried(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }
}

impl Drop for Trivial {
    fn drop(&mut self) {
        self.stop.cancel();
        for thread in self.threads.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = thread.join();
        }
    }
}

fn run(listener: Listener, asked: Asked, stop: &CancellationToken, carried: &Arc<AtomicU64>) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, peer) = tokio::select! {
                accepted = listener.accept() => accepted?,
                () = stop.cancelled() => return Ok(()),
            };
            let to = match asked.about(&stream, peer) {
                Ok(to) => to,
                Err(error) => {
                    eprintln!("the trivial proxy does not know where to: {error:#}");
                    continue;
                }
            };
            let carried = Arc::clone(carried);
            spawn_local(async move {
                // Who breaks a connection has his reasons; the load counts what it misses.
                if carry(stream, to).await.is_ok() {
                    carried.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    })
}

async fn carry(mut client: TcpStream, to: SocketAddr) -> io::Result<()> {
    client.set_nodelay(true)?;
    let socket = TcpSocket::new_v4()?;
    // The packet filter and the hook let pass what carries it.
    setsockopt(&socket, sockopt::Mark, &Mark::default().value)?;
    let mut server = socket.connect(to).await?;
    server.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
