//! `kubectl delete -k deploy/`: nothing stays, in the cluster, in the nodes or in the kernel, and pods do not notice.

use anyhow::{Context as _, Result, ensure};
use integration::{
    cluster::{
        Load,
        cast::{FAR, HOST, NAMESPACE, NEAR},
    },
    in_kernel::InKernel,
};

use crate::scene::Scene;

/// Fails if an end leaves a pin, a file, a hook or a listener, or costs a request.
pub(crate) fn play(scene: &Scene) -> Result<()> {
    let in_order = once(scene, false);
    if scene.reachable_nodes().is_ok() {
        // What the one shows is not hidden by the other.
        once(scene, true).with_context(|| format!("in good order: {in_order:?}"))?;
    }
    in_order
}

/// Removes the installation, after an agent was killed if `dead`.
fn once(scene: &Scene, dead: bool) -> Result<()> {
    let cast = scene.cast()?;
    let (cluster, kubectl) = (&scene.cluster, &scene.cluster.kubectl);
    let agents = scene.agents()?;
    let held: Vec<InKernel> = agents.iter().filter_map(|agent| agent.in_kernel().ok()).collect();
    let loads = [Load::start(kubectl, NAMESPACE, NEAR, HOST)?, Load::start(kubectl, NAMESPACE, FAR, HOST)?];
    let installation = scene.installation()?;
    if dead {
        for (node, agent) in cluster.nodes.iter().zip(&agents) {
            node.kill_agent(&agent.uid)?;
        }
    }
    installation.remove(kubectl)?;
    let what = if dead { "after a SIGKILL of both" } else { "in good order" };
    for kernel in &held {
        kernel.gone().with_context(|| format!("removed {what}"))?;
    }
    for node in cluster.nodes.iter().filter(|node| node.is_reachable()) {
        let left = node.leftovers()?;
        ensure!(left.trim().is_empty(), "removed {what}, {} still has {left}", node.name);
    }
    for pod in [NEAR, FAR, "httpbin-v1", "httpbin-v2"] {
        let listeners = cast.listeners(pod)?;
        ensure!(listeners == 0, "removed {what}, {pod} still has {listeners} listeners");
        cast.ask(if pod == FAR { FAR } else { NEAR }, &format!("http://{HOST}/status/200"))?;
    }
    for load in loads {
        let tally = load.stop()?;
        ensure!(tally.failures() <= usize::from(dead), "the removal costs requests: {tally}");
        scene.show(format!("{what}: {tally}"));
    }
    cast.untouched()?;
    scene.show(format!(
        "{what}: nothing in the cluster, no pin or file on {} nodes, no link, program or map of {} agents, no listener in the pods",
        cluster.nodes.len(),
        held.len()
    ));
    Ok(())
}
