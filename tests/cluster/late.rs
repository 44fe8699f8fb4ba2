//! The agent comes last: pods run already, as after a reboot of a node.

use anyhow::{Result, ensure};
use integration::{
    cluster::{
        agents,
        cast::{self, NAMESPACE, PODS},
        install,
    },
    wait,
};
use serde_json::json;

use crate::scene::Scene;

/// Pods on each node beside the cast.
const MORE: usize = 4;

/// Fails if an agent is ready before it has enrolled what is there, or if a pod must be started again to be captured.
pub(crate) fn play(scene: &Scene) -> Result<()> {
    let cast = scene.cast()?;
    let (cluster, kubectl) = (&scene.cluster, &scene.cluster.kubectl);
    install::remove_agents(kubectl)?;
    ensure!(cast.listeners(cast::NEAR)? == 0, "an agent that was deleted has left a listener");
    let pods = cluster.nodes.iter().enumerate().flat_map(|(at, node)| {
        (0..MORE).map(move |number| {
            cast::client(&format!("early-{at}-{number}"), node, &cluster.images.client, &json!({"app": "early"}))
        })
    });
    kubectl.apply(NAMESPACE, &cast::list(&pods.collect::<Vec<_>>()))?;
    cast::pods_ready(kubectl, NAMESPACE, "app=early")?;

    // Each node has half of the cast.
    let wanted = (PODS / 2 + MORE) as f64;
    scene.reinstall()?;
    let (mut refused, mut seen) = (0, std::collections::BTreeSet::new());
    wait::until_or("both agents are ready", install::PATIENCE, || {
        for agent in agents::all(kubectl)? {
            match agent.page(kubectl, "readyz") {
                Ok(_) => {
                    let (desired, actual) = agent.enrolled(kubectl)?;
                    ensure!(
                        (desired, actual) == (wanted, wanted),
                        "{} says that it is ready with {actual} of {desired} pods enrolled, there are {wanted}",
                        agent.pod
                    );
                    seen.insert(agent.node);
                }
                Err(_) => refused += 1,
            }
        }
        Ok((seen.len() == 2).then_some(()))
    })?;
    scene.show(format!(
        "asked {refused} times before it was ready; at the first `ready` each agent had all {wanted} pods"
    ));
    for node in ["early-0-0", "early-1-0"] {
        cast.captured(node)?;
    }
    cast.on_stage_with(cluster, 2 * MORE)?;
    cast.untouched()?;
    scene.show("pods that were there before are captured, none was started again");
    kubectl.run(&["delete", "pod", "-n", NAMESPACE, "-l", "app=early"])?;
    agents::enrolled(cluster, PODS)
}
