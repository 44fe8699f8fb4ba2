//! The API server is away for two minutes; traffic and mirroring go on, also through a crash of an agent.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use integration::{
    cluster::{
        Load, agents,
        cast::{FAR, HOST, NAMESPACE, NEAR},
        install::PATIENCE,
        kubectl::output,
    },
    wait,
};

use crate::scene::Scene;

/// How long it is away, and when in that an agent is killed.
const AWAY: Duration = Duration::from_secs(120);
const KILL: Duration = Duration::from_secs(20);

/// Fails if an agent forgets its rules when it gets no answer, if it cleans up, or if one that starts meanwhile waits for the API server.
pub(crate) fn play(scene: &Scene) -> Result<()> {
    let cast = scene.cast()?;
    let (cluster, kubectl) = (&scene.cluster, &scene.cluster.kubectl);
    let [near, control_plane] = scene.reachable_nodes()?;
    let agent = agents::on(kubectl, near)?;
    let loads = [Load::start(kubectl, NAMESPACE, NEAR, HOST)?, Load::start(kubectl, NAMESPACE, FAR, HOST)?];
    wait::until("the load runs", || Ok((loads[0].tally()?.answered > 40).then_some(())))?;

    let away = control_plane.stop_api_server()?;
    // kubelet looks at its manifests every 20 seconds, and gives the server 30 to end.
    wait::until_or("the API server is away", Duration::from_secs(120), || {
        Ok(kubectl.raw("/livez").is_err().then_some(()))
    })?;
    let start = Instant::now();
    let from = now(near)?;
    thread::sleep(KILL);
    let killed = near.kill_agent(&agent.uid)?;
    wait::until_or("kubelet has started it again", PATIENCE, || {
        Ok(near.agent_pid(&agent.uid)?.filter(|pid| *pid != killed))
    })?;
    // It has its time to come back; what arrives after that is its own work.
    thread::sleep(KILL);
    let restarted = now(near)?;
    thread::sleep(AWAY.saturating_sub(start.elapsed()));
    let to = now(near)?;
    ensure!(kubectl.raw("/livez").is_err(), "the API server was not away all the time");
    drop(away);
    wait::until_or("the API server is back", PATIENCE, || Ok(kubectl.raw("/readyz").ok().map(drop)))?;
    scene
        .show(format!("the API server was away for {:.0} s, an agent was killed in it", start.elapsed().as_secs_f32()));

    agents::ready(cluster)?;
    // The node tells what happened meanwhile when it can.
    wait::until("the same pod, started again", || {
        let again = agents::on(kubectl, near)?;
        Ok((again.uid == agent.uid && again.restarts > agent.restarts && again.ready).then_some(()))
    })?;
    let tags = loads.each_ref().map(|load| load.tag.clone());
    for ((load, tag), (since, kills)) in loads.into_iter().zip(tags).zip([(&restarted, 1), (&from, 0)]) {
        let tally = load.stop()?;
        let stamps = cast.stamped_shadows(&tag)?;
        let shadows = stamps.iter().filter(|at| (since..&to).contains(at)).count();
        scene.show(format!("{tally}; {shadows} shadows from {since} to {to}"));
        ensure!(tally.failures() <= kills, "a missing API server costs requests: {tally}");
        ensure!(shadows > 40, "mirroring stopped without the API server: {shadows} shadows");
    }
    cast.on_stage(cluster)?;
    cast.untouched()?;
    recovered(scene).context("the control plane does not recover")
}

/// The node's clock, as container logs write it, to the second.
fn now(node: &integration::cluster::Node) -> Result<String> {
    Ok(node.sh("date -u +%Y-%m-%dT%H:%M:%S")?.trim().to_owned())
}

/// Waits until controllers and scheduler, which end without an API server, work again.
fn recovered(scene: &Scene) -> Result<()> {
    let kubectl = &scene.cluster.kubectl;
    kubectl.run(&["wait", "nodes", "--all", "--for=condition=Ready", "--timeout=180s"])?;
    let words = ["wait", "pods", "-n", "kube-system", "-l", "tier=control-plane", "--for=condition=Ready"];
    output(kubectl.command(&words).arg("--timeout=180s"), None).map(drop)
}
