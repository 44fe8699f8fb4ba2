//! The node's budget of unsent shadow bytes: one counter for all workers.

use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;

use crate::limit::Taken;

/// Shared by all workers; taking is an atomic operation, never a wait.
#[derive(Clone, Debug)]
pub struct Budget {
    used: Arc<Taken>,
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
        let fits = self.used.take(bytes, self.limit);
        if fits {
            self.gauge.inc_by(bytes as i64);
        }
        fits
    }

    /// Gives `bytes` back.
    pub fn give(&self, bytes: usize) {
        self.used.give(bytes);
        self.gauge.dec_by(bytes as i64);
    }

    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_and_leaves_no_trace() {
        let gauge = Gauge::default();
        let budget = Budget::new(10, gauge.clone());
        assert!(budget.take(6));
        assert!(!budget.take(5));
        assert_eq!((budget.used(), gauge.get()), (6, 6));
        assert!(budget.take(4));
        budget.give(10);
        assert!(!budget.take(usize::MAX));
        assert_eq!((budget.used(), gauge.get()), (0, 0));
    }
}
