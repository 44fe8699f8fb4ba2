//! A service with a rule is deleted, and another gets its address at once.

use anyhow::{Context as _, Result, ensure};
use integration::{
    cluster::{
        agents,
        cast::{self, NAMESPACE, NEAR},
        install::PATIENCE,
    },
    wait,
};
use serde_json::json;

use crate::scene::Scene;

const RULE: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: first}
spec:
  hosts: [first]
  http:
  - route: [{destination: {host: first}}]
    mirror: {host: httpbin, subset: v2}
";
const REQUESTS: usize = 20;

/// Fails if rules are kept by address alone: the newcomer's requests would be routed and mirrored by the dead service's rule.
pub(crate) fn play(scene: &Scene) -> Result<()> {
    let cast = scene.cast()?;
    let (cluster, kubectl) = (&scene.cluster, &scene.cluster.kubectl);
    let other = cast::server("other", &cluster.nodes[1], &cluster.images.httpbin, &json!({"app": "other"}));
    let first = cast::service("first", "httpbin", None);
    kubectl.apply(NAMESPACE, &cast::list(&[other, first]))?;
    cast::pods_ready(kubectl, NAMESPACE, "app=other")?;
    kubectl.apply(NAMESPACE, RULE)?;
    wait::until_or("the first service is mirrored", PATIENCE, || {
        cast.ask(NEAR, "http://first:8000/status/200?first-alive")?;
        Ok((!cast.shadows("first-alive")?.is_empty()).then_some(()))
    })?;
    let address = kubectl.run(&["get", "service", "-n", NAMESPACE, "first", "-o", "jsonpath={.spec.clusterIP}"])?;
    kubectl.run(&["delete", "service", "-n", NAMESPACE, "first"])?;
    kubectl.apply(NAMESPACE, &cast::service("second", "other", Some(&address)).to_string())?;
    // kube-proxy needs its time to know the newcomer.
    wait::until_or("the second service answers", PATIENCE, || {
        Ok(cast.ask(NEAR, "http://second:8000/status/200?second-alive").ok().map(drop))
    })?;
    for number in 0..REQUESTS {
        // By the address, so that the Host alone cannot tell the services apart.
        let url = format!("http://{address}:8000/status/200?reused-{number}-");
        cast.ask(NEAR, &url).with_context(|| format!("the address {address} of the second service"))?;
    }
    cast.captured(NEAR)?;
    agents::settled(cluster)?;
    let arrived = cast.primaries("other", "reused-")?;
    ensure!(arrived == REQUESTS, "{arrived} of {REQUESTS} requests reached the second service");
    let mirrored = ["reused-", "second-alive"].map(|tag| cast.shadows(tag).map(|shadows| shadows.len()));
    for number in mirrored {
        ensure!(number? == 0, "requests to the second service were mirrored by the first one's rule");
    }
    scene.show(format!(
        "{address} went from `first` to `second`: {arrived} of {REQUESTS} requests reached it, none mirrored"
    ));
    for what in ["virtualservice/first", "service/second", "pod/other"] {
        kubectl.run(&["delete", "-n", NAMESPACE, what])?;
    }
    agents::enrolled(cluster, cast::PODS)
}
