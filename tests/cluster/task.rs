//! Istio's mirroring task: its own commands; then the same rule with client, v1 and v2 on any of the nodes.

use anyhow::{Result, ensure};
use integration::{
    access_log,
    cluster::{CAPTURE, Kubectl, LABEL, Namespace, agents, cast::pods_ready, task},
    wait,
};
use serde_json::json;

use crate::scene::Scene;

/// Requests of a step; one alone could go to v1 by chance.
const REQUESTS: usize = 10;
/// Requests in each placement.
const PLACED: usize = 4;

/// Fails if a request of the default rule reaches v2, if a shadow is missing, or if the client does not see v1's answer.
pub(crate) fn play(scene: &Scene) -> Result<()> {
    scene.agents()?;
    let cluster = &scene.cluster;
    let kubectl = &cluster.kubectl;
    let _namespace = Namespace::adopt(kubectl, task::NAMESPACE, |kubectl| {
        task::run(cluster, "namespace")?;
        let (mark, capture) = (format!("{LABEL}="), format!("{CAPTURE}=enabled"));
        kubectl.run(&["label", "namespace", task::NAMESPACE, &mark, &capture]).map(drop)
    })?;
    for part in ["servers", "service", "client"] {
        task::run(cluster, part)?;
    }
    running(kubectl)?;
    task::run(cluster, "pods")?;
    agents::enrolled(cluster, 3)?;

    task::run(cluster, "default-rule")?;
    steered(scene)?;
    let (v1, v2) = logs(kubectl)?;
    for _ in 0..REQUESTS {
        traffic(scene)?;
    }
    let (v1, v2) = grown(kubectl, (v1, v2), (REQUESTS, 0))?;
    scene.show(format!("default rule: {REQUESTS} requests, v1 logged {v1}, v2 {v2}"));

    task::run(cluster, "mirror-rule")?;
    mirrored(scene)?;
    let before = logs(kubectl)?;
    for _ in 0..REQUESTS {
        traffic(scene)?;
    }
    let (v1, v2) = grown(kubectl, before, (REQUESTS, REQUESTS))?;
    scene.show(format!(
        "mirror rule: {REQUESTS} requests, v1 logged {v1}, v2 {v2} shadows; the client saw v1's answers"
    ));
    scene.show(task::run(cluster, "logs")?.lines().rev().take(1).collect::<String>());

    let [near, far] = &cluster.nodes;
    for (what, client, one, two) in [
        ("client and v1 on a node, v2 on the other", near, near, far),
        ("client alone on a node", near, far, far),
        ("client and v2 on a node, v1 on the other", far, near, far),
        ("all on one node", far, far, far),
    ] {
        for (deployment, node) in [("sleep", client), ("httpbin-v1", one), ("httpbin-v2", two)] {
            place(kubectl, deployment, &node.name)?;
        }
        running(kubectl)?;
        mirrored(scene)?;
        let before = logs(kubectl)?;
        for _ in 0..PLACED {
            traffic(scene)?;
        }
        let (v1, v2) = grown(kubectl, before, (PLACED, PLACED))?;
        let host = hosts(kubectl)?;
        scene.show(format!("{what}: v1 {v1}, v2 {v2}, Host at v2 {host}"));
    }
    let candidates = agents::settled(cluster)?;
    scene.show(format!("both agents: {candidates} candidates = outcomes"));
    task::run(cluster, "delete")?;
    Ok(())
}

/// Pods of the task that are not on their way out, ready.
fn running(kubectl: &Kubectl) -> Result<()> {
    for deployment in ["sleep", "httpbin-v1", "httpbin-v2"] {
        let name = format!("deployment/{deployment}");
        kubectl.run(&["rollout", "status", "-n", task::NAMESPACE, &name, "--timeout=180s"])?;
    }
    // A name lookup of the task takes all pods there are.
    wait::until_or("three pods, no more", integration::cluster::install::PATIENCE, || {
        let pods = kubectl.run(&["get", "pods", "-n", task::NAMESPACE, "-o", "name"])?;
        Ok((pods.lines().count() == 3).then_some(()))
    })?;
    pods_ready(kubectl, task::NAMESPACE, "app")
}

