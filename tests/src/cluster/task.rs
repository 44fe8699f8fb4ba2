//! Istio's mirroring task as it is written: its own commands, run by a shell, with three changes (no `istioctl kube-inject`, other images).

use std::{fmt::Write as _, process::Command};

use anyhow::{Context as _, Result};

use super::{Cluster, Images, kubectl::output};
use crate::needs;

/// The namespace that the task makes.
pub const NAMESPACE: &str = "mirror";
/// The commands of the task, part by part, each under a line `## name`.
const TEXT: &str = include_str!("../../fixtures/cluster/task.sh");

/// Runs a part of the task in a shell, after the parts that only name things; returns what it prints.
///
/// # Errors
/// When a command of it fails.
pub fn run(cluster: &Cluster, name: &str) -> Result<String> {
    let mut script = String::from("set -euo pipefail\n");
    if ["traffic", "logs"].contains(&name) {
        let _ = writeln!(script, "{{\n{}}} >/dev/null", part("names", &cluster.images)?);
    }
    script.push_str(&part(name, &cluster.images)?);
    let (kubectl, kubeconfig) = cluster.kubectl.environment();
    let path = std::env::join_paths([kubectl].into_iter().chain(needs::search_path()))?;
    let mut shell = Command::new(needs::program("bash"));
    shell.args(["-c", &script]).env("PATH", path).env("KUBECONFIG", kubeconfig);
    output(&mut shell, None).with_context(|| format!("the task's part `{name}`"))
}

/// A part's commands, changed as little as they must be.
fn part(name: &str, images: &Images) -> Result<String> {
    let (_, rest) = TEXT.split_once(&format!("## {name}\n")).with_context(|| format!("no part `{name}`"))?;
    let commands = rest.split("\n## ").next().unwrap_or(rest);
    let commands = commands.replace("istioctl kube-inject -f - | ", "");
    let commands = commands.replace("image: kennethreitz/httpbin", &format!("image: {}", images.httpbin));
    let commands = commands.replace("image: tutum/curl", &format!("image: {}", images.client));
    // A line of the task begins with the prompt where it is to be typed.
    let lines = commands.lines().map(|line| line.strip_prefix("$ ").unwrap_or(line));
    Ok(lines.map(|line| format!("{line}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Images;

    /// Fails if more of the task is changed than must be.
    #[test]
    fn the_task_is_as_it_is_written_but_for_injection_and_images() {
        let images = Images { httpbin: "httpbin:local".to_owned(), client: "client:local".to_owned() };
        let changed: String = ["namespace", "servers", "service", "client", "pods", "default-rule", "names", "traffic"]
            .iter()
            .chain(&["logs", "mirror-rule", "delete"])
            .map(|name| part(name, &images).unwrap())
            .collect();
        let own = |line: &&str| !line.is_empty() && !line.starts_with("##") && !line.contains("Apache License");
        let written: Vec<_> = TEXT.lines().filter(own).map(|line| line.strip_prefix("$ ").unwrap_or(line)).collect();
        let changed: Vec<_> = changed.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(changed.len(), written.len());
        for (now, then) in changed.iter().zip(written).filter(|(now, then)| *now != then) {
            assert!(then.contains("istioctl kube-inject") || then.contains("image:"), "`{then}` became `{now}`");
        }
        let foreign = |line: &&str| line.contains("istioctl") || line.contains("image: tutum");
        assert!(!changed.iter().any(foreign));
    }
}
