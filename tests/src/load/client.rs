//! The client: keep-alive connections from inside a pod, a mix of requests on each, every answer compared to the byte.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
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
use crate::{pod::Pod, wait::PATIENCE};

/// When a connection stops asking.
#[derive(Clone, Debug)]
pub enum Until {
    /// After so many requests.
    Requests(u64),
    /// When told, after the request that is under way.
    Told(Arc<AtomicBool>),
}

/// A load.
#[derive(Clone, Debug)]
pub struct Load {
    /// Connections, each with one request at a time.
    pub connections: u64,
    /// Time between the beginnings of two requests of a connection; `None` = the next as soon as the last is answered.
    pub pace: Option<Duration>,
    /// When it ends.
    pub until: Until,
    /// Small requests only, instead of the mix.
    pub small: bool,
}

/// How it went.
#[derive(Clone, Debug)]
pub struct Report {
    /// Requests that were sent.
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

/// Sends the load from a pod and waits for its end. Wrong answers are in the report.
///
/// # Errors
/// When the pod cannot be entered or a connection cannot be opened.
pub fn run(pod: &Pod, to: SocketAddr, load: &Load) -> Result<Report> {
    pod.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut tasks = JoinSet::new();
            let start = Instant::now();
            for number in 0..load.connections {
                tasks.spawn(connection(to, load.clone(), number, start));
            }
            let mut all = Report::new()?;
            while let Some(ended) = tasks.join_next().await {
                all.add(&ended??)?;
            }
            Ok(all)
        })
    })
}

async fn connection(to: SocketAddr, load: Load, index: u64, start: Instant) -> Result<Report> {
    let mut report = Report::new()?;
    let mut wire = None;
    let mut buffer = Vec::with_capacity(16 * 1024);
    for number in 0.. {
        let due = match load.pace {
            // Connections take turns.
            Some(pace) => start + pace.mul_f64(number as f64 + index as f64 / load.connections as f64),
            None => Instant::now(),
        };
        match &load.until {
            Until::Requests(count) if number >= *count => break,
            Until::Told(stop) if stop.load(Ordering::Relaxed) => break,
            _ => {}
        }
        if load.pace.is_some() {
            sleep_until(due.into()).await;
        }
        let kind = if load.small { Kind::Get } else { Kind::of(number, index) };
        let outcome = async {
            let wire = match &mut wire {
                Some(wire) => wire,
                None => wire.insert(open(to).await?),
            };
            timeout(PATIENCE, ask(wire, &mut buffer, kind, index, number)).await.context("no answer")?
        };
        let outcome = outcome.await.with_context(|| format!("{kind:?} {number} of connection {index}"));
        if outcome.is_err() {
            // What is left of it is no measure of anything.
            wire = None;
        }
        report.note(kind, due, outcome);
    }
    Ok(report)
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
