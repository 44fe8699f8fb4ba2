//! The client: keep-alive connections from inside a pod, a mix of requests on each, every answer compared to the byte.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use hdrhistogram::Histogram;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::{sleep_until, timeout},
};

use super::exchange::{self, Kind};
use crate::{netns, pod::Pod, wait::PATIENCE};

/// A load.
#[derive(Clone, Debug)]
pub struct Load {
    /// Connections, each with one request at a time.
    pub connections: u64,
    /// Time between the beginnings of two requests of a connection; `None` = the next as soon as the last is answered.
    pub pace: Option<Duration>,
    /// Requests of each connection; `None` = until it is stopped.
    pub requests: Option<u64>,
    /// Small requests only, instead of the mix.
    pub small: bool,
}

/// How it went.
#[derive(Clone, Debug)]
pub struct Report {
    /// Requests that have ended, rightly or not.
    pub requests: u64,
    /// Those whose answer was not to the byte what it had to be, or did not come.
    pub wrong: u64,
    /// What was wrong with the first of them.
    pub first_wrong: Option<String>,
    /// Body bytes sent.
    pub uploaded: u64,
    /// Latencies of small requests, microseconds, from when they were due.
    pub small: Histogram<u64>,
    /// Latencies of uploads.
    pub uploads: Histogram<u64>,
}

impl Report {
    /// Nothing yet.
    ///
    /// # Errors
    /// Never in practice: the histogram's bounds are constants.
    pub fn new() -> Result<Self> {
        let empty = || Histogram::new_with_bounds(1, 60_000_000, 3);
        Ok(Self { requests: 0, wrong: 0, first_wrong: None, uploaded: 0, small: empty()?, uploads: empty()? })
    }

    /// Adds another's numbers.
    ///
    /// # Errors
    /// Never in practice: all histograms have the same bounds.
    pub fn add(&mut self, other: &Self) -> Result<()> {
        self.requests += other.requests;
        self.wrong += other.wrong;
        self.uploaded += other.uploaded;
        if self.first_wrong.is_none() {
            self.first_wrong.clone_from(&other.first_wrong);
        }
        self.small.add(&other.small)?;
        self.uploads.add(&other.uploads)?;
        Ok(())
    }

    /// Every answer was right.
    ///
    /// # Errors
    /// With the first that was not.
    pub fn all_right(&self) -> Result<()> {
        let first = self.first_wrong.as_deref().unwrap_or_default();
        ensure!(self.wrong == 0, "{} of {} primary answers were wrong; the first: {first}", self.wrong, self.requests);
        Ok(())
    }

    fn note(&mut self, kind: Kind, due: Instant, outcome: Result<()>) {
        self.requests += 1;
        self.uploaded += kind.length() as u64;
        let micros = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
        match kind {
            Kind::Get => self.small.saturating_record(micros),
            Kind::Upload(_) => self.uploads.saturating_record(micros),
        }
        if let Err(error) = outcome {
            self.wrong += 1;
            self.first_wrong.get_or_insert_with(|| format!("{error:#}"));
        }
    }
}

/// A load under way.
#[derive(Debug)]
pub struct Running {
    report: Arc<Mutex<Report>>,
    thread: Option<JoinHandle<Result<()>>>,
    stop: Arc<AtomicBool>,
}

impl Running {
    /// What happened since it was last asked.
    ///
    /// # Errors
    /// Never in practice.
    pub fn take(&self) -> Result<Report> {
        Ok(std::mem::replace(&mut *self.report.lock().unwrap_or_else(PoisonError::into_inner), Report::new()?))
    }

    /// Waits for its end, and returns what happened since it was last asked.
    ///
    /// # Errors
    /// When the pod could not be entered.
    pub fn finish(mut self) -> Result<Report> {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        self.take()
    }

    /// Every connection ends after the request that is under way.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Starts a load from a pod. Wrong answers, and connections that nobody takes, are in the report.
///
/// # Errors
/// Never in practice.
pub fn start(pod: &Pod, to: SocketAddr, load: &Load) -> Result<Running> {
    let report = Arc::new(Mutex::new(Report::new()?));
    let stop = Arc::<AtomicBool>::default();
    let thread = thread::spawn({
        let (netns, load) = (pod.netns().path(), load.clone());
        let (report, stop) = (Arc::clone(&report), Arc::clone(&stop));
        move || {
            netns::run_in(&netns, || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(async {
                    let mut tasks = JoinSet::new();
                    let start = Instant::now();
                    for index in 0..load.connections {
                        let (report, stop) = (Arc::clone(&report), Arc::clone(&stop));
                        tasks.spawn(Connection { to, load: load.clone(), index, start, report, stop }.serve());
                    }
                    tasks.join_all().await;
                });
                Ok(())
            })
        }
    });
    Ok(Running { report, thread: Some(thread), stop })
}

/// One connection of the load; a new one after a wrong answer.
struct Connection {
    to: SocketAddr,
    load: Load,
    index: u64,
    start: Instant,
    report: Arc<Mutex<Report>>,
    stop: Arc<AtomicBool>,
}

impl Connection {
    async fn serve(self) {
        let mut wire = None;
        let mut buffer = Vec::with_capacity(16 * 1024);
        for number in 0..self.load.requests.unwrap_or(u64::MAX) {
            let due = self.due(number);
            if self.load.pace.is_some() {
                sleep_until(due.into()).await;
            }
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let kind = if self.load.small { Kind::Get } else { Kind::of(number, self.index) };
            let outcome = async {
                let wire = match &mut wire {
                    Some(wire) => wire,
                    None => wire.insert(open(self.to).await?),
                };
                timeout(PATIENCE, ask(wire, &mut buffer, kind, self.index, number)).await.context("no answer")?
            };
            let outcome = outcome.await.with_context(|| format!("{kind:?} {number} of connection {}", self.index));
            if outcome.is_err() {
                // What is left of it is no measure of anything.
                wire = None;
            }
            self.report.lock().unwrap_or_else(PoisonError::into_inner).note(kind, due, outcome);
        }
    }

    /// When a request should begin. What begins late because the one before it was late counts from then all the same.
    fn due(&self, number: u64) -> Instant {
        match self.load.pace {
            // Connections take turns.
            Some(pace) => self.start + pace.mul_f64(number as f64 + self.index as f64 / self.load.connections as f64),
            None => Instant::now(),
        }
    }
}

async fn open(to: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(to).await.with_context(|| format!("cannot connect to {to}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn ask(wire: &mut TcpStream, buffer: &mut Vec<u8>, kind: Kind, connection: u64, number: u64) -> Result<()> {
    let expected = exchange::expected(kind, connection, number);
    wire.write_all(exchange::request_head(kind, connection, number).as_bytes()).await?;
    wire.write_all(&exchange::upload()[..kind.length()]).await?;
    buffer.clear();
    while buffer.len() < expected.len() {
        if wire.read_buf(buffer).await? == 0 {
            bail!("the connection ended after {:?}", String::from_utf8_lossy(buffer));
        }
    }
    ensure!(*buffer == expected, "got {:?} instead of {:?}", readable(buffer), readable(&expected));
    Ok(())
}

/// The part of an answer that people can read.
fn readable(bytes: &[u8]) -> String {
    let printable = bytes.iter().take_while(|byte| byte.is_ascii());
    printable.map(|byte| char::from(*byte)).collect()
}
