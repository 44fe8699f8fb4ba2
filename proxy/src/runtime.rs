//! Threads and runtimes: the only file that knows how the data path is spread over cores.
//!
//! One thread per worker, each with a current-thread runtime of its own: connections, pools and shadows of a worker never leave it, so the
//! request path takes no lock and wakes no other thread (but for a new socket, which a factory makes). Work arrives as jobs over a channel. The control side runs elsewhere.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher as _, Hasher as _},
    io,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::sync_channel,
    },
    thread,
    time::Duration,
};

use tokio::{
    runtime::{Builder, LocalOptions},
    sync::mpsc,
    task::spawn_local,
    time::{interval, sleep, timeout},
};

use crate::{
    capture::{Heartbeat, Origins, heartbeat::monotonic_ns},
    observe::{
        loop_lag::{LoopLag, LoopLags},
        worker_tasks::WorkerTasks,
    },
    shadow::{deadlines, overload::PROBE},
    worker::{Shared, Worker},
};

/// How often a worker shows that it is alive, looks whether it is time to look at its connections, and closes what has been idle for too long (every hundredth time).
const TICK: Duration = deadlines::LOOK;
const TICKS_BETWEEN_EVICTIONS: u64 = 100;
/// A worker that has not ticked for this long is stuck; the heartbeat stops.
const LATE: Duration = Duration::from_millis(400);
/// How often it is looked whether the workers have ended.
const LOOK: Duration = Duration::from_millis(1);

type Job = Box<dyn FnOnce(&Rc<Worker>) + Send>;

/// The way to a worker: jobs, and at last nothing.
#[derive(Clone, Debug)]
pub struct WorkerHandle(mpsc::UnboundedSender<Option<Job>>);

impl WorkerHandle {
    /// Runs `job` on the worker's thread, where it may spawn local tasks. Lost if the worker has stopped.
    pub fn run(&self, job: impl FnOnce(&Rc<Worker>) + Send + 'static) {
        let _ = self.0.send(Some(Box::new(job)));
    }
}

/// All workers.
#[derive(Debug)]
pub struct Workers {
    handles: Arc<[WorkerHandle]>,
    threads: Vec<thread::JoinHandle<()>>,
}

/// When each worker ticked last, `CLOCK_MONOTONIC` nanoseconds. The slowest one counts: a single stuck worker holds connections of every pod.
#[derive(Debug)]
struct Pulse(Vec<AtomicU64>);

impl Pulse {
    fn tick(&self, worker: usize) {
        self.0[worker].store(monotonic_ns(), Ordering::Relaxed);
    }

    fn is_regular(&self) -> bool {
        let slowest = self.0.iter().map(|tick| tick.load(Ordering::Relaxed)).min().unwrap_or(0);
        monotonic_ns().saturating_sub(slowest) < LATE.as_nanos() as u64
    }
}

