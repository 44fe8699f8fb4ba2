//! What became of the lines: how much text waits, how many were taken, how many are settled. Never: a wait, a line.

use crate::{
    limit::Taken,
    sync::atomic::{AtomicU64, Ordering},
};

/// The counts that those who push lines share with the writer.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    waiting_bytes: Taken,
    /// Lines that were to be queued.
    taken: AtomicU64,
    /// Those of them that are written, or lost.
    settled: AtomicU64,
}

impl Ledger {
    /// A line of that size wants to be queued: whether there is room for it. Before it is in the queue, so that nobody settles what nobody took.
    #[must_use]
    pub(crate) fn take(&self, size: usize, limit: usize) -> bool {
        let fits = self.waiting_bytes.take(size, limit);
        if fits {
            self.taken.fetch_add(1, Ordering::Relaxed);
        }
        fits
    }

    /// A line of that size is in the queue no more.
    pub(crate) fn left(&self, size: usize) {
        self.waiting_bytes.give(size);
    }

    /// So many lines are written, or lost.
    pub(crate) fn settle(&self, lines: u64) {
        self.settled.fetch_add(lines, Ordering::Release);
    }

    /// Whether all lines that were taken are settled. Comparing with what was taken at an earlier moment would be wrong: a later line that found
    /// the queue full is settled before an earlier one that waits in it.
    #[must_use]
    pub(crate) fn is_settled(&self) -> bool {
        let settled = self.settled.load(Ordering::Acquire);
        settled == self.taken.load(Ordering::Relaxed)
    }

    /// Bytes that wait.
    #[cfg(test)]
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes.now()
    }
}
