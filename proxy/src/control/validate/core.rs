//! Kubernetes' own kinds. The API server has checked them; what is checked here is what we compute with.

use std::{net::IpAddr, path::Path};

use crate::control::{
    manifest::{
        core::{
            EndpointSlice as WireSlice, IntOrString, Namespace as WireNamespace, Pod as WirePod, Service as WireService,
        },
        decode::Meta,
        path::FieldPath,
        reporter::Reporter,
    },
    model::{
        CaptureLabel, EndpointSlice, Namespace, ObjectId, Pod, Service, ServicePort, SliceEndpoint, TargetPort,
        Transport,
    },
};

const CAPTURE: &str = "understudy.dev/capture";
const NETNS: &str = "understudy.dev/netns";
/// The kubelet's own test of a mirror pod. It writes the same value as `kubernetes.io/config.hash`, which others may change later; the API
/// server lets nobody add, change or remove this one.
const MIRROR: &str = "kubernetes.io/config.mirror";
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Checks a Namespace.
pub(super) fn namespace(id: &ObjectId, wire: WireNamespace, reporter: &mut Reporter<'_>) -> Option<Namespace> {
    Some(Namespace { name: id.name.clone(), capture: capture_label(&wire.metadata, reporter) })
}

/// Checks a Service.
pub(super) fn service(id: &ObjectId, wire: WireService, reporter: &mut Reporter<'_>) -> Option<Service> {
    let spec = wire.spec;
    let headless = spec.cluster_ip.as_deref() == Some("None");
    let mut cluster_ips = Vec::new();
    if !headless {
        if spec.cluster_ips.is_empty() {
            let written = spec.cluster_ip.iter().filter(|ip| !ip.is_empty());
            cluster_ips.extend(written.filter_map(|ip| address(ip, &"spec.clusterIP".into(), reporter)));
        }
        cluster_ips.extend(addresses(&spec.cluster_ips, &"spec.clusterIPs".into(), reporter));
    }
    let mut other_ips = addresses(&spec.external_ips, &"spec.externalIPs".into(), reporter);
    let ingress = FieldPath::from("status.loadBalancer.ingress");
    for (index, entry) in wire.status.load_balancer.ingress.iter().enumerate() {
        let ip = entry.ip.as_deref().filter(|ip| !ip.is_empty());
        other_ips.extend(ip.and_then(|ip| address(ip, &ingress.index(index).key("ip"), reporter)));
    }
    let families = if spec.ip_families.is_empty() {
        (!cluster_ips.is_empty())
            .then(|| (cluster_ips.iter().any(IpAddr::is_ipv4), cluster_ips.iter().any(IpAddr::is_ipv6)))
    } else {
        let has = |family: &str| spec.ip_families.iter().any(|written| written == family);
        Some((has("IPv4"), has("IPv6")))
    };
    let path = FieldPath::from("spec.ports");
    let mut ports = Vec::with_capacity(spec.ports.len());
    for (index, port) in spec.ports.into_iter().enumerate() {
        if port.port == 0 {
            reporter.error(&path.index(index).key("port"), "0 is not a port", "write 1 to 65535");
        }
        let target = match port.target_port {
            None | Some(IntOrString::Int(0)) => TargetPort::Number(port.port),
            Some(IntOrString::Int(number)) => TargetPort::Number(number),
            Some(IntOrString::String(name)) => TargetPort::Name(name),
        };
        let transport = transport(port.protocol.as_deref());
        ports.push(ServicePort {
            name: port.name.into(),
            port: port.port,
            target,
            transport,
            app_protocol: port.app_protocol,
        });
    }
    Some(Service {
        namespace: id.namespace.clone(),
        name: id.name.clone(),
        location: reporter.key(&FieldPath::default()),
        cluster_ips: cluster_ips.into(),
        headless,
        other_ips: other_ips.into(),
        families,
        ports: ports.into(),
        selector: spec.selector.into(),
        publish_not_ready: spec.publish_not_ready_addresses,
    })
}

