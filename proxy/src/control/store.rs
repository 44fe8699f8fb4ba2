//! The configuration in force, for everyone who reads it.
//!
//! Comes in: what the controller applied. Goes out: the table, without a lock. Never: decisions.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};

use super::Applied;
use crate::{observe::metrics::Metrics, route::Table};

/// Published once per reload, read once per request.
#[derive(Debug)]
pub struct Store {
    table: ArcSwap<Table>,
    applied: ArcSwapOption<Applied>,
    metrics: Arc<Metrics>,
}

impl Store {
    /// A store with an empty table of generation 0.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { table: ArcSwap::from_pointee(Table::default()), applied: ArcSwapOption::empty(), metrics }
    }

    /// The table of now. Take it once per request and keep it to the request's end; a worker keeps it from one to the next.
    #[must_use]
    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Whether this is the table of now.
    #[must_use]
    pub fn is_current(&self, table: &Arc<Table>) -> bool {
        Arc::ptr_eq(&self.table.load(), table)
    }

    /// Everything that was applied last; `None` before the first load.
    #[must_use]
    pub fn in_force(&self) -> Option<Arc<Applied>> {
        self.applied.load_full()
    }

    /// Puts a configuration's table in force and counts the reload. (The generation is shown once the kernel and the pods follow it.)
    pub fn publish(&self, applied: Arc<Applied>) {
        self.metrics.reload(applied.verdict.as_str());
        self.metrics.stale_objects.set(i64::try_from(applied.stale.len()).unwrap_or(i64::MAX));
        self.table.store(Arc::clone(&applied.table));
        self.applied.store(Some(applied));
    }
}
