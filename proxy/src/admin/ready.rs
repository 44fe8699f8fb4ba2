//! Is the process ready? It is when every condition that a part has named holds.
//!
//! Comes in: parts name their condition at the start and say when it holds and when no longer. Goes out: what is missing.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// The conditions; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, Option<String>>>>);

/// One condition, in the hands of the part that knows. If the part goes away, the condition no longer holds.
#[derive(Debug)]
#[must_use = "a condition that is dropped never holds again"]
pub struct Condition {
    name: &'static str,
    all: Readiness,
}

impl Readiness {
    /// Without conditions, which counts as ready: name them all before anybody asks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Names a condition (`hooks attached`). It does not hold yet.
    pub fn condition(&self, name: &'static str) -> Condition {
        self.set(name, Some("not yet".into()));
        Condition { name, all: self.clone() }
    }

    /// What does not hold, each as `name: why`; empty = ready.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let conditions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        conditions.iter().filter_map(|(name, why)| Some(format!("{name}: {}", why.as_ref()?))).collect()
    }

    fn set(&self, name: &'static str, why: Option<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, why);
    }
}

impl Condition {
    /// The condition holds.
    pub fn met(&self) {
        self.all.set(self.name, None);
    }

    /// The condition does not hold (any more), and why.
    pub fn unmet(&self, why: impl Into<String>) {
        self.all.set(self.name, Some(why.into()));
    }
}

impl Drop for Condition {
    fn drop(&mut self) {
        self.unmet("the part that knows has ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_condition_must_hold_and_may_cease_to() {
        let readiness = Readiness::new();
        let hooks = readiness.condition("hooks attached");
        let pods = readiness.condition("every enrolled pod listens");
        hooks.met();
        assert_eq!(readiness.missing(), ["every enrolled pod listens: not yet"]);
        pods.met();
        assert!(readiness.missing().is_empty());
        pods.unmet("mirror/sleep-0: no such network namespace");
        assert_eq!(readiness.missing(), ["every enrolled pod listens: mirror/sleep-0: no such network namespace"]);
    }

    #[test]
    fn a_part_that_died_is_not_ready() {
        let readiness = Readiness::new();
        let hooks = readiness.condition("hooks attached");
        hooks.met();
        drop(hooks);
        assert_eq!(readiness.missing().len(), 1);
    }
}
