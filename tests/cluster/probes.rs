//! kubelet's probes on enrolled pods. The cast has had them through everything that came before.

use anyhow::{Result, ensure};
use integration::{
    cluster::{
        agents,
        cast::{NAMESPACE, NEAR, PROBE},
    },
    wait,
};

use crate::scene::Scene;

/// Fails if what comes from the node is taken for the pod's own connections.
pub(crate) fn play(scene: &Scene) -> Result<()> {
    let cast = scene.cast()?;
    let (cluster, kubectl) = (&scene.cluster, &scene.cluster.kubectl);
    agents::enrolled(cluster, integration::cluster::cast::PODS)?;
    let already = cast.log("httpbin-v1")?.len();
    let probes = wait::until("kubelet probes on", || {
        let log = cast.log("httpbin-v1")?;
        let probes = log.iter().skip(already).filter(|line| line.request.contains(PROBE)).count();
        Ok((probes >= 5).then_some(log))
    })?;
    let seen: Vec<_> = probes.iter().filter(|line| line.request.contains(PROBE)).collect();
    let pods = kubectl.run(&["get", "pods", "-n", NAMESPACE, "-o", "jsonpath={.items[*].status.podIP}"])?;
    for line in &seen {
        ensure!(line.status == 200, "a probe was answered {line}");
        let is_pod = pods.split_whitespace().any(|address| address == line.client);
        ensure!(!is_pod && !line.client.starts_with("127."), "a probe came from {}, which is no node", line.client);
    }
    let shadows = cast.shadows(PROBE)?.len();
    ensure!(shadows == 0, "{shadows} probes were mirrored");
    cast.untouched()?;
    scene.show(format!("{} HTTP probes of v1, all 200, all from {}, none mirrored", seen.len(), seen[0].client));
    scene.show("TCP probes and probes by a program: no pod of the cast was started again in the whole run");
    // What is not captured goes on as it would without us: inside the pod, and past the service.
    let own = kubectl.exec(NAMESPACE, "httpbin-v1", &["true"]);
    ensure!(own.is_ok(), "exec in an enrolled pod: {own:?}");
    cast.captured(NEAR).map(drop)
}
