//! From what the API server sends to what we use of it.
//!
//! Comes in: an object as JSON. Goes out: the same object with the fields that the manifest parser reads, and none that change without
//! meaning anything to us (status of rules, managed fields, resource versions). Never: values that were not there.

use serde_json::{Map, Value, json};

use super::watch::Watch;

/// Paths that are kept of a kind, besides `metadata`.
const SERVICE: &[&str] = &[
    "spec.clusterIP",
    "spec.clusterIPs",
    "spec.externalIPs",
    "spec.ipFamilies",
    "spec.ports",
    "spec.publishNotReadyAddresses",
    "spec.selector",
    "status.loadBalancer",
];
/// Whether a pod is ready is told by slices, and who is on which port as well.
const POD: &[&str] = &[
    "spec.nodeName",
    "spec.hostNetwork",
    "spec.runtimeClassName",
    "spec.hostname",
    "spec.subdomain",
    "status.phase",
    "status.podIP",
    "status.podIPs",
];
const SLICE: &[&str] = &["addressType", "ports"];
const METADATA: &[&str] = &["name", "namespace", "uid", "labels", "creationTimestamp", "deletionTimestamp"];
const OURS: &str = "understudy.dev/";
/// By which the node knows a static pod.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// What is kept of an object that a watch shows.
pub(super) fn trim(watch: &Watch, api_version: &str, kind: &str, whole: &Value) -> Value {
    let mut kept = match watch {
        Watch::Custom(_) => of(whole, &["spec"]),
        Watch::Services { .. } => of(whole, SERVICE),
        Watch::Pods { .. } => of(whole, POD),
        Watch::Slices { .. } => slice(whole),
        Watch::Namespaces | Watch::Labels { .. } => Map::new(),
    };
    kept.insert("apiVersion".into(), json!(api_version));
    kept.insert("kind".into(), json!(kind));
    kept.insert("metadata".into(), metadata(whole.get("metadata").unwrap_or(&Value::Null)));
    Value::Object(kept)
}

fn metadata(whole: &Value) -> Value {
    let mut kept = of(whole, METADATA);
    // Our own annotations, and one: others are long, and change.
    if let Some(all) = whole.get("annotations").and_then(Value::as_object) {
        let ours: Map<_, _> = all
            .iter()
            .filter(|(name, _)| name.starts_with(OURS) || *name == MIRROR)
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        if !ours.is_empty() {
            kept.insert("annotations".into(), Value::Object(ours));
        }
    }
    Value::Object(kept)
}

fn slice(whole: &Value) -> Map<String, Value> {
    let mut kept = of(whole, SLICE);
    let endpoints = whole.get("endpoints").and_then(Value::as_array).into_iter().flatten();
    let trimmed = endpoints
        .map(|endpoint| {
            Value::Object(of(
                endpoint,
                &["addresses", "conditions.ready", "hostname", "targetRef.kind", "targetRef.name"],
            ))
        })
        .collect();
    kept.insert("endpoints".into(), Value::Array(trimmed));
    kept
}

/// The values at these paths, where they are.
fn of(whole: &Value, paths: &[&str]) -> Map<String, Value> {
    let mut kept = Map::new();
    for path in paths {
        match path.split_once('.') {
            None => {
                if let Some(value) = whole.get(*path) {
                    kept.insert((*path).to_owned(), value.clone());
                }
            }
            Some((outer, inner)) => {
                let Some(value) = whole.get(outer).and_then(|outer| outer.get(inner)) else { continue };
                if let Value::Object(map) = kept.entry(outer).or_insert_with(|| json!({})) {
                    map.insert(inner.to_owned(), value.clone());
                }
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::source::kube::watch::Custom;

    /// Fails if a change that means nothing to us is a change of the configuration: our own status would begin a reload, and the next status.
    #[test]
    fn status_and_bookkeeping_of_a_rule_are_left_out() {
        let object = json!({
            "metadata": {"name": "a", "namespace": "b", "resourceVersion": "7", "generation": 2, "managedFields": [{}],
                         "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "understudy.dev/failure-policy": "closed"}},
            "spec": {"hosts": ["a"], "anything": [1]},
            "status": {"conditions": []},
        });
        let kept = trim(&Watch::Custom(Custom::VirtualServices), "networking.istio.io/v1", "VirtualService", &object);
        let expected = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": "a", "namespace": "b", "annotations": {"understudy.dev/failure-policy": "closed"}},
            "spec": {"hosts": ["a"], "anything": [1]},
        });
        assert_eq!(kept, expected);
    }

    #[test]
    fn of_a_pod_its_place_and_addresses_are_kept_and_its_probes_are_not() {
        let pod = json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"app": "x"}, "deletionTimestamp": "2026-01-01T00:00:00Z",
                         "annotations": {"kubernetes.io/config.mirror": "0af1", "kubernetes.io/config.seen": "2026-01-01T00:00:00Z"}},
            "spec": {"nodeName": "w1", "containers": [{"name": "c"}], "hostNetwork": true, "runtimeClassName": "gvisor"},
            "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}], "conditions": [{"type": "Ready"}]},
        });
        let kept = trim(&Watch::Pods { node: "w1".into() }, "v1", "Pod", &pod);
        assert_eq!(kept["spec"], json!({"nodeName": "w1", "hostNetwork": true, "runtimeClassName": "gvisor"}));
        assert_eq!(kept["status"], json!({"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]}));
        assert_eq!(kept["metadata"]["deletionTimestamp"], "2026-01-01T00:00:00Z");
        assert_eq!(kept["metadata"]["annotations"], json!({"kubernetes.io/config.mirror": "0af1"}));
    }

    #[test]
    fn of_a_slice_the_addresses_are_kept_and_the_zones_are_not() {
        let slice = json!({
            "metadata": {"name": "s", "namespace": "n", "labels": {"kubernetes.io/service-name": "x"}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": 80}],
            "endpoints": [{"addresses": ["10.0.0.1"], "nodeName": "w1", "zone": "z", "conditions": {"ready": true, "serving": true},
                           "targetRef": {"kind": "Pod", "name": "p", "uid": "u"}}],
        });
        let watch = Watch::Slices { namespace: None, services: None };
        let kept = trim(&watch, "discovery.k8s.io/v1", "EndpointSlice", &slice);
        let endpoint = json!({"addresses": ["10.0.0.1"], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "name": "p"}});
        assert_eq!(kept["endpoints"], json!([endpoint]));
    }
}
