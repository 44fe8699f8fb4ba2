//! Shadows go first when the CPU is short.
//!
//! Comes in: when a worker's probe ran, and the time of a decision. Goes out: whether new shadows are refused. Never: a clock of its own.
//!
//! The probe is a task that sleeps for [`PROBE`] and should run right after; how much later it does is how long everything else on this worker
//! waits as well. It is late when a turn of the loop is long, or when the thread gets no CPU (a cgroup's quota, other processes). A worker that is
//! merely busy, with many short turns, runs it in time: work alone sheds nothing.

use std::{cell::Cell, time::Duration};

/// How long the probe sleeps.
pub const PROBE: Duration = Duration::from_millis(25);
/// So many calm probes in a row end the shedding (a quarter of a second), so that a load at the edge does not flap.
const CALM: u32 = 10;

/// One worker's judgement. Times are nanoseconds of one monotonic clock.
#[derive(Debug)]
pub struct Overload {
    /// Lateness at which shadows are refused; `None` = never.
    limit: Option<u64>,
    /// When the probe should run next.
    due: Cell<u64>,
    /// Calm probes that are still wanted before shadows are taken again.
    wanted: Cell<u32>,
}

impl Overload {
    /// A worker whose probe starts `now`.
    #[must_use]
    pub fn new(limit: Option<Duration>, now: u64) -> Self {
        let limit = limit.map(|limit| limit.as_nanos() as u64);
        Self { limit, due: Cell::new(now + PROBE.as_nanos() as u64), wanted: Cell::new(0) }
    }

    /// The probe runs. Returns how late it is, nanoseconds.
    pub fn probed(&self, now: u64) -> u64 {
        let late = now.saturating_sub(self.due.get());
        self.due.set(now + PROBE.as_nanos() as u64);
        if let Some(limit) = self.limit {
            self.wanted.set(match self.wanted.get() {
                _ if late >= limit => CALM,
                0 => 0,
                // Neither late nor calm: the count begins again.
                _ if late > limit / 2 => CALM,
                wanted => wanted - 1,
            });
        }
        late
    }

    /// Whether shadows are refused. A probe that is overdue counts as well: what stalls the loop now is seen before the probe has run.
    #[must_use]
    pub fn sheds(&self, now: u64) -> bool {
        let Some(limit) = self.limit else { return false };
        if now.saturating_sub(self.due.get()) >= limit {
            self.wanted.set(CALM);
        }
        self.wanted.get() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const STEP: u64 = PROBE.as_nanos() as u64;

    fn worker() -> Overload {
        Overload::new(Some(Duration::from_millis(100)), 0)
    }

    /// Probes in a row, each so late; returns the time of the last.
    fn probes(overload: &Overload, mut now: u64, late: impl IntoIterator<Item = u64>) -> u64 {
        for late in late {
            now += STEP + late;
            assert_eq!(overload.probed(now), late);
        }
        now
    }

    /// Fails if being busy is taken for being late.
    #[test]
    fn lateness_below_the_limit_sheds_nothing_however_long_it_lasts() {
        let overload = worker();
        let now = probes(&overload, 0, vec![99 * MS; 1000]);
        assert!(!overload.sheds(now) && !overload.sheds(now + STEP + 99 * MS));
    }

    /// Fails if only the probe itself tells that the loop was stalled: the first requests after a stall come before it.
    #[test]
    fn an_overdue_probe_counts_before_it_has_run() {
        let overload = worker();
        let now = probes(&overload, 0, [0, 0]);
        assert!(!overload.sheds(now + STEP + 99 * MS));
        assert!(overload.sheds(now + STEP + 100 * MS));
        // And the probe that was in time after all does not undo it.
        assert!(overload.sheds(now + STEP));
    }

    /// Fails without hysteresis.
    #[test]
    fn only_a_calm_row_of_probes_ends_it() {
        let overload = worker();
        let mut now = probes(&overload, 0, [100 * MS]);
        for _ in 0..3 {
            now = probes(&overload, now, vec![MS; CALM as usize - 1]);
            assert!(overload.sheds(now));
            now = probes(&overload, now, [51 * MS]);
        }
        now = probes(&overload, now, vec![50 * MS; CALM as usize]);
        assert!(!overload.sheds(now));
    }

    #[test]
    fn without_a_limit_nothing_is_shed() {
        let overload = Overload::new(None, 0);
        assert_eq!(overload.probed(STEP + 10_000 * MS), 10_000 * MS);
        assert!(!overload.sheds(u64::MAX));
    }
}