/// Moves a Deployment to a node, and lets v2's log name the Host.
fn place(kubectl: &Kubectl, deployment: &str, node: &str) -> Result<()> {
    let mut container = json!({"name": if deployment == "sleep" { "sleep" } else { "httpbin" }});
    if deployment == "httpbin-v2" {
        let words = [
            "gunicorn",
            "--access-logfile",
            "-",
            "--access-logformat",
            access_log::FORMAT,
            "-b",
            "0.0.0.0:80",
            "httpbin:app",
        ];
        container["command"] = json!(words);
    }
    let spec = json!({
        "nodeSelector": {"kubernetes.io/hostname": node},
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
    });
    let patch = json!({"spec": {"template": {"spec": spec}}}).to_string();
    kubectl.run(&["patch", "deployment", "-n", task::NAMESPACE, deployment, "-p", &patch]).map(drop)
}

/// The task's own request; its answer must be v1's to the client's own Host.
fn traffic(scene: &Scene) -> Result<()> {
    let answer = task::run(&scene.cluster, "traffic")?;
    // Flask prints JSON with or without spaces.
    ensure!(
        answer.replace(": ", ":").contains("\"Host\":\"httpbin:8000\"") && !answer.to_lowercase().contains("shadow"),
        "the client's answer is not that of v1 to its own request:\n{answer}"
    );
    Ok(())
}

/// Lines that v1 and v2 have logged of the task's request.
fn logs(kubectl: &Kubectl) -> Result<(usize, usize)> {
    let lines = |version: &str| {
        let log = kubectl.run(&["logs", "-n", task::NAMESPACE, &format!("deployment/httpbin-{version}")])?;
        Ok::<_, anyhow::Error>(log.lines().filter(|line| line.contains("GET /headers")).count())
    };
    Ok((lines("v1")?, lines("v2")?))
}

/// Waits until both logs have grown by that much; more is an error.
fn grown(kubectl: &Kubectl, before: (usize, usize), wanted: (usize, usize)) -> Result<(usize, usize)> {
    let mut by = (0, 0);
    let done = wait::until("both logs have every request", || {
        let now = logs(kubectl)?;
        by = (now.0 - before.0, now.1 - before.1);
        Ok((by.0 >= wanted.0 && by.1 >= wanted.1).then_some(()))
    });
    ensure!(done.is_ok() && by == wanted, "v1 logged {} and v2 {}, not {} and {}", by.0, by.1, wanted.0, wanted.1);
    Ok(by)
}

/// Waits until the default rule is in force: after it, ten requests in a row reach v1 alone.
fn steered(scene: &Scene) -> Result<()> {
    let kubectl = &scene.cluster.kubectl;
    wait::until_or("the default rule is in force", integration::cluster::install::PATIENCE, || {
        let before = logs(kubectl)?;
        for _ in 0..REQUESTS {
            traffic(scene)?;
        }
        wait::until("every request is in a log", || {
            let now = logs(kubectl)?;
            let by = (now.0 - before.0, now.1 - before.1);
            Ok((by.0 + by.1 == REQUESTS).then_some(by.1 == 0))
        })
        .map(|all| all.then_some(()))
    })
}

/// Waits until a request is mirrored.
fn mirrored(scene: &Scene) -> Result<()> {
    let kubectl = &scene.cluster.kubectl;
    wait::until_or("requests are mirrored", integration::cluster::install::PATIENCE, || {
        let before = logs(kubectl)?;
        // While pods move, a request may find none.
        if traffic(scene).is_err() {
            return Ok(None);
        }
        let both = wait::until_or("a shadow", std::time::Duration::from_secs(2), || {
            let now = logs(kubectl)?;
            Ok((now.0 == before.0 + 1 && now.1 == before.1 + 1).then_some(()))
        });
        Ok(both.ok())
    })
}

/// The Host of all requests that v2 has logged since it was moved.
fn hosts(kubectl: &Kubectl) -> Result<String> {
    let log = kubectl.run(&["logs", "-n", task::NAMESPACE, "deployment/httpbin-v2"])?;
    let lines: Vec<_> = access_log::lines(&log).into_iter().filter(|line| line.request.contains("/headers")).collect();
    // Before the client was enrolled again, a request may have come past us.
    let shadows = lines.iter().filter(|line| line.host == "httpbin-shadow:8000").count();
    ensure!(shadows > PLACED, "{shadows} of {} requests at v2 have the Host httpbin-shadow:8000", lines.len());
    Ok("httpbin-shadow:8000".to_owned())
}
