//! What a paced load's latencies say.
//!
//! Comes in: when each request was meant to start, and how long it took from there. Goes out: quantiles. p99 is taken of each twentieth of a second,
//! and then the middle one of these: a shared machine stands still for milliseconds about once a second, and the slowest hundredth of a whole run
//! are then those that stood with it, whoever carried them. Never: a request that is left out; the whole run's quantiles say what the middle does not.

use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::stats::Spread;

/// Short enough that most of them pass without a stall of the machine.
const SLICE: Duration = Duration::from_millis(50);

/// Quantiles of latency, microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    /// Requests per second that were meant.
    pub(crate) rate: f64,
    pub(crate) p50: f64,
    /// Of a twentieth of a second: the median of all of them.
    pub(crate) p99: f64,
    /// Of the whole run.
    pub(crate) whole_p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

/// Latencies as they come.
pub(super) struct Recorder {
    start: Instant,
    whole: Histogram<u64>,
    slices: Vec<Vec<u64>>,
}

impl Recorder {
    /// For requests that are meant to start from then on.
    pub(super) fn from(start: Instant) -> Result<Self> {
        Ok(Self { start, whole: Histogram::new_with_bounds(1, 120_000_000_000, 3)?, slices: Vec::new() })
    }

    /// One request: when it was meant to start, and how long it took.
    pub(super) fn record(&mut self, due: Instant, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let _ = self.whole.record(nanos);
        let slice = (due.saturating_duration_since(self.start).as_nanos() / SLICE.as_nanos()) as usize;
        if self.slices.len() <= slice {
            self.slices.resize_with(slice + 1, Vec::new);
        }
        self.slices[slice].push(nanos);
    }

    /// How many.
    pub(super) fn len(&self) -> u64 {
        self.whole.len()
    }

    /// p99 of each slice since the start, microseconds; not a number where no request was meant to start.
    pub(super) fn slices(&self) -> Slices {
        let p99 = self.slices.iter().map(|slice| {
            let mut slice = slice.clone();
            slice.sort_unstable();
            let rank = (slice.len() * 99).div_ceil(100);
            slice.get(rank.saturating_sub(1)).map_or(f64::NAN, |nanos| micros(*nanos))
        });
        Slices { start: self.start, p99: p99.collect() }
    }

    /// What they say.
    pub(super) fn latency(&self, rate: f64) -> Latency {
        Latency {
            rate,
            p50: micros(self.whole.value_at_quantile(0.5)),
            p99: Spread::of(self.slices().p99).map_or(f64::NAN, |spread| spread.median),
            whole_p99: micros(self.whole.value_at_quantile(0.99)),
            p999: micros(self.whole.value_at_quantile(0.999)),
            max: micros(self.whole.max()),
        }
    }
}

/// p99 over time.
#[derive(Clone, Debug)]
pub(crate) struct Slices {
    start: Instant,
    p99: Vec<f64>,
}

impl Slices {
    /// The highest of so many slices from a moment on, microseconds; `None` if they are not all within the run.
    pub(crate) fn worst(&self, from: Instant, count: usize) -> Option<f64> {
        let first = (from.checked_duration_since(self.start)?.as_nanos() / SLICE.as_nanos()) as usize;
        let slices = self.p99.get(first..first + count)?;
        slices.iter().copied().reduce(f64::max)
    }
}

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails if a stall in one slice decides what the others say, or if a request is lost from the whole.
    #[test]
    fn a_stall_is_in_the_whole_and_not_in_the_middle() {
        let start = Instant::now();
        let mut recorder = Recorder::from(start).unwrap();
        for number in 0..1000_u32 {
            let due = start + SLICE / 200 * number;
            let stalled = (400..600).contains(&number);
            recorder.record(due, Duration::from_micros(if stalled { 5000 } else { 100 + u64::from(number % 200) }));
        }
        let latency = recorder.latency(4000.0);
        assert_eq!((recorder.len(), latency.p99), (1000, 297.0));
        assert!(latency.whole_p99 > 4990.0, "{latency:?}");
        let slices = recorder.slices();
        assert_eq!(slices.worst(start + SLICE, 1), Some(297.0));
        assert!(slices.worst(start + SLICE, 2).is_some_and(|worst| worst > 4990.0));
        assert_eq!([slices.worst(start + SLICE * 4, 2), slices.worst(start - SLICE, 1)], [None, None]);
    }
}
