//! kubelet's probes on enrolled pods. The cast has had them through everything that came before.

use anyhow::{Result, bail, ensure};
use integration::{
    cluster::{
        Kubectl, Node, agents,
        cast::{self, NAMESPACE, NEAR, PROBE},
    },
    wait,
};
use serde_json::json;

use crate::scene::{NotHere, Scene};

/// Fails if what comes from the node is taken for the pod's own connections.
pub(crate) fn play(scene: &Scene) -> Result<()> {
    let cast = scene.cast()?;
    let (cluster, kubectl) = (&scene.cluster, &scene.cluster.kubectl);
    agents::enrolled(cluster, cast::PODS)?;
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

/// By a server that answers gRPC's health protocol and is on every control plane of kubeadm's kind: etcd. Fails if the probes of an enrolled
/// pod do.
pub(crate) fn by_grpc(scene: &Scene) -> Result<()> {
    scene.cast()?;
    let (cluster, kubectl) = (&scene.cluster, &scene.cluster.kubectl);
    let Some((node, image)) = cluster.nodes.iter().find_map(|node| Some((node, etcd(kubectl, node)?))) else {
        bail!(NotHere("no node has an image of etcd, the server that answers gRPC probes".to_owned()));
    };
    let probe = json!({"grpc": {"port": 2379}, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 5});
    let container = json!({
        "name": "etcd", "image": &image, "imagePullPolicy": "IfNotPresent",
        "command": ["etcd", "--data-dir=/tmp/etcd", "--listen-client-urls=http://0.0.0.0:2379",
                    "--advertise-client-urls=http://127.0.0.1:2379"],
        "startupProbe": {"grpc": {"port": 2379}, "periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": probe, "livenessProbe": probe,
    });
    kubectl.apply(NAMESPACE, &cast::pod("grpc", node, &json!({"app": "grpc"}), &container).to_string())?;
    cast::pods_ready(kubectl, NAMESPACE, "app=grpc")?;
    agents::enrolled(cluster, cast::PODS + 1)?;
    // Enrolled by now; a probe that failed would show within this time.
    std::thread::sleep(std::time::Duration::from_secs(8));
    let pod = kubectl.json(&["get", "pod", "-n", NAMESPACE, "grpc"])?;
    let status = &pod["status"]["containerStatuses"][0];
    ensure!(status["ready"] == true && status["restartCount"] == 0, "probed by gRPC: {status}");
    scene.show(format!("gRPC probes of {image}: ready, not started again"));
    kubectl.run(&["delete", "pod", "-n", NAMESPACE, "grpc"])?;
    agents::enrolled(cluster, cast::PODS)
}

fn etcd(kubectl: &Kubectl, node: &Node) -> Option<String> {
    let told = kubectl.run(&["get", "node", &node.name, "-o", "jsonpath={.status.images[*].names[*]}"]).ok()?;
    told.split_whitespace().find(|name| name.contains("/etcd:")).map(str::to_owned)
}
