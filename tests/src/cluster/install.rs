//! The installation, as the README says: `kubectl apply -k deploy/`, and `delete` again.

use std::{process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};

use super::{Cluster, Definitions, Kubectl, agents};
use crate::{
    leftovers::{self, Claim, Thing},
    paths, wait,
};

/// How long the cluster may take for what it does by itself: starting pods, pulling images, finding out that something is gone.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// An installed Understudy; removed when dropped.
#[derive(Debug)]
pub struct Installation {
    folder: String,
    claim: Claim,
}

impl Installation {
    /// Applies the manifests; does not wait. Where Istio's own definitions are, they stay as they are.
    ///
    /// # Errors
    /// When the cluster refuses.
    pub fn apply(kubectl: &Kubectl) -> Result<Self> {
        let folder =
            paths::workspace().join(if Definitions::are_istio_s(kubectl) { "deploy/with-istio" } else { "deploy" });
        let folder = folder.to_str().context("the workspace's path is not UTF-8")?.to_owned();
        let ((), claim) = leftovers::claim(|| {
            kubectl.run(&["apply", "-k", &folder])?;
            Ok(((), Thing::Command(removal(kubectl, &folder))))
        })?;
        Ok(Self { folder, claim })
    }

    /// Waits until both nodes have their agent.
    ///
    /// # Errors
    /// When they do not get it.
    pub fn wait(&self, cluster: &Cluster) -> Result<[agents::Agent; 2]> {
        let seconds = format!("--timeout={}s", PATIENCE.as_secs());
        cluster.kubectl.run(&["rollout", "status", "-n", agents::NAMESPACE, "daemonset/understudy", &seconds])?;
        agents::ready(cluster)
    }

    /// Applies the manifests once more: what is missing comes back, nothing else changes.
    ///
    /// # Errors
    /// When the cluster refuses.
    pub fn again(self, kubectl: &Kubectl) -> Result<Self> {
        kubectl.run(&["apply", "-k", &self.folder])?;
        Ok(self)
    }

    /// `kubectl delete -k`, and a look whether the cluster has nothing of it any more.
    ///
    /// # Errors
    /// With what stays.
    pub fn remove(self, kubectl: &Kubectl) -> Result<()> {
        let folder = self.folder.clone();
        self.claim.release();
        super::kubectl::output(&mut removal(kubectl, &folder), None)?;
        let kinds = "namespaces,clusterroles,clusterrolebindings,customresourcedefinitions,priorityclasses";
        wait::until("nothing of the installation is in the cluster", || {
            let left = kubectl.run(&["get", kinds, "-l", agents::SELECTOR, "-o", "name", "--ignore-not-found"])?;
            Ok(left.trim().is_empty().then_some(()))
        })
    }
}

fn removal(kubectl: &Kubectl, folder: &str) -> Command {
    kubectl.command(&["delete", "-k", folder, "--ignore-not-found", "--wait", "--timeout=180s"])
}

/// Deletes the DaemonSet alone, and waits until its pods are gone.
///
/// # Errors
/// When they stay.
pub fn remove_agents(kubectl: &Kubectl) -> Result<()> {
    let words =
        ["delete", "daemonset", "understudy", "-n", agents::NAMESPACE, "--cascade=foreground", "--timeout=180s"];
    kubectl.run(&words)?;
    ensure!(agents::all(kubectl)?.is_empty(), "agents are left");
    Ok(())
}
