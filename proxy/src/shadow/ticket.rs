//! One ticket per candidate that is really sent: it holds a place under the mirror's limit and is counted exactly once, whatever happens
//! to the task that holds it.

use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;

use super::{
    outcome::{Ended, Outcome},
    plan::Limits,
};
use crate::{route::Mirror, under_way::Part};

/// A shadow under way.
#[derive(Debug)]
pub struct Ticket {
    mirror: Arc<Mirror>,
    active: Gauge,
    _under_way: Part,
    ended: Option<Ended>,
}

impl Ticket {
    /// A place under the mirror's concurrency limit, if one is free.
    #[must_use]
    pub fn take(mirror: &Arc<Mirror>, limits: &Limits) -> Option<Self> {
        if !mirror.metrics.active().take(1, mirror.settings.max_concurrent as usize) {
            return None;
        }
        let Limits { active, under_way, .. } = limits;
        active.inc();
        Some(Self { mirror: Arc::clone(mirror), active: active.clone(), _under_way: under_way.begin(), ended: None })
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
        self.mirror.metrics.active().give(1);
        self.active.dec();
        self.mirror.metrics.ended(self.ended.unwrap_or(Ended::Without(Outcome::Draining)));
    }
}
