//! The README's first command.

use std::time::Instant;

use anyhow::{Result, ensure};

use crate::scene::Scene;

/// Fails if an agent is called ready before its hooks are attached, or if it does not start with the rights of its manifest.
pub(crate) fn play(scene: &Scene) -> Result<()> {
    let start = Instant::now();
    let agents = scene.agents()?;
    scene.show(format!("two agents ready after {:.1} s", start.elapsed().as_secs_f32()));
    for agent in &agents {
        let kubectl = &scene.cluster.kubectl;
        let ready = agent.page(kubectl, "readyz")?;
        ensure!(!ready.trim().is_empty(), "/readyz of {} is empty", agent.pod);
        let metrics = agent.metrics(kubectl)?;
        ensure!(metrics.generation() >= 1.0, "{} has no configuration in force", agent.pod);
        let (memory, fds) = (metrics.sum("process_resident_memory_bytes", &[]), metrics.sum("process_open_fds", &[]));
        scene.show(format!(
            "{} on {}: {}, resident {:.1} MiB, {fds} descriptors, restarts {}",
            agent.pod,
            agent.node,
            ready.lines().next().unwrap_or_default(),
            memory / 1_048_576.0,
            agent.restarts
        ));
        ensure!(agent.restarts == 0, "{} was started {} times again", agent.pod, agent.restarts);
    }
    Ok(())
}
