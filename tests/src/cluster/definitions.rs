//! Definitions of VirtualService and DestinationRule that are Istio's own, not ours.

use anyhow::{Result, ensure};

use super::{Kubectl, LABEL, kubectl};
use crate::leftovers::{self, Claim, Thing};

const NAMES: [&str; 2] = ["virtualservices.networking.istio.io", "destinationrules.networking.istio.io"];

/// Istio's definitions of those two kinds, in the cluster until this is dropped.
#[derive(Debug)]
pub struct Definitions {
    _claim: Claim,
}

impl Definitions {
    /// True if the cluster knows VirtualService by a definition that is not ours.
    #[must_use]
    pub fn are_istio_s(kubectl: &Kubectl) -> bool {
        let words = ["get", "crd", NAMES[0], "-o", "json"];
        let Ok(text) = kubectl.run(&words) else { return false };
        !text.contains("\"app.kubernetes.io/name\": \"understudy\"")
    }

    /// Puts them there, out of a file with all of Istio's.
    ///
    /// # Errors
    /// When they are not in the file, or the cluster refuses.
    pub fn apply(kubectl: &Kubectl, file: &str) -> Result<Self> {
        let is_one = |text: &&str| NAMES.iter().any(|name| text.contains(&format!("\n  name: {name}\n")));
        let both: Vec<_> = file.split("\n---\n").filter(is_one).collect();
        ensure!(both.len() == NAMES.len(), "{} of {NAMES:?} are in the file", both.len());
        let ((), _claim) = leftovers::claim(|| {
            let words = ["delete", "crd", NAMES[0], NAMES[1], "--ignore-not-found", "--timeout=60s"];
            // They are too long for the annotation that a client's own apply leaves.
            let mut apply = kubectl.command(&["apply", "--server-side", "-f", "-"]);
            kubectl::output(&mut apply, Some(&both.join("\n---\n")))?;
            kubectl.run(&["label", "crd", NAMES[0], NAMES[1], "--overwrite", &format!("{LABEL}=")])?;
            Ok(((), Thing::Command(kubectl.command(&words))))
        })?;
        kubectl.run(&["wait", "crd", NAMES[0], NAMES[1], "--for=condition=Established", "--timeout=60s"])?;
        Ok(Self { _claim })
    }
}
