//! A count that has a limit. Comes in: how many more. Goes out: whether there is room, exactly. Never: a wait, or a count above the limit for an
//! instant, which another thread would take for a reason to refuse.

use crate::sync::atomic::{AtomicUsize, Ordering};

/// How much is taken of something that threads share. The limit is the caller's: it may change while something is taken.
#[derive(Debug, Default)]
pub struct Taken(AtomicUsize);

impl Taken {
    /// Takes `count` more if that is `limit` at most.
    #[must_use]
    pub fn take(&self, count: usize, limit: usize) -> bool {
        let more = |now: usize| now.checked_add(count).filter(|sum| *sum <= limit);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Gives back what was taken.
    pub fn give(&self, count: usize) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }

    /// What is taken at this moment.
    #[must_use]
    pub fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}
