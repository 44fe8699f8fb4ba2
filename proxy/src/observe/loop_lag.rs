//! How late the workers' event loops are: `understudy_event_loop_lag_seconds`.
//!
//! Comes in: each worker's probe, as it runs. Goes out: the worst lateness of any worker in the last half to whole minute, so that a scrape does
//! not miss what happened between two; a probe that is overdue counts. Never: a lock.

use std::{
    fmt::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::gauge::ConstGauge,
};

use crate::{capture::heartbeat::monotonic_ns, shadow::overload::PROBE};

/// How long a peak is the current one before it becomes the previous one.
const WINDOW: u64 = 30_000_000_000;

/// What one worker shows of its lateness; it alone writes. Nanoseconds throughout.
#[derive(Debug)]
pub struct LoopLag {
    probed: AtomicU64,
    began: AtomicU64,
    current: AtomicU64,
    previous: AtomicU64,
}

impl LoopLag {
    /// A worker that starts `now`.
    #[must_use]
    pub fn new(now: u64) -> Self {
        Self { probed: now.into(), began: now.into(), current: 0.into(), previous: 0.into() }
    }

    /// The probe ran `now`, `late` nanoseconds after its time.
    pub fn probed(&self, now: u64, late: u64) {
        self.probed.store(now, Ordering::Relaxed);
        let current = self.current.load(Ordering::Relaxed);
        if now.saturating_sub(self.began.load(Ordering::Relaxed)) < WINDOW {
            self.current.store(current.max(late), Ordering::Relaxed);
        } else {
            self.began.store(now, Ordering::Relaxed);
            self.previous.store(current, Ordering::Relaxed);
            self.current.store(late, Ordering::Relaxed);
        }
    }

    fn worst(&self, now: u64) -> u64 {
        let due = self.probed.load(Ordering::Relaxed) + PROBE.as_nanos() as u64;
        let peaks = self.current.load(Ordering::Relaxed).max(self.previous.load(Ordering::Relaxed));
        peaks.max(now.saturating_sub(due))
    }
}

/// All workers' lateness, read at each scrape.
#[derive(Debug)]
pub struct LoopLags(pub Arc<[LoopLag]>);

impl Collector for LoopLags {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let now = monotonic_ns();
        let worst = self.0.iter().map(|lag| lag.worst(now)).max().unwrap_or(0);
        let gauge = ConstGauge::new(worst as f64 / 1e9);
        let help = "Worst lateness of a worker's event loop in the last minute";
        gauge.encode(encoder.encode_descriptor("understudy_event_loop_lag_seconds", help, None, gauge.metric_type())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_peak_is_shown_for_half_a_minute_at_least_and_then_forgotten() {
        let lag = LoopLag::new(0);
        lag.probed(MS, 70 * MS);
        lag.probed(2 * MS, MS);
        assert_eq!(lag.worst(2 * MS), 70 * MS);
        lag.probed(WINDOW, 2 * MS);
        assert_eq!(lag.worst(WINDOW), 70 * MS);
        lag.probed(2 * WINDOW, 3 * MS);
        assert_eq!(lag.worst(2 * WINDOW), 3 * MS);
    }

    /// Fails if a worker that hangs looks as it did when it last ran.
    #[test]
    fn a_hung_worker_shows() {
        let lag = LoopLag::new(0);
        assert_eq!(lag.worst(PROBE.as_nanos() as u64 + 900 * MS), 900 * MS);
    }
}
