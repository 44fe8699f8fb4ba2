//! The graceful end: new connections are native first, then what is under way is finished, within a time.

use std::{sync::Arc, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, sleep, timeout},
};

use crate::{
    capture::Capture,
    enrol::Enrolment,
    observe::{access_log::AccessLog, metrics::Metrics},
    runtime::Workers,
    worker::Shared,
};

/// How often it is looked whether all is done.
const LOOK: Duration = Duration::from_millis(20);
/// How long the workers may take to drop what is left.
const LAST_DROPS: Duration = Duration::from_secs(1);
/// How long shadows that are cut may take to say so, and the access log for its last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// SIGTERM and SIGINT.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Resolves at the next signal.
    pub(super) async fn first(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => tracing::info!("SIGTERM: draining"),
            _ = self.interrupt.recv() => tracing::info!("SIGINT: draining"),
        }
    }
}

/// What has to end.
pub(super) struct Running {
    pub(super) capture: Arc<Capture>,
    pub(super) enrolment: Enrolment,
    pub(super) workers: Workers,
    pub(super) metrics: Arc<Metrics>,
    pub(super) shared: Shared,
    pub(super) log: AccessLog,
}

/// Detaches the hooks, then waits for connections and shadows. A second signal or the deadline ends the waiting.
pub(super) async fn drain(running: Running, deadline: Duration, signals: &mut Signals) {
    let Running { capture, mut enrolment, workers, metrics, shared, log } = running;
    capture.detach();
    enrolment.withdraw_all().await;
    let open = metrics.open_connections("captured");
    let under_way = &shared.limits.under_way;
    // What is still in a listener's queue is not counted yet, but the loop that will accept it is.
    let finished = until(|| under_way.is_over());
    let began = Instant::now();
    tokio::select! {
        () = finished => tracing::info!(seconds = began.elapsed().as_secs_f32(), "drained"),
        () = sleep(deadline) => tracing::warn!(connections = open.get(), shadows = metrics.shadows_active.get(), "drain timeout: ending what is left"),
        () = signals.first() => tracing::warn!("second signal: ending at once"),
    }
    // Each shadow still under way ends as `draining`, and says so in the access log.
    shared.shadows_end.cancel();
    let _ = timeout(LAST_LINES, until(|| metrics.shadows_active.get() == 0)).await;
    // A primary that is cut off here has its line too, and so have the shadows that ended before it.
    workers.end(LAST_DROPS).await;
    log.flush(LAST_LINES);
}

async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        sleep(LOOK).await;
    }
}
