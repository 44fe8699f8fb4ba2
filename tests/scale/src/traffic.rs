//! Requests and shadows, with the moments at which they came: a client that asks all the time, and servers that note when they are asked.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use integration::{Pod, netns, wait};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream as Stream},
    task::LocalSet,
};

/// Between the beginnings of two requests of the client.
const PACE: Duration = Duration::from_millis(1);

/// When a server was asked, in nanoseconds after a common beginning; 0 = not yet.
#[derive(Debug)]
struct Seen {
    beginning: Instant,
    first: AtomicU64,
    last: AtomicU64,
}

impl Seen {
    fn note(&self) {
        let now = u64::try_from(self.beginning.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let _ = self.first.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        self.last.store(now, Ordering::Relaxed);
    }

    fn at(&self, moment: &AtomicU64) -> Option<Instant> {
        let nanos = Some(moment.load(Ordering::Relaxed)).filter(|nanos| *nanos > 0)?;
        Some(self.beginning + Duration::from_nanos(nanos))
    }
}

/// A server; it ends with its threads when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    seen: Arc<Seen>,
    _thread: Running,
}

/// A thread that is told to end and waited for.
#[derive(Debug)]
struct Running {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<u64>>>,
}

impl Running {
    fn start(pod: &Pod, body: impl FnOnce(&AtomicBool) -> Result<u64> + Send + 'static) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let (netns, told) = (pod.netns().path(), Arc::clone(&stop));
        let thread = thread::spawn(move || netns::run_in(&netns, || body(&told)));
        Self { stop, thread: Some(thread) }
    }

    fn end(&mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return Ok(0) };
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Server {
    /// Answers every request in a pod with 200.
    ///
    /// # Errors
    /// When the port is taken.
    pub(crate) fn start(pod: &Pod, port: u16) -> Result<Self> {
        let seen =
            Arc::new(Seen { beginning: Instant::now(), first: AtomicU64::default(), last: AtomicU64::default() });
        let noting = Arc::clone(&seen);
        let address = SocketAddr::from((pod.v4(), port));
        let thread = Running::start(pod, move |stop| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            LocalSet::new().block_on(&runtime, async {
                let listener =
                    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
                while !stop.load(Ordering::Relaxed) {
                    let Ok(accepted) = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await else {
                        continue;
                    };
                    tokio::task::spawn_local(serve(accepted?.0, Arc::clone(&noting)));
                }
                Ok(0)
            })
        });
        Ok(Self { seen, _thread: thread })
    }

    /// Forgets what it saw.
    pub(crate) fn forget(&self) {
        self.seen.first.store(0, Ordering::Relaxed);
        self.seen.last.store(0, Ordering::Relaxed);
    }

    /// When it was asked for the first time since then.
    pub(crate) fn first(&self) -> Option<Instant> {
        self.seen.at(&self.seen.first)
    }

    /// When it was asked last.
    pub(crate) fn last(&self) -> Option<Instant> {
        self.seen.at(&self.seen.last)
    }
}

async fn serve(mut stream: Stream, seen: Arc<Seen>) -> Option<()> {
    let (mut heard, mut buffer) = (Vec::new(), vec![0; 4096]);
    loop {
        let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        heard.extend_from_slice(&buffer[..read]);
        // Requests have no body, and none comes before the last is answered.
        if heard.ends_with(b"\r\n\r\n") {
            seen.note();
            let close = String::from_utf8_lossy(&heard).to_ascii_lowercase().contains("connection: close");
            heard.clear();
            let field = if close { "Connection: close\r\n" } else { "" };
            let answer = format!("HTTP/1.1 200 OK\r\n{field}Content-Length: 2\r\n\r\nok");
            stream.write_all(answer.as_bytes()).await.ok()?;
            if close {
                return stream.shutdown().await.ok();
            }
        }
    }
}

/// A client that asks all the time, each time on a new connection: a connection that is there stays with whoever has it.
#[derive(Debug)]
pub(crate) struct Client {
    thread: Running,
}

impl Client {
    /// Starts to ask, and waits for the first answer.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn start(pod: &Pod, to: SocketAddr, host: &str) -> Result<Self> {
        let request = format!("GET /scale HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answered = Arc::new(AtomicU64::new(0));
        let counting = Arc::clone(&answered);
        let thread = Running::start(pod, move |stop| {
            while !stop.load(Ordering::Relaxed) {
                let begun = Instant::now();
                ask(to, &request)?;
                counting.fetch_add(1, Ordering::Relaxed);
                thread::sleep(PACE.saturating_sub(begun.elapsed()));
            }
            Ok(counting.load(Ordering::Relaxed))
        });
        let mut client = Self { thread };
        wait::until("the client's first answer", || {
            if client.thread.thread.as_ref().is_some_and(JoinHandle::is_finished) {
                client.thread.end()?;
            }
            Ok((answered.load(Ordering::Relaxed) > 0).then_some(()))
        })?;
        Ok(client)
    }

    /// Stops it; how many requests it made, all of them answered with 200.
    ///
    /// # Errors
    /// With the first that was not.
    pub(crate) fn end(mut self) -> Result<u64> {
        self.thread.end()
    }
}

fn ask(to: SocketAddr, request: &str) -> Result<()> {
    let mut stream = TcpStream::connect(to).with_context(|| format!("cannot connect to {to}"))?;
    stream.set_read_timeout(Some(wait::PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("no answer")?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "answered with {answer:?}");
    Ok(())
}
