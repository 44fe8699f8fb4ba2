//! Durations, counted in buckets, with the latest example of each bucket.
//!
//! Comes in: how long something took, and whose it was. Goes out: OpenMetrics text. Never: takes a lock, allocates or waits where it is
//! counted. (The histogram of prometheus-client takes a lock for each observation, two with exemplars, and lets nobody else make exemplars.)

mod slot;
mod text;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use self::slot::Slot;
pub(super) use self::text::{Family, Wall};
use super::identity::Identity;

/// Upper bounds in microseconds, 0.5 ms to 30 s: three steps a decade. Pods of one node answer each other in less than the first; the longest default
/// timeout of a shadow (10 s) has a bound of its own, and what is over the last has hung.
const BOUNDS: [u64; 15] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000,
];
/// One more for what is over the last bound.
const BUCKETS: usize = BOUNDS.len() + 1;

/// A histogram. Any number of threads may count and read.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Bucket; BUCKETS],
    /// In microseconds: nanoseconds would overflow within a year of a thousand requests at a time.
    sum: AtomicU64,
}

#[derive(Debug, Default)]
struct Bucket {
    count: AtomicU64,
    example: Slot,
}

/// One duration that a bucket counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Example {
    /// When it ended, monotonic nanoseconds.
    at: u64,
    micros: u64,
    whose: Identity,
}

impl Histogram {
    /// Counts what took so long and ended at `at` (monotonic nanoseconds).
    pub fn observe(&self, duration: Duration, at: u64, whose: Identity) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let micros = nanos / 1000 + u64::from(nanos % 1000 >= 500);
        let bucket = &self.buckets[BOUNDS.partition_point(|bound| *bound < micros)];
        bucket.count.fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(micros, Ordering::Relaxed);
        bucket.example.offer(Example { at, micros, whose });
    }
}

#[cfg(test)]
mod tests;
