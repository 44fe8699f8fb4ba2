//! kind: a cluster of two nodes that is there or is made, and images that are put into it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{install::PATIENCE, kubectl::output};
use crate::{needs, paths, wait};

/// One node for the API server and one beside it; pods run on both.
const CONFIG: &str =
    "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes: [{role: control-plane}, {role: worker}]\n";

/// Label and taint of the node with the API server.
const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";

/// What is not on PATH of what a run needs, and where it comes from; empty if all is there.
#[must_use]
pub fn missing(with_kind: bool) -> Vec<String> {
    let all = [
        ("kubectl", "https://kubernetes.io/docs/tasks/tools", true),
        ("kind", "https://kind.sigs.k8s.io, or `go install sigs.k8s.io/kind@latest`", with_kind),
        ("docker", "https://docs.docker.com/engine/install; kind's nodes are its containers", with_kind),
    ];
    let missing = all.into_iter().filter(|(name, _, needed)| *needed && needs::find(name).is_none());
    missing.map(|(name, from, _)| format!("no {name} on PATH: {from}")).collect()
}

/// Name of the cluster: KIND_CLUSTER_NAME as kind itself reads it, or ours.
#[must_use]
pub fn name(given: Option<String>) -> String {
    given.unwrap_or_else(|| "understudy".to_owned())
}

fn kind(words: &[&str]) -> Command {
    let mut command = Command::new(needs::program("kind"));
    command.args(words);
    command
}

/// True if there is a cluster of that name.
///
/// # Errors
/// When kind's engine does not answer.
pub fn exists(name: &str) -> Result<bool> {
    let clusters = output(&mut kind(&["get", "clusters"]), None).context("does the docker daemon run?")?;
    Ok(clusters.lines().any(|line| line == name))
}

/// Uses the cluster of that name or makes it (of that node image, or kind's own), and returns its configuration for kubectl.
///
/// # Errors
/// When it cannot be made.
pub fn cluster(name: &str, node_image: Option<&str>) -> Result<PathBuf> {
    let file = paths::workspace().join("target/e2e/kubeconfig");
    let folder = file.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = file.to_str().context("the workspace's path is not UTF-8")?;
    if exists(name)? {
        println!("the kind cluster `{name}` is there");
        output(&mut kind(&["export", "kubeconfig", "--name", name, "--kubeconfig", path]), None)?;
        return Ok(file);
    }
    println!("making the kind cluster `{name}` (one to three minutes)");
    let mut words = vec!["create", "cluster", "--name", name, "--kubeconfig", path, "--wait", "180s", "--config", "-"];
    words.extend(node_image.into_iter().flat_map(|image| ["--image", image]));
    output(&mut kind(&words), Some(CONFIG))?;
    let kubectl = super::Kubectl::new(needs::program("kubectl"), &file);
    // Of those that have the taint: kubectl fails at a node without.
    kubectl.run(&["taint", "nodes", "-l", CONTROL_PLANE, &format!("{CONTROL_PLANE}-")])?;
    // kind waits for the control plane alone.
    wait::until_or("all nodes take pods", PATIENCE, || {
        let taints = kubectl.run(&["get", "nodes", "-o", "jsonpath={.items[*].spec.taints}"])?;
        Ok(taints.trim().is_empty().then_some(()))
    })?;
    Ok(file)
}

/// Puts an image archive into every node.
///
/// # Errors
/// When kind refuses.
pub fn load(name: &str, archive: &Path) -> Result<()> {
    let Some(path) = archive.to_str().filter(|_| archive.is_file()) else {
        bail!("there is no image archive {}", archive.display());
    };
    output(&mut kind(&["load", "image-archive", path, "--name", name]), None).map(drop)
}
