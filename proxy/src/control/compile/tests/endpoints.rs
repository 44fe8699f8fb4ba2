//! Which pods a destination leads to.

use std::fmt::Write as _;

use super::*;
use crate::route::Unroutable;

#[test]
fn endpoint_slices_count_before_selectors_and_bring_their_pods_labels() {
    let slice = "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: s, namespace: mirror, labels: {kubernetes.io/service-name: httpbin}}, \
        addressType: IPv4, ports: [{name: http, port: 8080}, {name: other, port: 1}], endpoints: [\
        {addresses: [10.244.1.21], targetRef: {kind: Pod, name: httpbin-v1-0}}, \
        {addresses: [10.244.1.22]}, {addresses: [10.244.1.23], conditions: {ready: false}}, {addresses: [10.244.1.24]}]}\n---\n";
    let applied = load(&[WORLD, slice, MIRROR]);
    let rule = &applied.table.virtual_host("mirror", 8000, "httpbin").unwrap().rules[0];
    let endpoints = |destination: &crate::route::Destination| {
        let endpoints = destination.endpoints.clone().unwrap();
        endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(endpoints(rule.target(0)), ["10.244.1.21:8080"]);
    assert_eq!(endpoints(&rule.mirrors[0].destination), ["10.244.1.22:8080"], "the pod is known by its address");
    let whole = load(&[WORLD, slice, &rules("mirror", "a", "httpbin")]);
    let rule = &whole.table.virtual_host("mirror", 8000, "httpbin").unwrap().rules[0];
    assert_eq!(endpoints(rule.target(0)), ["10.244.1.21:8080", "10.244.1.22:8080", "10.244.1.24:8080"]);
}

/// Pods that are not ready, completed, being deleted or of other labels are no endpoints; a named target port is looked up in each pod.
#[test]
fn only_ready_pods_that_the_selector_matches_are_endpoints() {
    let service = service(
        "web",
        "{clusterIP: 10.96.0.11, ports: [{name: http, port: 80, targetPort: web}], selector: {app: web, tier: x}}",
    );
    let mut text = service;
    for (name, labels, rest, port) in [
        ("a", "{app: web, tier: x}", "status: {podIP: 10.244.2.1, conditions: [{type: Ready, status: 'True'}]}", 8001),
        ("b", "{app: web, tier: x}", "status: {podIP: 10.244.2.2, conditions: [{type: Ready, status: 'False'}]}", 8002),
        ("c", "{app: web, tier: x}", "status: {podIP: 10.244.2.3, phase: Succeeded}", 8003),
        ("d", "{app: web}", "status: {podIP: 10.244.2.4}", 8004),
        ("e", "{app: web, tier: x}", "status: {podIPs: [{ip: 10.244.2.5}, {ip: 'fd00::5'}]}", 8005),
    ] {
        let _ = writeln!(
            text,
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: mirror, labels: {labels}, annotations: {{understudy.dev/netns: {name}}}}}, \
             spec: {{containers: [{{ports: [{{name: web, containerPort: {port}}}]}}]}}, {rest}}}\n---"
        );
    }
    let rules = rules("mirror", "a", "web").replace("httpbin.mirror.svc.cluster.local", "web");
    let dump = dump(&[WORLD, &text, &rules]);
    let endpoints = dump["hosts"][0]["rules"][0]["route"][0]["endpoints"].as_array().unwrap();
    let addresses: Vec<_> = endpoints.iter().map(|endpoint| endpoint["address"].as_str().unwrap()).collect();
    assert_eq!(addresses, ["10.244.2.1:8001", "10.244.2.5:8005"], "the Service is of IPv4 only");
}

#[test]
fn a_destination_without_a_port_goes_to_the_only_one_or_to_the_connections() {
    let single = service("single", "{clusterIP: 10.96.0.11, ports: [{port: 9}], selector: {app: httpbin}}");
    let several = service(
        "several",
        "{clusterIP: 10.96.0.12, ports: [{name: a, port: 8000, targetPort: 1}, {name: b, port: 9, targetPort: 2}], selector: {app: sleep}}",
    );
    let to = |host: &str| {
        let text = rules("mirror", "a", "httpbin").replace("httpbin.mirror.svc.cluster.local", host);
        let applied = load(&[WORLD, &single, &several, &text]);
        let rule = &applied.table.virtual_host("mirror", 8000, "httpbin").unwrap().rules[0];
        rule.target(0).endpoints.clone().map(|endpoints| endpoints[0].address.0.port())
    };
    assert_eq!(to("single"), Ok(9));
    assert_eq!(to("several"), Ok(1));
    assert_eq!(to("several, port: {number: 9}"), Ok(2));
    assert_eq!(to("several, port: {number: 10}"), Err(Unroutable::UnknownService));
    assert_eq!(to("nowhere"), Err(Unroutable::UnknownService));
    assert_eq!(to("single, subset: v1"), Err(Unroutable::UnknownSubset));
}

/// One rule decides about a Service's subsets: the one of the Service's namespace that names it most closely.
#[test]
fn the_most_specific_rule_of_the_services_namespace_has_its_subsets() {
    let rule = |namespace: &str, host: &str, subset: &str, version: &str| {
        let name = host.replace(['*', '.'], "x");
        format!(
            "{{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {{name: {name}, namespace: {namespace}}}, \
             spec: {{host: '{host}', subsets: [{{name: {subset}, labels: {{version: {version}}}}}]}}}}\n---\n"
        )
    };
    let text = rules("other", "a", "httpbin.mirror.svc.cluster.local")
        .replace("cluster.local}}", "cluster.local, subset: x}}");
    let to = |texts: &[&str]| {
        let texts: Vec<_> = [WORLD, &text].into_iter().chain(texts.iter().copied()).collect();
        let applied = load(&texts);
        let rule = &applied.table.virtual_host("mirror", 8000, "httpbin").unwrap().rules[0];
        let endpoints = rule.target(0).endpoints.clone();
        endpoints.map(|endpoints| endpoints.iter().map(|e| e.pod.to_string()).collect::<Vec<_>>())
    };
    let pods = |version: &str| Ok(vec![format!("mirror/httpbin-{version}-0")]);
    let elsewhere = rule("other", "httpbin.mirror.svc.cluster.local", "x", "v2");
    let named = rule("mirror", "httpbin", "x", "v1");
    let narrow = rule("mirror", "*.mirror.svc.cluster.local", "x", "v2");
    let wide = rule("mirror", "*.cluster.local", "x", "v1");
    let lacking = rule("mirror", "httpbin", "y", "v1");
    assert_eq!(to(&[]), Err(Unroutable::UnknownSubset));
    assert_eq!(to(&[&elsewhere]), Err(Unroutable::UnknownSubset));
    assert_eq!(to(&[&elsewhere, &named]), pods("v1"));
    assert_eq!(to(&[&narrow]), pods("v2"));
    assert_eq!(to(&[&wide, &narrow]), pods("v2"));
    assert_eq!(to(&[&narrow, &named]), pods("v1"));
    assert_eq!(to(&[&narrow, &lacking]), Err(Unroutable::UnknownSubset), "it does not fall through to the wildcard");
}
