//! Pods that come and go, by the hundred; what an agent and a node hold must come back to where it was.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use integration::{
    cluster::{Agent, CAPTURE, Cluster, Namespace, Node, agents, cast, install},
    wait,
};
use serde_json::{Value, json};

use crate::scene::Scene;

const NAMESPACE: &str = "understudy-e2e-churn";
/// Pods of a wave; two small nodes carry them beside what is there.
const WAVE: usize = 50;
const WAVES: usize = 4;

/// What must come back.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Held {
    /// Descriptors of the agent but for its own connections, to endpoints and to the API server; `None` where they are not to be seen.
    descriptors: Option<usize>,
    enrolled: f64,
    /// Entries of the map of namespaces; `None` where the agent's descriptors are not to be seen.
    entries: Option<usize>,
    /// Network namespaces of the node's pods; `None` where the node is not to be reached.
    namespaces: Option<usize>,
}

impl Held {
    fn by(cluster: &Cluster, agent: &Agent, node: &Node) -> Result<Self> {
        let metrics = agent.metrics(&cluster.kubectl)?;
        let entries = match agent.in_kernel() {
            Ok(kernel) => Some(kernel.netns()?.keys().filter(Result::is_ok).count()),
            Err(_) => None,
        };
        Ok(Self {
            descriptors: agent.descriptors().ok(),
            enrolled: metrics.sum("understudy_enrolled_actual", &[]),
            entries,
            namespaces: node.is_reachable().then(|| node.namespaces()).transpose()?,
        })
    }

    /// Nothing of it is more than before.
    fn is_back(&self, before: &Self) -> bool {
        self.descriptors <= before.descriptors
            && self.enrolled == before.enrolled
            && self.entries == before.entries
            && self.namespaces <= before.namespaces
    }
}

/// Fails if an agent keeps anything of a pod that is gone, or if it complains of one for ever.
pub(crate) fn play(scene: &Scene) -> Result<()> {
    scene.cast()?;
    let (cluster, kubectl) = (&scene.cluster, &scene.cluster.kubectl);
    let agents = scene.agents()?;
    let both = || -> Result<Vec<Held>> {
        agents.iter().zip(&cluster.nodes).map(|(agent, node)| Held::by(cluster, agent, node)).collect()
    };
    // Connections of the scenario before are pooled for a while.
    let before = wait::until_or("the agents are at rest", Duration::from_secs(150), || {
        let first = both()?;
        std::thread::sleep(Duration::from_secs(1));
        Ok((both()? == first).then_some(first))
    })?;
    let _namespace = Namespace::create(kubectl, NAMESPACE, &[&format!("{CAPTURE}=enabled")])?;
    let start = Instant::now();
    let mut most = None;
    for wave in 0..WAVES {
        let pods: Vec<Value> = (0..WAVE)
            .map(|number| {
                let node = &cluster.nodes[number % 2];
                let name = format!("wave-{wave}-{number}");
                cast::client(&name, node, &cluster.images.client, &json!({"app": "wave"}))
            })
            .collect();
        kubectl.apply(NAMESPACE, &cast::list(&pods))?;
        if wave % 2 == 0 {
            cast::pods_ready(kubectl, NAMESPACE, "app=wave")?;
            agents::enrolled(cluster, cast::PODS + WAVE)?;
        } else {
            // Others go while they are being enrolled.
            wait::until_or("half of the wave runs", install::PATIENCE, || {
                let words = ["get", "pods", "-n", NAMESPACE, "--field-selector=status.phase=Running", "-o", "name"];
                Ok((kubectl.run(&words)?.lines().count() >= WAVE / 2).then_some(()))
            })?;
        }
        for (agent, held) in agents.iter().zip(both()?) {
            most = most.max(held.descriptors);
            ensure!(agents::on(kubectl, &cluster.nodes[0]).is_ok(), "{} is not alone on its node any more", agent.pod);
        }
        kubectl.run(&["delete", "pods", "-n", NAMESPACE, "-l", "app=wave", "--timeout=180s"])?;
    }
    scene.show(format!(
        "{} pods came and went in {:.0} s; most descriptors of an agent: {most:?}",
        WAVE * WAVES,
        start.elapsed().as_secs_f32()
    ));
    let mut after = Vec::new();
    let back = wait::until_or("everything is back where it was", Duration::from_secs(150), || {
        after = both()?;
        Ok(after.iter().zip(&before).all(|(after, before)| after.is_back(before)).then_some(()))
    });
    back.with_context(|| format!("before: {before:?}, after: {after:?}"))?;
    for ((agent, after), before) in agents.iter().zip(&after).zip(&before) {
        scene.show(format!("{}: before {before:?}, after {after:?}", agent.node));
    }
    // An error loop would say something in any few seconds.
    std::thread::sleep(Duration::from_secs(5));
    for agent in &agents {
        let log = agent.log(kubectl, "4s")?;
        let complaints: Vec<_> = log.lines().filter(|line| line.contains("ERROR") || line.contains("WARN")).collect();
        ensure!(complaints.is_empty(), "{} still complains: {complaints:?}", agent.pod);
    }
    ensure!(scene.agents()? == agents, "an agent was started again");
    scene.show("no complaint in the log afterwards, no agent started again");
    Ok(())
}

/// T13. Fails if a pod that is completed, but not deleted, counts as one that should be enrolled.
pub(crate) fn jobs(scene: &Scene) -> Result<()> {
    scene.cast()?;
    let (cluster, kubectl) = (&scene.cluster, &scene.cluster.kubectl);
    let _namespace = Namespace::create(kubectl, NAMESPACE, &[&format!("{CAPTURE}=enabled")])?;
    let number = 4;
    let job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "brief"},
        "spec": {"completions": number, "parallelism": number, "template": {"spec": {
            "restartPolicy": "Never",
            "containers": [{
                "name": "client", "image": cluster.images.client, "imagePullPolicy": "IfNotPresent",
                // Until somebody lets them go, so that they are seen enrolled first.
                "command": ["sh", "-c", "until [ -e /tmp/go ]; do sleep 0.2; done"],
            }],
        }}},
    });
    kubectl.apply(NAMESPACE, &job.to_string())?;
    agents::enrolled(cluster, cast::PODS + number)?;
    // A pod is enrolled before its container is there.
    wait::until_or("the job's pods run", install::PATIENCE, || {
        let words = ["get", "pods", "-n", NAMESPACE, "--field-selector=status.phase=Running", "-o", "name"];
        Ok((kubectl.run(&words)?.lines().count() == number).then_some(()))
    })?;
    let pods = kubectl.run(&["get", "pods", "-n", NAMESPACE, "-o", "jsonpath={.items[*].metadata.name}"])?;
    for pod in pods.split_whitespace() {
        kubectl.exec(NAMESPACE, pod, &["touch", "/tmp/go"])?;
    }
    kubectl.run(&["wait", "job/brief", "-n", NAMESPACE, "--for=condition=complete", "--timeout=120s"])?;
    agents::enrolled(cluster, cast::PODS)?;
    let words = ["get", "pods", "-n", NAMESPACE, "--field-selector=status.phase=Succeeded", "-o", "name"];
    let there = kubectl.run(&words)?.lines().count();
    ensure!(there == number, "{there} of {number} completed pods are there: it proves nothing");
    scene.show(format!("{number} pods of a job: enrolled, completed, released; the pods are still listed"));
    Ok(())
}
