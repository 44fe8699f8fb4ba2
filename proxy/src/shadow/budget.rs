//! The node's budget of unsent shadow bytes: one counter for all workers.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use prometheus_client::metrics::gauge::Gauge;

/// Shared by all workers; adding is an atomic operation, never a wait.
#[derive(Clone, Debug)]
pub struct Budget {
    used: Arc<AtomicUsize>,
    limit: usize,
    gauge: Gauge,
}

impl Budget {
    /// A budget of `limit` bytes, shown in `gauge`.
    #[must_use]
    pub fn new(limit: usize, gauge: Gauge) -> Self {
        Self { used: Arc::default(), limit, gauge }
    }

    /// Takes `bytes` if they fit.
    #[must_use]
    pub fn take(&self, bytes: usize) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > self.limit {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        self.gauge.inc_by(bytes as i64);
        true
    }

    /// Gives `bytes` back.
    pub fn give(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        self.gauge.dec_by(bytes as i64);
    }

    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_and_leaves_no_trace() {
        let budget = Budget::new(10, Gauge::default());
        assert!(budget.take(6));
        assert!(!budget.take(5));
        assert_eq!(budget.used(), 6);
        assert!(budget.take(4));
        budget.give(10);
        assert_eq!(budget.used(), 0);
    }
}
