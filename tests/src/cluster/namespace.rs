//! A namespace of the cluster that goes when its guard goes.

use anyhow::Result;

use super::{Kubectl, LABEL, kubectl::output};
use crate::leftovers::{self, Claim, Thing};

/// A namespace, and everything in it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    _claim: Claim,
}

impl Namespace {
    /// Makes it, with labels `key=value` beside the one that marks it as ours.
    ///
    /// # Errors
    /// When there is one of that name.
    pub fn create(kubectl: &Kubectl, name: &str, labels: &[&str]) -> Result<Self> {
        Self::adopt(kubectl, name, |kubectl| {
            kubectl.run(&["create", "namespace", name])?;
            let mark = format!("{LABEL}=");
            kubectl.run(&[&["label", "namespace", name, &mark], labels].concat()).map(drop)
        })
    }

    /// One that `make` makes, by whatever commands.
    ///
    /// # Errors
    /// When `make` fails.
    pub fn adopt(kubectl: &Kubectl, name: &str, make: impl FnOnce(&Kubectl) -> Result<()>) -> Result<Self> {
        let ((), claim) = leftovers::claim(|| {
            let remove = kubectl.command(&["delete", "namespace", name, "--ignore-not-found", "--timeout=180s"]);
            make(kubectl)?;
            Ok(((), Thing::Command(remove)))
        })?;
        Ok(Self { name: name.to_owned(), _claim: claim })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A command that undoes something; what it says of its failure is shown, since nobody waits for it.
pub(crate) fn undo(mut command: std::process::Command) {
    if let Err(error) = output(&mut command, None) {
        eprintln!("warning: {error:#}");
    }
}