/// Checks a Pod.
pub(super) fn pod(id: &ObjectId, wire: WirePod, reporter: &mut Reporter<'_>) -> Option<Pod> {
    let capture = capture_label(&wire.metadata, reporter);
    let netns = netns(&wire.metadata, reporter);
    let path = FieldPath::from("status.podIPs");
    let mut ips = Vec::new();
    for (index, entry) in wire.status.pod_ips.iter().enumerate().filter(|(_, entry)| !entry.ip.is_empty()) {
        ips.extend(address(&entry.ip, &path.index(index).key("ip"), reporter));
    }
    if let Some(ip) = wire.status.pod_ip.as_deref().filter(|ip| !ip.is_empty())
        && let Some(ip) = address(ip, &"status.podIP".into(), reporter)
        && !ips.contains(&ip)
    {
        ips.insert(0, ip);
    }
    let conditions = &wire.status.conditions;
    let ready = conditions.is_empty() || conditions.iter().any(|c| c.kind == "Ready" && c.status == "True");
    let completed = matches!(wire.status.phase.as_str(), "Succeeded" | "Failed");
    // An init container that is always restarted runs beside the others: a sidecar (Kubernetes' `FindPort`).
    let sidecars = wire.spec.init_containers.into_iter().filter(|container| container.restart_policy == "Always");
    let ports = wire.spec.containers.into_iter().chain(sidecars).flat_map(|container| container.ports);
    let named = ports.filter(|port| transport(port.protocol.as_deref()) == Transport::Tcp);
    Some(Pod {
        namespace: id.namespace.clone(),
        name: id.name.clone(),
        uid: wire.metadata.uid.into(),
        location: reporter.key(&FieldPath::default()),
        labels: wire.metadata.labels.into(),
        capture,
        netns,
        static_uid: wire.metadata.annotations.get(MIRROR).filter(|uid| !uid.is_empty()).map(|uid| uid.as_str().into()),
        node: wire.spec.node_name.filter(|name| !name.is_empty()),
        runtime_class: wire.spec.runtime_class_name.filter(|name| !name.is_empty()),
        host_network: wire.spec.host_network,
        gone: completed || wire.metadata.deletion_timestamp.is_some(),
        ready,
        ips,
        dns_name: wire.spec.hostname.zip(wire.spec.subdomain),
        named_ports: named.filter_map(|port| Some((port.name?, port.container_port))).collect(),
    })
}

/// Checks an EndpointSlice.
pub(super) fn endpoint_slice(id: &ObjectId, wire: WireSlice, reporter: &mut Reporter<'_>) -> Option<EndpointSlice> {
    let Some(service) = wire.metadata.labels.get(SERVICE_NAME) else {
        reporter.warning(
            &"metadata".into(),
            format!("without the label `{SERVICE_NAME}` it belongs to no Service"),
            "add the label",
        );
        return Some(EndpointSlice {
            namespace: id.namespace.clone(),
            service: "".into(),
            ports: Vec::new(),
            endpoints: Vec::new(),
        });
    };
    let ports = wire.ports.into_iter().filter(|port| transport(port.protocol.as_deref()) == Transport::Tcp);
    let ports = ports.filter_map(|port| Some((port.name.into(), port.port?))).collect();
    let path = FieldPath::from("endpoints");
    let mut endpoints = Vec::new();
    let named_by_dns = wire.address_type == "FQDN";
    for (index, endpoint) in wire.endpoints.into_iter().enumerate() {
        if endpoint.conditions.ready == Some(false) || named_by_dns {
            continue;
        }
        endpoints.push(SliceEndpoint {
            addresses: addresses(&endpoint.addresses, &path.index(index).key("addresses"), reporter),
            hostname: endpoint.hostname,
            pod: endpoint.target_ref.filter(|target| target.kind == "Pod").map(|target| target.name.into()),
        });
    }
    Some(EndpointSlice { namespace: id.namespace.clone(), service: service.as_str().into(), ports, endpoints })
}

fn capture_label(meta: &Meta, reporter: &mut Reporter<'_>) -> Option<CaptureLabel> {
    match meta.labels.get(CAPTURE)?.as_str() {
        "enabled" => Some(CaptureLabel::Enabled),
        "disabled" => Some(CaptureLabel::Disabled),
        other => {
            let path = FieldPath::from("metadata.labels").key(CAPTURE);
            reporter.warning(
                &path,
                format!("`{CAPTURE}` is `{other}` and has no effect"),
                "write `enabled` or `disabled`",
            );
            None
        }
    }
}

fn netns(meta: &Meta, reporter: &mut Reporter<'_>) -> Option<Box<str>> {
    let written = meta.annotations.get(NETNS)?;
    let is_name = !written.is_empty() && !written.contains('/') && written != "." && written != "..";
    if is_name || Path::new(written).is_absolute() {
        return Some(written.as_str().into());
    }
    let path = FieldPath::from("metadata.annotations").key(NETNS);
    let remedy = "write a name under /run/netns or an absolute path";
    reporter.error(&path, format!("`{written}` does not name a network namespace"), remedy);
    None
}

fn transport(protocol: Option<&str>) -> Transport {
    if matches!(protocol, None | Some("" | "TCP")) { Transport::Tcp } else { Transport::Other }
}

fn addresses(written: &[String], path: &FieldPath, reporter: &mut Reporter<'_>) -> Vec<IpAddr> {
    let written = written.iter().enumerate();
    written.filter_map(|(index, ip)| address(ip, &path.index(index), reporter)).collect()
}

fn address(written: &str, path: &FieldPath, reporter: &mut Reporter<'_>) -> Option<IpAddr> {
    let parsed = written.parse().ok();
    if parsed.is_none() {
        reporter.error(path, format!("`{written}` is not an IP address"), "");
    }
    parsed
}
