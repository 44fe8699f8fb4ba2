//! An agent that is killed, once and again and again.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration::{
    cluster::{
        Load, agents,
        cast::{HOST, NAMESPACE, NEAR},
        install::PATIENCE,
    },
    in_kernel::InKernel,
    wait,
};

use crate::scene::{NotHere, Scene};

/// Kills after the first; kubelet waits 10, 20, … seconds between.
const MORE: usize = 2;

/// T14, T20. Fails if links outlive the process (new connections would then wait for a heartbeat to get stale), or if a start leaves those of
/// the process before attached.
pub(crate) fn play(scene: &Scene) -> Result<()> {
    let cast = scene.cast()?;
    let (cluster, kubectl) = (&scene.cluster, &scene.cluster.kubectl);
    let node = &scene.reachable_nodes()?[0];
    let agent = agents::on(kubectl, node)?;
    let visible = agent.in_kernel().is_ok();
    let mut generations: Vec<InKernel> = Vec::new();
    let load = Load::start(kubectl, NAMESPACE, NEAR, HOST)?;
    wait::until("the load runs", || Ok((load.tally()?.answered > 40).then_some(())))?;
    for kill in 0..=MORE {
        if visible {
            generations.push(agent.in_kernel()?);
        }
        let killed = node.kill_agent(&agent.uid)?;
        wait::until_or("kubelet has started it again", PATIENCE, || {
            Ok(node.agent_pid(&agent.uid)?.filter(|pid| *pid != killed))
        })?;
        agents::ready(cluster)?;
        let took = cast.captured(NEAR)?;
        if kill == 0 {
            scene.show(format!(
                "killed, started again by kubelet, captured again {:.1} s after it was ready",
                took.as_secs_f32()
            ));
        }
    }
    let tag = load.tag.clone();
    let tally = load.stop()?;
    let (v1, v2) = (cast.primaries("httpbin-v1", &tag)?, cast.primaries("httpbin-v2", &tag)?);
    scene.show(format!("{} kills under load: {tally}", MORE + 1));
    scene.show(format!(
        "{v1} were answered by v1, {v2} by v2 (those went past us); {} shadows",
        cast.shadows(&tag)?.len()
    ));
    // One connection at a time: a kill can cut the one that is under way, and no other.
    ensure!(tally.failures() <= MORE + 1, "{} kills cost more than the request under way: {tally}", MORE + 1);
    ensure!(v2 > 0, "no request went past a killed agent: it proves nothing");

    let agent = agents::on(kubectl, node)?;
    ensure!(agent.restarts as usize > MORE, "kubelet counts {} starts", agent.restarts);
    if !visible {
        return Err(NotHere(format!("{} runs on another machine: its kernel cannot be asked", agent.pod)).into());
    }
    for generation in &generations {
        ensure!(!generation.links.is_empty(), "the agent held no link: it proves nothing");
        generation.gone().context("something of a killed agent is left")?;
    }
    let now = agent.in_kernel()?;
    ensure!(now.alive()?.links.len() == generations[0].links.len(), "{now:?} instead of {:?}", generations[0]);
    scene.show(format!(
        "{} generations: links of the dead are gone, {} links of the living, {} programs",
        generations.len() + 1,
        now.links.len(),
        now.programs.len()
    ));
    wait::until_or("the other agent is as it was", Duration::from_secs(5), || Ok(agents::ready(cluster).ok().map(drop)))
}
