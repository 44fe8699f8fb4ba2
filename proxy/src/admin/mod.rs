//! The pages that people and machines look at: metrics and probes on one address, configuration and log level on another.
//!
//! Comes in: HTTP/1 on the two addresses. Goes out: what other parts say of themselves, through a [`View`]. Never: on the workers'
//! threads, in the way of traffic, or with the power to change more than the log level.
//!
//! | path | admin address | metrics address |
//! | --- | --- | --- |
//! | `/` | an index | an index |
//! | `/metrics` | yes | yes |
//! | `/livez`, `/readyz` | yes | yes |
//! | `/status` | yes | yes |
//! | `/config_dump` | yes | no |
//! | `/log-level` | GET, PUT | no |

mod pages;
mod ready;
mod server;

use std::{fmt, sync::Arc};

use serde_json::Value;

pub use self::{
    ready::{Condition, Readiness},
    server::{AdminError, AdminServer},
};
use crate::observe::{metrics::Metrics, telemetry::LogLevel};

/// What the pages show.
#[derive(Clone)]
pub struct View {
    /// For `/metrics`.
    pub metrics: Arc<Metrics>,
    /// For `/readyz`.
    pub readiness: Readiness,
    /// For `/log-level`.
    pub log_level: LogLevel,
    /// For `/status`, which adds whether it is ready; called likewise.
    pub status: Arc<dyn Fn() -> Value + Send + Sync>,
    /// For `/config_dump`; called at each request, on the control thread.
    pub config_dump: Arc<dyn Fn() -> Value + Send + Sync>,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("readiness", &self.readiness)
            .field("log_level", &self.log_level)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
