//! Pods and nodes that cannot be captured: each says why where an operator looks, and all others go on.

use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use integration::{
    cluster::{
        Agent, Cast, Kubectl, Load, Object, agents,
        cast::{self, FAR, HOST, NAMESPACE, NEAR},
        install::PATIENCE,
        kubectl::output,
    },
    paths, wait,
};
use serde_json::{Value, json};

use crate::scene::Scene;

/// The name says that its pods are out of sight; what it starts is what all nodes have, so that its pod runs here too.
const SANDBOX: &str = "
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: gvisor-e2e}
handler: runc
";
/// What keeps a whole node from being captured: how the DaemonSet is spoilt, and a word of what the agent then says.
const SPOILT: [(&str, &str, &str); 2] = [
    (
        "no cgroup2 where it should be",
        r#"[{"op": "add", "path": "/spec/template/spec/containers/0/env/-", "value": {"name": "UNDERSTUDY_CGROUP_ROOT", "value": "/host/proc"}}]"#,
        "cgroup2",
    ),
    (
        "without CAP_BPF and CAP_SYS_ADMIN",
        r#"[{"op": "replace", "path": "/spec/template/spec/containers/0/securityContext/capabilities/add", "value": ["NET_ADMIN", "SYS_PTRACE"]}]"#,
        "CAP_",
    ),
];

/// Fails if an agent that cannot do its work ends without a word, is called ready, or takes the place of one that can.
pub(crate) fn play(scene: &Scene) -> Result<()> {
    let cast = scene.cast()?;
    let kubectl = &scene.cluster.kubectl;
    let loads = [Load::start(kubectl, NAMESPACE, NEAR, HOST)?, Load::start(kubectl, NAMESPACE, FAR, HOST)?];
    sandboxed_pod(scene, &cast)?;
    no_rights(scene, &cast)?;
    for (what, patch, word) in SPOILT {
        spoilt(scene, &cast, patch, word).with_context(|| what)?;
    }
    for load in loads {
        let tally = load.stop()?;
        ensure!(tally.failures() == 0, "what cannot be captured costs requests of others: {tally}");
        scene.show(format!("through all of it: {tally}"));
    }
    cast.untouched()
}

fn sandboxed_pod(scene: &Scene, cast: &Cast) -> Result<()> {
    let (cluster, kubectl) = (&scene.cluster, &scene.cluster.kubectl);
    let _class = Object::apply(kubectl, "runtimeclass/gvisor-e2e", SANDBOX)?;
    let mut pod = cast::client("sandboxed", &cluster.nodes[0], &cluster.images.client, &json!({"app": "sandboxed"}));
    pod["spec"]["runtimeClassName"] = "gvisor-e2e".into();
    kubectl.apply(NAMESPACE, &pod.to_string())?;
    cast::pods_ready(kubectl, NAMESPACE, "app=sandboxed")?;
    let reason = wait::until_or("the agent says why the pod is not enrolled", PATIENCE, || {
        let status = status_of(kubectl, &agents::on(kubectl, &cluster.nodes[0])?)?;
        let missing = status["enrolment"]["missing"].as_array().cloned().unwrap_or_default();
        Ok(missing.into_iter().find(|pod| pod["pod"] == format!("{NAMESPACE}/sandboxed")))
    })?;
    ensure!(reason["reason"].as_str().is_some_and(|reason| reason.contains("gvisor-e2e")), "{reason}");
    scene.show(format!("{}: {}", reason["pod"], reason["reason"]));
    let table = all_nodes(kubectl)?;
    ensure!(
        table.lines().count() >= 4 && table.contains("sandboxed is not enrolled"),
        "`understudy status --all-nodes` says\n{table}"
    );
    scene.show("`understudy status --all-nodes` has both nodes, and says it too");
    cast.captured(NEAR)?;
    kubectl.run(&["delete", "pod", "-n", NAMESPACE, "sandboxed"])?;
    agents::enrolled(cluster, cast::PODS)
}

