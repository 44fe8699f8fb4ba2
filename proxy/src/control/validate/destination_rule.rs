//! A DestinationRule (Istio's `ValidateDestinationRule`).

use super::{
    names::{full_host, host_problem, is_dns_label},
    virtual_service::only_exported_to_all,
};
use crate::control::{
    manifest::{
        istio::{DestinationRule as Wire, LoadBalancer, Tls, TrafficPolicy},
        path::FieldPath,
        reporter::Reporter,
    },
    model::{DestinationRule, HostRef, ObjectId, Subset},
};

/// Checks a DestinationRule.
pub(super) fn check(
    id: &ObjectId,
    wire: Wire,
    cluster_domain: &str,
    reporter: &mut Reporter<'_>,
) -> Option<DestinationRule> {
    let host_path = FieldPath::from("spec.host");
    let host = &wire.spec.host;
    if let Some(problem) = host_problem(host) {
        reporter.error(&host_path, format!("the host `{host}` {problem}"), "write the name of a Service");
    }
    only_exported_to_all(&wire.spec.export_to, reporter);
    traffic_policy(&wire.spec.traffic_policy, &"spec.trafficPolicy".into(), reporter);
    let path = FieldPath::from("spec.subsets");
    let mut subsets: Vec<Subset> = Vec::with_capacity(wire.spec.subsets.len());
    for (index, subset) in wire.spec.subsets.into_iter().enumerate() {
        traffic_policy(&subset.traffic_policy, &path.index(index).key("trafficPolicy"), reporter);
        let path = path.index(index).key("name");
        if !is_dns_label(&subset.name) {
            let message = format!("`{}` cannot be the name of a subset", subset.name);
            reporter.error(&path, message, "use lower-case letters, digits and `-`, at most 63");
        }
        if subsets.iter().any(|other| *other.name == *subset.name) {
            reporter.error(&path, format!("the subset `{}` is there twice", subset.name), "keep one of them");
        }
        subsets.push(Subset {
            name: subset.name.into(),
            labels: subset.labels.into(),
            location: reporter.value(&path),
        });
    }
    Some(DestinationRule {
        namespace: id.namespace.clone(),
        name: id.name.clone(),
        created: wire.metadata.creation_timestamp.into(),
        host: HostRef {
            name: full_host(host, &id.namespace, cluster_domain).into(),
            location: reporter.value(&host_path),
        },
        subsets,
    })
}

/// What of a policy cannot be left out in silence; the rest only tunes and is reported by its absence from the wire struct.
fn traffic_policy(policy: &TrafficPolicy, path: &FieldPath, reporter: &mut Reporter<'_>) {
    tls(policy.tls.as_ref(), path, reporter);
    load_balancer(policy.load_balancer.as_ref(), path, reporter);
    let path = path.key("portLevelSettings");
    for (index, port) in policy.port_level_settings.iter().enumerate() {
        let path = path.index(index);
        tls(port.tls.as_ref(), &path, reporter);
        load_balancer(port.load_balancer.as_ref(), &path, reporter);
    }
}

/// The endpoints expect TLS then, and we would send them plain text.
fn tls(tls: Option<&Tls>, path: &FieldPath, reporter: &mut Reporter<'_>) {
    if let Some(mode) = tls.and_then(|tls| tls.mode.as_deref()).filter(|mode| *mode != "DISABLE") {
        let path = path.key("tls").key("mode");
        let message = format!("`{path}: {mode}` is not supported: requests would go out in plain text");
        reporter.error(
            &path,
            message,
            "write `DISABLE` if the pods take plain text, or remove the rules for this host",
        );
    }
}

fn load_balancer(balancer: Option<&LoadBalancer>, path: &FieldPath, reporter: &mut Reporter<'_>) {
    if balancer.is_some_and(|balancer| balancer.consistent_hash.is_some()) {
        let path = path.key("loadBalancer").key("consistentHash");
        let message =
            format!("`{path}` is not supported: affinity is lost, and a client's requests go to any endpoint");
        reporter.warning(&path, message, "do without affinity, or leave this host without rules");
    }
}
