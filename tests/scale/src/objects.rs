//! The objects of the cluster, in the size that real ones have; the same ones in each run.
//!
//! Comes in: numbers. Goes out: JSON, and where it belongs. Never: chance.

use serde_json::{Value, json};

/// Group and version of the rules.
const RULES: &str = "/apis/networking.istio.io/v1";
/// Group and version of slices.
const DISCOVERY: &str = "/apis/discovery.k8s.io/v1";
/// The port of every service, and of its pods.
pub(crate) const PORT: u16 = 8000;

/// Where pods of a namespace are.
pub(crate) fn pods(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods")
}

/// Where services are.
pub(crate) fn services(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/services")
}

/// Where slices are.
pub(crate) fn slices(namespace: &str) -> String {
    format!("{DISCOVERY}/namespaces/{namespace}/endpointslices")
}

/// Where VirtualServices are.
pub(crate) fn virtual_services(namespace: &str) -> String {
    format!("{RULES}/namespaces/{namespace}/virtualservices")
}

/// Where DestinationRules are.
pub(crate) fn destination_rules(namespace: &str) -> String {
    format!("{RULES}/namespaces/{namespace}/destinationrules")
}

/// A Namespace, captured or not.
pub(crate) fn namespace(name: &str, captured: bool) -> Value {
    let labels = if captured { json!({"understudy.dev/capture": "enabled"}) } else { json!({}) };
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

/// A pod and where it runs.
#[derive(Clone, Debug)]
pub(crate) struct PodOf<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) app: &'a str,
    pub(crate) version: &'a str,
    pub(crate) node: &'a str,
}

impl PodOf<'_> {
    /// As a Deployment's controller makes it and an API server keeps it: what it asks for, its environment, probes, volumes.
    pub(crate) fn object(&self) -> Value {
        let environment: Vec<_> = ["LOG_LEVEL", "DATABASE_URL", "CACHE_URL", "REGION", "OTEL_EXPORTER_OTLP_ENDPOINT"]
            .iter()
            .map(|name| json!({"name": name, "value": format!("a value of ordinary length for {}", self.app)}))
            .collect();
        let probe = json!({"httpGet": {"path": "/healthz", "port": PORT}, "periodSeconds": 10, "timeoutSeconds": 2});
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": self.name, "namespace": self.namespace,
                "labels": {"app": self.app, "version": self.version, "pod-template-hash": "7c5ddbdf54",
                           "app.kubernetes.io/name": self.app, "app.kubernetes.io/part-of": self.namespace},
                "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": PORT.to_string(),
                                "kubectl.kubernetes.io/restartedAt": "2026-11-01T00:00:00Z"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{}-7c5ddbdf54", self.app),
                                     "uid": "0f0e0d0c-0b0a-4900-8807-060504030201", "controller": true, "blockOwnerDeletion": true}],
            },
            "spec": {
                "nodeName": self.node, "serviceAccountName": "default", "terminationGracePeriodSeconds": 30,
                "containers": [{
                    "name": "app", "image": format!("registry.example.com/team/{}:{}", self.app, self.version),
                    "ports": [{"name": "http", "containerPort": PORT}], "env": environment,
                    "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
                    "readinessProbe": probe, "livenessProbe": probe,
                    "volumeMounts": [{"name": "config", "mountPath": "/etc/app", "readOnly": true}],
                }],
                "volumes": [{"name": "config", "configMap": {"name": self.app}}],
            },
        })
    }

    /// What its kubelet says when it runs.
    pub(crate) fn running(&self, address: &str) -> Value {
        let conditions: Vec<_> =
            ["Initialized", "PodReadyToStartContainers", "ContainersReady", "PodScheduled", "Ready"]
                .iter()
                .map(|kind| json!({"type": kind, "status": "True", "lastTransitionTime": "2026-11-01T00:00:00Z"}))
                .collect();
        json!({"status": {
            "phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "hostIP": "172.18.0.9", "qosClass": "Burstable",
            "startTime": "2026-11-01T00:00:00Z", "conditions": conditions,
            "containerStatuses": [{
                "name": "app", "ready": true, "started": true, "restartCount": 0,
                "image": format!("registry.example.com/team/{}:{}", self.app, self.version),
                "imageID": format!("registry.example.com/team/{}@sha256:{}", self.app, "0123456789abcdef".repeat(4)),
                "containerID": format!("containerd://{}", "fedcba9876543210".repeat(4)),
                "state": {"running": {"startedAt": "2026-11-01T00:00:00Z"}},
            }],
        }})
    }

    /// Its place in a slice.
    pub(crate) fn endpoint(&self, address: &str) -> Value {
        json!({
            "addresses": [address], "nodeName": self.node, "zone": "a",
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "targetRef": {"kind": "Pod", "namespace": self.namespace, "name": self.name},
        })
    }
}

/// A service; without an address the API server gives it one.
pub(crate) fn service(namespace: &str, name: &str, address: Option<&str>) -> Value {
    let mut object = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name, "app.kubernetes.io/part-of": namespace}},
        "spec": {"ports": [{"name": "http", "port": PORT, "targetPort": PORT}], "selector": {"app": name}},
    });
    if let Some(address) = address {
        object["spec"]["clusterIP"] = json!(address);
    }
    object
}

/// The endpoints of a service.
pub(crate) fn slice(namespace: &str, service: &str, endpoints: &[Value]) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": format!("{service}-x7k2p"), "namespace": namespace,
                     "labels": {"kubernetes.io/service-name": service, "app": service,
                                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": PORT, "protocol": "TCP"}], "endpoints": endpoints,
    })
}

/// Everything to v1, and a shadow of a share of it to v2.
pub(crate) fn virtual_service(namespace: &str, service: &str, percent: u32) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": service, "namespace": namespace},
        "spec": {"hosts": [service], "http": [{
            "route": [{"destination": {"host": service, "subset": "v1"}, "weight": 100}],
            "mirror": {"host": service, "subset": "v2"}, "mirrorPercentage": {"value": percent},
        }]},
    })
}

/// Subsets v1 and v2.
pub(crate) fn destination_rule(namespace: &str, service: &str) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": {"name": service, "namespace": namespace},
        "spec": {"host": service, "subsets": [
            {"name": "v1", "labels": {"version": "v1"}}, {"name": "v2", "labels": {"version": "v2"}},
        ]},
    })
}