/// An agent that may not read anything, on the second node.
fn no_rights(scene: &Scene, cast: &Cast) -> Result<()> {
    let (cluster, kubectl) = (&scene.cluster, &scene.cluster.kubectl);
    let old = agents::on(kubectl, &cluster.nodes[1])?;
    kubectl.run(&["delete", "clusterrolebinding", "understudy"])?;
    kubectl.run(&["delete", "pod", "-n", agents::NAMESPACE, &old.pod])?;
    let (agent, said) = unready(scene, &cluster.nodes[1].name, &[&old.pod], "ClusterRole `understudy`")?;
    scene.show(format!("without its ClusterRoleBinding {} is not ready: {said}", agent.node));
    let said_in_log = agent.log(kubectl, "60s")?;
    ensure!(said_in_log.contains("ClusterRole `understudy`"), "its log says\n{said_in_log}");
    cast.ask_tagged(FAR)?;
    cast.captured(NEAR)?;
    scene.reinstall()?;
    agents::ready(cluster)?;
    cast.captured(FAR)?;
    scene.show("its pods' requests were native meanwhile, those of the other node mirrored; bound again, it is ready by itself");
    Ok(())
}

/// A DaemonSet that cannot work is rolled out, and back.
fn spoilt(scene: &Scene, cast: &Cast, patch: &str, word: &str) -> Result<()> {
    let (cluster, kubectl) = (&scene.cluster, &scene.cluster.kubectl);
    let before = agents::ready(cluster)?;
    let daemonset = ["-n", agents::NAMESPACE, "daemonset/understudy"];
    kubectl.run(&[&["patch", "--type=json", "-p", patch], &daemonset[..]].concat())?;
    let old = before.each_ref().map(|agent| &*agent.pod);
    let seen = unready(scene, "", &old, word);
    let others = [cast.captured(NEAR), cast.captured(FAR)];
    let there = agents::all(kubectl)?;
    kubectl.run(&[&["rollout", "undo"], &daemonset[..]].concat())?;
    kubectl.run(&[&["rollout", "status", "--timeout=180s"], &daemonset[..]].concat())?;
    let (agent, said) = seen?;
    for took in others {
        took.context("the agent of before was to go on")?;
    }
    for agent in before {
        ensure!(there.contains(&agent), "{} has gone before another one was ready", agent.pod);
    }
    agents::ready(cluster)?;
    scene.show(format!("{}: {said}; the agent of before stays, and captures", agent.node));
    Ok(())
}

/// Waits for an agent on a node (empty: any) that is none of the old ones, runs, is not ready, and says a word about why.
fn unready(scene: &Scene, node: &str, old: &[&str], word: &str) -> Result<(Agent, String)> {
    let kubectl = &scene.cluster.kubectl;
    let mut seen = String::new();
    let found = wait::until_or("an agent that says why it is not ready", PATIENCE, || {
        for agent in agents::all(kubectl)? {
            if old.contains(&&*agent.pod) || !(node.is_empty() || agent.node == node) {
                continue;
            }
            if agent.ready {
                bail!("{} is ready", agent.pod);
            }
            // It may not listen yet.
            let Ok(status) = status_of(kubectl, &agent) else { continue };
            seen = status["missing"].to_string();
            if seen.contains(word) && status["ready"] == false {
                ensure!(agent.restarts == 0, "{} has ended {} times", agent.pod, agent.restarts);
                return Ok(Some((agent, seen.clone())));
            }
        }
        Ok(None)
    });
    found.with_context(|| format!("last it said {seen}"))
}

fn status_of(kubectl: &Kubectl, agent: &Agent) -> Result<Value> {
    Ok(serde_json::from_str(&agent.page(kubectl, "status")?)?)
}

/// Its exit code says whether all are ready, and that is not what is asked here.
fn all_nodes(kubectl: &Kubectl) -> Result<String> {
    let (_, kubeconfig) = kubectl.environment();
    output(Command::new(paths::binary()).args(["status", "--all-nodes", "--kubeconfig"]).arg(kubeconfig), None)
}
