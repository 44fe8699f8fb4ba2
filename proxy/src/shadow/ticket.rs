//! One ticket per candidate that is really sent: it holds a place under the mirror's limit and is counted exactly once, whatever happens
//! to the task that holds it.

use std::sync::{Arc, atomic::Ordering};

use prometheus_client::metrics::gauge::Gauge;

use super::outcome::{Ended, Outcome};
use crate::route::Mirror;

/// A shadow under way.
#[derive(Debug)]
pub struct Ticket {
    mirror: Arc<Mirror>,
    active: Gauge,
    ended: Option<Ended>,
}

impl Ticket {
    /// A place under the mirror's concurrency limit, if one is free.
    #[must_use]
    pub fn take(mirror: &Arc<Mirror>, active: &Gauge) -> Option<Self> {
        let under_way = mirror.metrics.active();
        if under_way.fetch_add(1, Ordering::Relaxed) >= mirror.settings.max_concurrent {
            under_way.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        active.inc();
        Some(Self { mirror: Arc::clone(mirror), active: active.clone(), ended: None })
    }

    /// The mirror.
    #[must_use]
    pub fn mirror(&self) -> &Arc<Mirror> {
        &self.mirror
    }

    /// The shadow has ended like this.
    pub fn end(mut self, ended: Ended) {
        self.ended = Some(ended);
    }
}

impl Drop for Ticket {
    /// A task that is dropped without a word (its worker stops, it panics) counts as `draining`.
    fn drop(&mut self) {
        self.mirror.metrics.active().fetch_sub(1, Ordering::Relaxed);
        self.active.dec();
        self.mirror.metrics.ended(self.ended.unwrap_or(Ended::Without(Outcome::Draining)));
    }
}
