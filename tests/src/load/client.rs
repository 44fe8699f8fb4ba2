//! The client: connections of both protocols from inside a pod, a mix of requests on each, every answer compared to the byte.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use tokio::{
    task::JoinSet,
    time::{sleep_until, timeout},
};

use super::{
    Kind, Report,
    wire::{STREAMS, Shared, Wire},
};
use crate::{netns, pod::Pod, wait::PATIENCE};

/// A load: lanes, each with one request at a time.
#[derive(Clone, Debug)]
pub struct Load {
    /// Connections of HTTP/1.1; each is a lane.
    pub connections: u64,
    /// Lanes over HTTP/2, of which [`STREAMS`] share a connection.
    pub streams: u64,
    /// Time between the beginnings of two requests of a lane; `None` = the next as soon as the last is answered.
    pub pace: Option<Duration>,
    /// Requests of each lane; `None` = until it is stopped.
    pub requests: Option<u64>,
    /// Small requests only, instead of the mix.
    pub small: bool,
}

impl Load {
    /// Requests at a time.
    #[must_use]
    pub fn lanes(&self) -> u64 {
        self.connections + self.streams
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
                    let shared: Vec<_> = (0..load.streams.div_ceil(STREAMS)).map(|_| Shared::default()).collect();
                    let wires = (0..load.connections).map(|_| Wire::http1(to));
                    let wires =
                        wires.chain((0..load.streams).map(|at| Wire::http2(to, &shared[(at / STREAMS) as usize])));
                    for (index, wire) in (0..).zip(wires) {
                        let (report, stop) = (Arc::clone(&report), Arc::clone(&stop));
                        tasks.spawn(Lane { wire, load: load.clone(), index, start, report, stop }.serve());
                    }
                    tasks.join_all().await;
                });
                Ok(())
            })
        }
    });
    Ok(Running { report, thread: Some(thread), stop })
}

/// One request after the other.
struct Lane {
    wire: Wire,
    load: Load,
    index: u64,
    start: Instant,
    report: Arc<Mutex<Report>>,
    stop: Arc<AtomicBool>,
}

impl Lane {
    async fn serve(mut self) {
        for number in 0..self.load.requests.unwrap_or(u64::MAX) {
            let due = self.due(number);
            if self.load.pace.is_some() {
                sleep_until(due.into()).await;
            }
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let kind = if self.load.small { Kind::Get } else { Kind::of(number, self.index) };
            let outcome = timeout(PATIENCE, self.wire.ask(kind, self.index, number)).await;
            let outcome = outcome
                .unwrap_or_else(|_| Err(anyhow!("no answer")))
                .with_context(|| format!("{kind:?} {number} of {} {}", self.wire.protocol(), self.index));
            if outcome.is_err() {
                // What is left of the connection is no measure of anything.
                self.wire.drop_connection().await;
            }
            self.report.lock().unwrap_or_else(PoisonError::into_inner).note(kind, due, outcome);
        }
    }

    /// When a request should begin. What begins late because the one before it was late counts from then all the same.
    fn due(&self, number: u64) -> Instant {
        match self.load.pace {
            // Lanes take turns.
            Some(pace) => self.start + pace.mul_f64(number as f64 + self.index as f64 / self.load.lanes() as f64),
            None => Instant::now(),
        }
    }
}
