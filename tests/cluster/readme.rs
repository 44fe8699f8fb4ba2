//! What README says of Kubernetes, typed as it stands there.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use integration::{
    cluster::{LABEL, Namespace, agents, kubectl::output},
    needs, paths, wait,
};

use crate::scene::Scene;

const README: &str = include_str!("../../README.md");
/// What makes the cluster and the image, which this run has done.
const DONE: [&str; 2] = ["kind create cluster", "cargo xtask image"];
/// The images of its example, where they cannot be pulled: what stands in for them.
const EXAMPLE: [(&str, &str); 2] = [
    ("docker.io/kennethreitz/httpbin:latest", "docker.io/library/httpbin:local"),
    ("docker.io/curlimages/curl:latest", "docker.io/library/client:local"),
];
const NAMESPACE: &str = "mirror";

/// Fails if a command of the section does not work, or if what its comments promise does not come.
pub(crate) fn play(scene: &Scene) -> Result<()> {
    let (cluster, kubectl) = (&scene.cluster, &scene.cluster.kubectl);
    let lines = lines().context("README has no section on Kubernetes with commands")?;
    let (done, lines): (Vec<&str>, Vec<&str>) =
        lines.into_iter().partition(|line| DONE.iter().any(|done| line.starts_with(done)));
    ensure!(done.len() == DONE.len(), "README makes its cluster and its image otherwise: {done:?}");
    let _images: Vec<_> = cluster.nodes.iter().map(|node| node.image_names(&EXAMPLE)).collect::<Result<_>>()?;
    // It is there from the scenarios before; applying it again is as good, and it must be known to whoever removes it.
    scene.agents()?;
    let at = lines.iter().position(|line| line.contains("create namespace")).context("README makes no namespace")?;
    for line in &lines[..at] {
        run(scene, line)?;
    }
    let namespace = Namespace::adopt(kubectl, NAMESPACE, |kubectl| {
        run(scene, lines[at])?;
        kubectl.run(&["label", "namespace", NAMESPACE, &format!("{LABEL}=")]).map(drop)
    })?;
    let mut answers = String::new();
    for line in &lines[at + 1..] {
        let said = run(scene, line)?;
        if line.contains("curl") {
            answers.push_str(&said);
        }
        if line.contains("logs") {
            // A shadow may arrive after its answer.
            wait::until("both have seen it", || {
                Ok((run(scene, line)?.matches("GET /headers").count() >= 2).then_some(()))
            })
            .with_context(|| format!("at first the logs were\n{said}"))?;
        }
    }
    ensure!(answers.replace(" ", "").contains("\"Host\":\"httpbin:8000\""), "v1 answered {answers}");
    scene.show(format!(
        "{} commands of README's section, word for word; v1 answered, and both logs have the request",
        lines.len()
    ));
    drop(namespace);
    agents::ready(cluster).map(drop)
}

/// The commands of the first block of the section.
fn lines() -> Option<Vec<&'static str>> {
    let (_, section) = README.split_once("\n## On Kubernetes\n")?;
    let (_, block) = section.split_once("```sh\n")?;
    let (block, _) = block.split_once("```")?;
    Some(block.lines().filter(|line| !line.trim().is_empty()).collect())
}

/// In a shell, in the folder in which README is.
fn run(scene: &Scene, line: &str) -> Result<String> {
    let (kubectl, kubeconfig) = scene.cluster.kubectl.environment();
    let path = std::env::join_paths([kubectl].into_iter().chain(needs::search_path()))?;
    let mut shell = Command::new(needs::program("bash"));
    shell.args(["-euo", "pipefail", "-c", line]).current_dir(paths::workspace());
    output(shell.env("PATH", path).env("KUBECONFIG", kubeconfig), None).with_context(|| format!("README's `{line}`"))
}
