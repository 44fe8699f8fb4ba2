//! What the rules of a Service say.

use std::fmt::Write as _;

use http::Request;
use serde_json::json;

use super::*;
use crate::route::Client;

#[test]
fn the_tasks_default_route_sends_everything_to_v1() {
    let dump = dump(&[WORLD, DEFAULT_ROUTE]);
    assert_eq!(dump["generation"], 1);
    assert_eq!(
        dump["hosts"],
        json!([{
            "service": "mirror/httpbin",
            "virtual_service": "mirror/httpbin",
            "ports": [8000],
            "domains": [
                "10.96.0.10",
                "httpbin.mirror",
                "httpbin.mirror.svc",
                "httpbin.mirror.svc.cluster.local",
                "httpbin.mirror.svc.cluster.local.",
            ],
            "short_domains": ["httpbin"],
            "rules": [{
                "name": "mirror/httpbin[0]",
                "matches": [],
                "route": [{
                    "destination": "httpbin.mirror/v1",
                    "weight": 100,
                    "endpoints": [{"address": "10.244.1.21:80", "pod": "mirror/httpbin-v1-0", "in_flight": 0}],
                }],
                "mirrors": [],
            }],
        }])
    );
    assert_eq!(
        dump["captured"],
        json!([{"address": "10.96.0.10:8000", "rule": 0, "failure_policy": "open", "protocol": "http", "virtual_service": "mirror/httpbin"}])
    );
    assert_eq!(
        dump["pods"],
        json!([{
            "pod": "mirror/sleep-0",
            "uid": "11111111-0000-4000-8000-000000000001",
            "netns": "/run/netns/us-sleep",
            "ips": ["10.244.1.10"],
        }])
    );
    assert_eq!(dump["diagnostics"], json!([]));
}

#[test]
fn the_tasks_mirror_sends_every_request_to_v2_as_well() {
    let dump = dump(&[WORLD, MIRROR]);
    assert_eq!(
        dump["hosts"][0]["rules"][0]["mirrors"],
        json!([{
            "destination": "httpbin.mirror/v2",
            "endpoints": [{"address": "10.244.1.22:80", "pod": "mirror/httpbin-v2-0", "in_flight": 0}],
            "sample_ppm": 1_000_000,
            "host_suffix": "-shadow",
            "timeout_ms": 10_000,
            "max_concurrent": 128,
            "buffer_bytes": 1_048_576,
            "methods": ["*"],
            "headers": {"remove": [], "set": [], "add": []},
            "sampling": "request",
            "dscp": 1,
        }])
    );
}

#[test]
fn without_a_rule_nothing_is_captured() {
    let applied = load(&[WORLD]);
    assert!(applied.capture.ports.is_empty() && applied.table.hosts.is_empty());
    assert_eq!(applied.pods.len(), 1);
}

#[test]
fn a_mirror_without_a_sample_is_compiled_away_and_the_others_keep_their_number() {
    let text = DEFAULT_ROUTE.replace(
        "      weight: 100\n",
        "      weight: 100\n    mirrors:\n    - {destination: {host: httpbin, subset: v2}, percentage: {}}\n    - {destination: {host: httpbin, subset: v2}, percentage: {value: 0.57}}\n",
    );
    let applied = load(&[WORLD, &text]);
    let mirrors = &applied.table.virtual_host("mirror", 8000, "httpbin").unwrap().rules[0].mirrors;
    assert_eq!(mirrors.iter().map(|mirror| mirror.sample_ppm).collect::<Vec<_>>(), [5699]);
}

#[test]
fn rules_are_tried_in_order_and_a_request_that_none_matches_has_none() {
    let text = "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a, namespace: mirror}, spec: {hosts: [httpbin], http: [\
        {name: first, match: [{uri: {prefix: /a}, method: {exact: GET}}, {headers: {x-a: {}}}], route: [{destination: {host: httpbin}}]},\
        {name: second, match: [{uri: {prefix: /}}], route: [{destination: {host: httpbin}}]}]}}";
    let applied = load(&[WORLD, text]);
    let host = applied.table.virtual_host("mirror", 8000, "httpbin").unwrap();
    let selected = |request: Request<()>| {
        let client = Client { namespace: "mirror", labels: None };
        host.select(&request.into_parts().0, client).map(|(rule, _)| rule.name.to_string())
    };
    assert_eq!(selected(Request::get("/a/b").body(()).unwrap()).as_deref(), Some("first"));
    assert_eq!(selected(Request::post("/a/b").body(()).unwrap()).as_deref(), Some("second"));
    assert_eq!(selected(Request::post("/b").header("x-a", "").body(()).unwrap()).as_deref(), Some("first"));
    assert_eq!(selected(Request::options("*").body(()).unwrap()), None);
}

/// Thousands of objects compile completely and in silence. (No time bound: with squared work the suite would visibly hang.)
#[test]
fn a_large_cluster_compiles() {
    let (mut services, mut manifests) = (String::new(), String::new());
    for number in 0..10_000_u32 {
        let (high, low) = (number >> 8, number & 255);
        let _ = writeln!(
            services,
            "---\n{{apiVersion: v1, kind: Service, metadata: {{name: s{number}, namespace: mirror}}, spec: {{clusterIP: 10.97.{high}.{low}, ports: [{{name: http, port: 80}}], selector: {{app: a{number}}}}}}}\n\
             ---\n{{apiVersion: v1, kind: Pod, metadata: {{name: p{number}, namespace: mirror, labels: {{app: a{number}, understudy.dev/capture: disabled}}}}, status: {{podIP: 10.245.{high}.{low}}}}}"
        );
        if number % 10 == 0 {
            manifests.push_str(
                &rules("mirror", &format!("r{number}"), &format!("s{number}"))
                    .replace("httpbin.mirror.svc.cluster.local", &format!("s{number}")),
            );
        }
    }
    let applied = load(&[WORLD, &services, &manifests]);
    assert_eq!(applied.capture.ports.len(), 1000);
    assert_eq!(applied.diagnostics.len(), 0);
}
