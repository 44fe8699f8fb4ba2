//! From manifests to the table: `source` (where objects come from) → `manifest` (their text form) → `model` (source-neutral objects)
//! → `validate` → `objects` (merge with the last good state) → `compile` → `store` (publishes).
//!
//! Comes in: files, or the Kubernetes API. Goes out: a [`crate::route::Table`], a [`plan::CapturePlan`], a list of pods to enrol, and
//! diagnostics. Never: sockets of pods, aya, half-applied configurations.

pub mod compile;
pub mod controller;
pub mod diagnostic;
pub mod dump;
pub mod manifest;
pub mod model;
pub mod objects;
pub mod percent;
pub mod plan;
pub mod source;
pub mod store;
pub mod validate;

use std::sync::Arc;

pub use self::{
    controller::{Applied, Controller, Rejected, Verdict},
    source::ManifestText,
    store::Store,
};
use crate::route::ShadowSettings;

/// What the process decides about every configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The DNS domain of the cluster's Services, without dots around it.
    pub cluster_domain: Arc<str>,
    /// How shadows behave where no policy says otherwise.
    pub shadow: ShadowSettings,
    /// The node of a cluster, whose pods are enrolled; `None`: those that name a network namespace of this machine.
    pub node: Option<Arc<str>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { cluster_domain: "cluster.local".into(), shadow: ShadowSettings::default(), node: None }
    }
}
