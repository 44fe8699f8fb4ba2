//! What has to end before the process may: accept loops, connections, shadows. One count for all three, because they beget each other: who
//! looked at one count after the other could miss a connection on its way from the first to the second.
//!
//! Comes in: parts as they begin. Goes out: whether all have ended. Never: a wait.

use crate::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// How many parts there are. Clones share the count.
#[derive(Clone, Debug, Default)]
pub struct UnderWay(Arc<AtomicUsize>);

/// Counts while it lives. What begets another part begins that one before it ends itself.
#[derive(Debug)]
#[must_use]
pub struct Part(UnderWay);

impl UnderWay {
    /// One more.
    pub fn begin(&self) -> Part {
        self.0.fetch_add(1, Ordering::Relaxed);
        Part(self.clone())
    }

    /// Whether every part has ended. Whoever sees that sees all that they did.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Release);
    }
}
