//! Rolling upgrades: a new agent beside the old one, which drains.

use std::time::Instant;

use anyhow::{Result, ensure};
use integration::cluster::{
    Download, Load, agents,
    cast::{FAR, HOST, NAMESPACE, NEAR},
};

use crate::scene::Scene;

/// Fails if the old agent takes its hooks away before the new one is ready, or closes a listener with connections in its queue.
pub(crate) fn play(scene: &Scene) -> Result<()> {
    let cast = scene.cast()?;
    let (cluster, kubectl) = (&scene.cluster, &scene.cluster.kubectl);
    let loads = [Load::start(kubectl, NAMESPACE, NEAR, HOST)?, Load::start(kubectl, NAMESPACE, FAR, HOST)?];
    let mut agents = scene.agents()?;
    for cycle in 1..=scene.cycles {
        let start = Instant::now();
        let downloads =
            [Download::start(kubectl, NAMESPACE, NEAR, HOST)?, Download::start(kubectl, NAMESPACE, FAR, HOST)?];
        for download in &downloads {
            ensure!(download.is_captured()?, "the download was not captured: it proves nothing");
        }
        kubectl.run(&["rollout", "restart", "-n", agents::NAMESPACE, "daemonset/understudy"])?;
        kubectl.run(&["rollout", "status", "-n", agents::NAMESPACE, "daemonset/understudy", "--timeout=180s"])?;
        let now = agents::ready(cluster)?;
        ensure!(now.iter().zip(&agents).all(|(now, old)| now.uid != old.uid), "not every agent is a new one");
        agents = now;
        let took = start.elapsed();
        downloads.into_iter().try_for_each(Download::whole)?;
        cast.on_stage(cluster)?;
        scene.show(format!(
            "upgrade {cycle}: {:.0} s, a captured download of 20 s on each node: whole",
            took.as_secs_f32()
        ));
    }
    let tags = loads.each_ref().map(|load| load.tag.clone());
    for (load, tag) in loads.into_iter().zip(tags) {
        let tally = load.stop()?;
        ensure!(tally.failures() == 0, "upgrades cost connections: {tally}");
        let (past, shadows) = (cast.primaries("httpbin-v2", &tag)?, cast.shadows(&tag)?.len());
        scene.show(format!("{tally}; {shadows} shadows, {past} went past us"));
    }
    Ok(())
}
