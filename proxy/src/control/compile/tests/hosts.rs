//! Under which names and addresses the rules of a Service are found.

use super::*;
use crate::route::PortProtocol;

#[test]
fn a_bare_name_is_for_clients_of_the_services_own_namespace() {
    let table = Arc::clone(&load(&[WORLD, DEFAULT_ROUTE]).table);
    assert!(table.virtual_host("mirror", 8000, "HttpBin").is_some());
    assert!(table.virtual_host("other", 8000, "httpbin").is_none());
    assert!(table.virtual_host("other", 8000, "HTTPBIN.mirror").is_some());
    assert!(table.virtual_host("mirror", 80, "httpbin").is_none(), "the connection's port counts");
    assert!(table.virtual_host("mirror", 8000, "httpbin-shadow").is_none());
}

#[test]
fn the_cluster_domain_is_a_setting() {
    let rules = "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a, namespace: mirror}, spec: {hosts: [httpbin], http: [{route: [{destination: {host: httpbin}}]}]}}";
    let applied = load_in("k8s.example", &[WORLD, rules]);
    assert!(applied.table.virtual_host("other", 8000, "httpbin.mirror.svc.k8s.example").is_some());
    assert!(applied.table.virtual_host("other", 8000, "httpbin.mirror.svc.cluster.local").is_none());
}

#[test]
fn rules_of_another_namespace_need_the_full_name() {
    let applied = load(&[WORLD, &rules("other", "a", "httpbin.mirror.svc.cluster.local")]);
    let host = applied.table.virtual_host("mirror", 8000, "httpbin").unwrap();
    assert_eq!(&*host.virtual_service, "other/a");
    assert_eq!(
        messages(&load(&[WORLD, &rules("other", "a", "httpbin")])),
        ["there is no Service `httpbin.other.svc.cluster.local`"]
    );
}

#[test]
fn the_longest_wildcard_owns_a_service_that_nobody_names() {
    let wide = rules("other", "wide", "*.svc.cluster.local");
    let narrow = rules("other", "narrow", "*.mirror.svc.cluster.local");
    let named = rules("other", "named", "httpbin.mirror.svc.cluster.local");
    let more = service("more", "{clusterIP: 10.96.0.11, ports: [{port: 80}]}");
    let applied = load(&[WORLD, &more, &wide, &narrow, &named]);
    let owner = |host, port| applied.table.virtual_host("mirror", port, host).unwrap().virtual_service.to_string();
    assert_eq!(owner("httpbin", 8000), "other/named");
    assert_eq!(owner("more", 80), "other/narrow");
    assert_eq!(messages(&applied), ["the host `*.svc.cluster.local` covers no Service"]);
}

#[test]
fn every_address_of_a_service_is_captured_on_every_port_that_may_carry_http() {
    let spec = "{clusterIPs: [10.96.0.11, 'fd00::11'], externalIPs: [192.0.2.1], ports: [\
        {name: web, port: 80}, {name: grpc, port: 81}, {name: tcp-x, port: 82}, {name: dns, port: 53, protocol: UDP}, {name: x, port: 83, appProtocol: https}]}";
    let text = service("more", spec)
        .replace("}\n---", ", status: {loadBalancer: {ingress: [{ip: 192.0.2.2}, {hostname: x}]}}}\n---");
    let applied = load(&[WORLD, &text, &rules("mirror", "a", "more")]);
    let expected = [
        "10.96.0.11:80",
        "10.96.0.11:81",
        "192.0.2.1:80",
        "192.0.2.1:81",
        "192.0.2.2:80",
        "192.0.2.2:81",
        "[fd00::11]:80",
        "[fd00::11]:81",
    ];
    assert_eq!(addresses(&applied), expected);
    assert_eq!(applied.table.ports[&"10.96.0.11:80".parse().unwrap()], PortProtocol::Undeclared);
    assert_eq!(applied.table.ports[&"[fd00::11]:81".parse().unwrap()], PortProtocol::Http2);
    assert!(applied.table.virtual_host("x", 80, "fd00::11").is_some());
    let numbers: Vec<_> = applied.capture.ports.values().map(|port| port.rule).collect();
    assert_eq!(numbers, [0, 1, 0, 1, 0, 1, 0, 1]);
}

#[test]
fn a_service_that_cannot_be_captured_is_reported() {
    let no_address = service("more", "{type: ExternalName, externalName: x.example, ports: [{port: 80}]}");
    let no_http = service("more", "{clusterIP: 10.96.0.11, ports: [{name: mysql, port: 1}]}");
    let rules = rules("mirror", "a", "more");
    assert_eq!(
        messages(&load(&[WORLD, &no_address, &rules])),
        ["the Service has a rule, but no address that clients could be seen to use"]
    );
    assert_eq!(
        messages(&load(&[WORLD, &no_http, &rules])),
        ["the Service has a rule, but none of its ports carries HTTP"]
    );
}

#[test]
fn clients_of_a_headless_service_are_captured_at_its_endpoints() {
    let service =
        service("web", "{clusterIP: None, ports: [{name: http, port: 80, targetPort: 8080}], selector: {app: web}}");
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: web-0, namespace: mirror, labels: {app: web, understudy.dev/capture: disabled}}, \
        spec: {hostname: web-0, subdomain: web}, status: {podIP: 10.244.1.40}}\n---\n";
    let applied = load(&[WORLD, &service, pod, &rules("mirror", "a", "web")]);
    assert_eq!(addresses(&applied), ["10.244.1.40:8080"]);
    for port in [80, 8080] {
        assert!(applied.table.virtual_host("mirror", port, "web").is_some(), "{port}");
        assert!(applied.table.virtual_host("other", port, "web-0.web.mirror.svc.cluster.local").is_some(), "{port}");
        assert!(applied.table.virtual_host("mirror", port, "web-0.web").is_some(), "{port}");
    }
}

#[test]
fn a_closed_failure_policy_reaches_the_capture_plan() {
    let closed = DEFAULT_ROUTE.replace(
        "  name: httpbin\n  namespace: mirror\nspec:\n  hosts",
        "  name: httpbin\n  namespace: mirror\n  annotations: {understudy.dev/failure-policy: closed}\nspec:\n  hosts",
    );
    assert!(load(&[WORLD, &closed]).capture.ports.values().all(|port| port.closed));
    assert!(load(&[WORLD, DEFAULT_ROUTE]).capture.ports.values().all(|port| !port.closed));
}
