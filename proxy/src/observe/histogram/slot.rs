//! Room for one example, as a sequence lock made of atomics: a writer tries once and goes on, a reader sees a whole example or none.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::Example;
use crate::observe::{
    access_log::RequestId,
    identity::{Identity, TraceId},
};

/// An example stays for this long, so that it costs a busy bucket nothing.
const STAYS_NS: u64 = 1_000_000_000;
/// A reader that finds a writer at work so often (it was put to sleep in the middle) does without.
const READS: u32 = 100;

/// The latest example of a bucket, or one that is less than a second older.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Even: whole. Odd: a writer is at it. Zero: nothing yet.
    version: AtomicU64,
    at: AtomicU64,
    micros: AtomicU64,
    request: AtomicU64,
    trace: [AtomicU64; 2],
}

impl Slot {
    /// Takes an example over, unless the one that is there is still young or somebody else is at it.
    pub(super) fn offer(&self, example: Example) {
        let version = self.version.load(Ordering::Relaxed);
        let is_young = || example.at < self.at.load(Ordering::Relaxed).saturating_add(STAYS_NS);
        if version % 2 == 1 || (version > 0 && is_young()) {
            return;
        }
        if self.version.compare_exchange(version, version + 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return;
        }
        // Whoever sees a part of what follows sees the odd version too.
        fence(Ordering::Release);
        let [high, low] = TraceId::halves(example.whose.trace);
        for (place, value) in [
            (&self.at, example.at),
            (&self.micros, example.micros),
            (&self.request, example.whose.request.bits()),
            (&self.trace[0], high),
            (&self.trace[1], low),
        ] {
            place.store(value, Ordering::Relaxed);
        }
        self.version.store(version + 2, Ordering::Release);
    }

    /// The example, if there is one.
    pub(super) fn read(&self) -> Option<Example> {
        for _ in 0..READS {
            let version = self.version.load(Ordering::Acquire);
            if version == 0 {
                return None;
            }
            let value = |place: &AtomicU64| place.load(Ordering::Relaxed);
            let example = Example {
                at: value(&self.at),
                micros: value(&self.micros),
                whose: Identity {
                    request: RequestId::from_bits(value(&self.request)),
                    trace: TraceId::from_halves([value(&self.trace[0]), value(&self.trace[1])]),
                },
            };
            fence(Ordering::Acquire);
            if version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version {
                return Some(example);
            }
            std::hint::spin_loop();
        }
        None
    }
}
