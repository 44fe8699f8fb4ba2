//! An object of no namespace of ours, that goes when its guard goes.

use anyhow::Result;

use super::Kubectl;
use crate::leftovers::{self, Claim, Thing};

/// An applied object.
#[derive(Debug)]
pub struct Object {
    _claim: Claim,
}

impl Object {
    /// Applies it; `name` is how it is deleted (`runtimeclass/gvisor`).
    ///
    /// # Errors
    /// When the cluster refuses.
    pub fn apply(kubectl: &Kubectl, name: &str, manifest: &str) -> Result<Self> {
        let ((), _claim) = leftovers::claim(|| {
            let remove = kubectl.command(&["delete", name, "--ignore-not-found", "--timeout=60s"]);
            kubectl.apply("default", manifest)?;
            Ok(((), Thing::Command(remove)))
        })?;
        Ok(Self { _claim })
    }
}
