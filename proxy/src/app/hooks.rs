//! The start of the hooks, on a machine that may not be able to have them.
//!
//! Comes in: how to capture. Goes out: the hooks, or why there are none. Never: a hook that is half attached, or a pod that notices.
//!
//! On one machine the reason ends the process, and somebody reads it. On a node of a cluster nobody does: there the agent stays, not ready,
//! says on `/readyz` and `/status` what is missing, and tries again, for a cgroup2 that is mounted later or a right that is given.

use std::time::Duration;

use tokio::time::sleep;

use super::drain::Signals;
use crate::{
    admin::Condition,
    capture::{Capture, CaptureError, CaptureOptions},
};

/// How often a node tries again.
const AGAIN: Duration = Duration::from_secs(15);

/// Attaches the hooks at the first attempt, or says why it cannot.
///
/// # Errors
/// The reason, with its remedy. Nothing is attached then.
pub(super) fn attach(options: &CaptureOptions) -> Result<Capture, CaptureError> {
    let capture = Capture::start(options)?;
    tracing::info!(cgroup = %capture.root().path().display(), "hooks attached");
    Ok(capture)
}

/// Attaches the hooks as soon as the node lets us; `None` if a signal came first.
pub(super) async fn attach_when_possible(
    options: &CaptureOptions,
    hooks: &Condition,
    signals: &mut Signals,
) -> Option<Capture> {
    let mut said = String::new();
    loop {
        let reason = match attach(options) {
            Ok(capture) => return Some(capture),
            Err(error) => error.to_string(),
        };
        if reason != said {
            tracing::error!(
                "this node's connections are not captured: {reason} (looking again every {} s)",
                AGAIN.as_secs()
            );
        }
        hooks.unmet(reason.clone());
        said = reason;
        tokio::select! {
            () = sleep(AGAIN) => {}
            () = signals.first() => return None,
        }
    }
}