impl Workers {
    /// Starts as many workers as there are handles on the origins. While all of them tick, the first one beats for the process.
    ///
    /// # Errors
    /// If a thread or its runtime cannot be made.
    pub fn start(shared: &Shared, origins: Vec<Origins>, mut heartbeat: Heartbeat) -> io::Result<Self> {
        let pulse = Arc::new(Pulse(origins.iter().map(|_| AtomicU64::new(monotonic_ns())).collect()));
        let lags: Arc<[_]> = origins.iter().map(|_| LoopLag::new(monotonic_ns())).collect();
        let metrics = &shared.metrics;
        metrics.register_collector(LoopLags(Arc::clone(&lags)));
        // The first beat is not a tick's: pods are enrolled before the slowest worker has ticked, and would go native until then.
        heartbeat.beat().map_err(io::Error::other)?;
        let mut beat = Some(heartbeat);
        let (mut handles, mut tasks) = (Vec::with_capacity(origins.len()), Vec::with_capacity(origins.len()));
        let mut threads = Vec::with_capacity(handles.capacity());
        for (index, origins) in origins.into_iter().enumerate() {
            let (sender, jobs) = mpsc::unbounded_channel();
            let (shared, pulse, lags) = (shared.clone(), Arc::clone(&pulse), Arc::clone(&lags));
            let beat = beat.take();
            let (report, ready) = sync_channel(1);
            let thread = thread::Builder::new().name(format!("worker-{index}"));
            let thread = thread.spawn(move || {
                // A runtime of local tasks belongs to the thread that makes it.
                let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
                    Ok(runtime) => runtime,
                    Err(error) => return drop(report.send(Err(error))),
                };
                let _ = report.send(Ok(runtime.metrics()));
                runtime.block_on(async {
                    let worker = Rc::new(Worker::new(index, shared, origins, seed()));
                    spawn_local(probe(Rc::clone(&worker), lags));
                    spawn_local(end_shadows(Rc::clone(&worker)));
                    tokio::select! {
                        biased;
                        () = tick(&worker, &pulse, beat) => {}
                        () = work(&worker, jobs) => {}
                    }
                });
            })?;
            tasks.push(ready.recv().map_err(io::Error::other)??);
            handles.push(WorkerHandle(sender));
            threads.push(thread);
        }
        metrics.register_collector(WorkerTasks(tasks));
        Ok(Self { handles: handles.into(), threads })
    }

    /// The ways to all workers, by number.
    #[must_use]
    pub fn handles(&self) -> Arc<[WorkerHandle]> {
        Arc::clone(&self.handles)
    }

    /// Ends them, with everything that is still under way on them: what is dropped says its last word in counters and logs. Waits until they have
    /// ended, or the patience is over (a worker is stuck).
    pub async fn end(self, patience: Duration) {
        for WorkerHandle(jobs) in &*self.handles {
            let _ = jobs.send(None);
        }
        let all_ended = async {
            while !self.threads.iter().all(thread::JoinHandle::is_finished) {
                sleep(LOOK).await;
            }
        };
        let _ = timeout(patience, all_ended).await;
    }
}

async fn work(worker: &Rc<Worker>, mut jobs: mpsc::UnboundedReceiver<Option<Job>>) {
    while let Some(Some(job)) = jobs.recv().await {
        job(worker);
    }
}

/// Not a task: tasks take their turns, and behind ten thousand that were woken at once the heartbeat would go stale, although nothing hangs. The
/// future that the runtime blocks on is polled before every batch of tasks (61 of them).
async fn tick(worker: &Worker, pulse: &Pulse, mut heartbeat: Option<Heartbeat>) {
    let mut ticks = interval(TICK);
    let mut count = 0_u64;
    loop {
        ticks.tick().await;
        pulse.tick(worker.index);
        if let Some(heartbeat) = &mut heartbeat
            && pulse.is_regular()
            && let Err(error) = heartbeat.beat()
        {
            tracing::error!(%error, "no heartbeat: connections will go past us");
        }
        worker.deadlines.look();
        worker.watchman.look(worker.shared.settings.patience);
        // Who has no requests lets go of an old table too.
        drop(worker.table());
        count += 1;
        if count.is_multiple_of(TICKS_BETWEEN_EVICTIONS) {
            worker.primaries.evict();
            worker.links.evict();
            worker.shadows.evict();
        }
    }
}

/// Finds out how late this worker is; a task like those of connections, because it asks how long they wait.
async fn probe(worker: Rc<Worker>, lags: Arc<[LoopLag]>) {
    loop {
        sleep(PROBE).await;
        let now = monotonic_ns();
        lags[worker.index].probed(now, worker.overload.probed(now));
    }
}

/// Hears that there is no more time for shadows.
async fn end_shadows(worker: Rc<Worker>) {
    worker.shared.shadows_end.cancelled().await;
    worker.deadlines.end();
}

/// A start for a worker's random numbers, from the system's randomness that the standard library's hasher is keyed with.
fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}
