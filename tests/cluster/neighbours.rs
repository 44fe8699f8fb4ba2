//! Two nodes on one kernel: what happens to the agent of one is nothing to the other.

use anyhow::{Result, ensure};
use integration::cluster::{
    Load, agents,
    cast::{FAR, HOST, NAMESPACE, NEAR},
};

use crate::scene::Scene;

/// Fails if an agent attaches to the machine's root instead of its node's, or if it removes what is not its own.
pub(crate) fn play(scene: &Scene) -> Result<()> {
    let cast = scene.cast()?;
    let (cluster, kubectl) = (&scene.cluster, &scene.cluster.kubectl);
    let [near, far] = scene.agents()?;
    let loads = [Load::start(kubectl, NAMESPACE, NEAR, HOST)?, Load::start(kubectl, NAMESPACE, FAR, HOST)?];
    let before = far.metrics(kubectl)?;
    kubectl.run(&["delete", "pod", "-n", agents::NAMESPACE, &near.pod, "--timeout=120s"])?;
    cast.captured(FAR)?;
    let [now_near, now_far] = agents::ready(cluster)?;
    ensure!(now_far == far, "the other node's agent was {far:?} and is {now_far:?}");
    ensure!(now_near.uid != near.uid, "the agent was not replaced");
    cast.on_stage(cluster)?;
    let after = now_far.metrics(kubectl)?;
    let of = |name: &str, labels: &[(&str, &str)]| after.sum(name, labels) - before.sum(name, labels);
    let tags = loads.each_ref().map(|load| load.tag.clone());
    for ((load, tag), what) in loads.into_iter().zip(tags).zip(["whose agent was deleted", "beside it"]) {
        let tally = load.stop()?;
        ensure!(tally.failures() == 0, "the node {what}: {tally}");
        scene.show(format!("the node {what}: {tally}; {} shadows", cast.shadows(&tag)?.len()));
    }
    let redirected = of("understudy_capture_connects_total", &[("verdict", "redirected")]);
    ensure!(redirected > 0.0, "nothing was captured on the other node meanwhile");
    scene.show(format!("the other agent captured {redirected} connections meanwhile, enrolled as before"));
    Ok(())
}
