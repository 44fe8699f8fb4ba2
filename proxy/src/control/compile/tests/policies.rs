//! How ShadowPolicies and the process's settings come together.

use http::{HeaderName, Method, header};

use super::*;
use crate::route::{HeaderOps, Methods, ShadowSettings};

const SERVICE: &str = "{kind: Service, name: httpbin}";
const RULES: &str = "{group: networking.istio.io, kind: VirtualService, name: httpbin}";
const RULE: &str = "{group: networking.istio.io, kind: VirtualService, name: httpbin, sectionName: main}";

fn policy(name: &str, target: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: understudy.dev/v1alpha1, kind: ShadowPolicy, metadata: {{name: {name}, namespace: mirror}}, spec: {{targetRefs: [{target}], {spec}}}}}\n---\n"
    )
}

/// The settings of the task's mirror under these policies, with its rule named `main`.
fn settings(policies: &[&str]) -> ShadowSettings {
    let named = MIRROR.replace("  - route:", "  - name: main\n    route:");
    let texts: Vec<_> = [WORLD, &named].into_iter().chain(policies.iter().copied()).collect();
    let process = ShadowSettings {
        headers: HeaderOps { remove: [header::AUTHORIZATION].into(), ..HeaderOps::default() },
        ..ShadowSettings::default()
    };
    let applied = load_with(Settings { shadow: process, ..Settings::default() }, &texts);
    applied.table.virtual_host("mirror", 8000, "httpbin").unwrap().rules[0].mirrors[0].settings.clone()
}

fn removed(settings: &ShadowSettings) -> Vec<&str> {
    settings.headers.remove.iter().map(HeaderName::as_str).collect()
}

/// Breaks if the nearest policy replaces the wider ones as a whole, or if a wider one counts before a nearer one.
#[test]
fn each_field_is_that_of_the_nearest_policy_that_has_it() {
    let of_service = policy("s", SERVICE, "timeout: 1s, maxConcurrent: 1, methods: [GET], sampling: {by: sourceIP}");
    let of_rules = policy("v", RULES, "timeout: 2s, hostSuffix: '', dscp: 8");
    let of_rule = policy("r", RULE, "timeout: 3s, bufferBytes: 2Ki, methods: ['*'], dscp: 0");

    let found = settings(&[&of_service]);
    assert_eq!((found.timeout.as_secs(), found.max_concurrent, &*found.host_suffix), (1, 1, "-shadow"));
    assert_eq!(found.methods, Methods::Only([Method::GET].into()));
    assert_eq!((found.sampling.to_string().as_str(), found.dscp.get()), ("sourceIP", 1));

    let found = settings(&[&of_service, &of_rules]);
    assert_eq!((found.timeout.as_secs(), found.max_concurrent, &*found.host_suffix), (2, 1, ""));
    assert_eq!((found.methods, found.dscp.get()), (Methods::Only([Method::GET].into()), 8));

    let found = settings(&[&of_service, &of_rules, &of_rule]);
    assert_eq!((found.timeout.as_secs(), found.max_concurrent, &*found.host_suffix), (3, 1, ""));
    assert_eq!((found.methods, found.buffer_bytes, found.dscp.get()), (Methods::All, 2048, 0));
    assert_eq!(found.sampling.to_string(), "sourceIP");

    // In whatever order they come.
    assert_eq!(settings(&[&of_rule, &of_rules, &of_service]), settings(&[&of_service, &of_rules, &of_rule]));
}

/// Breaks if `headers` is one field: then a policy that adds a field would hand the credentials to v2 again.
#[test]
fn adding_a_header_does_not_bring_credentials_back() {
    let adds = policy("v", RULES, "headers: {add: {x-env: canary}}");
    let found = settings(&[&adds]);
    assert_eq!((removed(&found), found.headers.add.len()), (vec!["authorization"], 1));

    let removes = policy("r", RULE, "headers: {remove: [Cookie]}");
    let found = settings(&[&adds, &removes]);
    assert_eq!((removed(&found), found.headers.add.len()), (vec!["cookie"], 1));

    let keeps = policy("r", RULE, "headers: {remove: []}");
    assert!(removed(&settings(&[&adds, &keeps])).is_empty());
}

#[test]
fn of_two_policies_for_one_target_the_older_counts() {
    let dated = |name: &str, day: &str, spec: &str| {
        let created = format!("namespace: mirror, creationTimestamp: '2026-01-{day}T00:00:00Z'");
        policy(name, RULES, spec).replace("namespace: mirror", &created)
    };
    let (newer, older) = (dated("a", "02", "timeout: 1s"), dated("b", "01", "maxConcurrent: 2"));
    let found = settings(&[&newer, &older]);
    assert_eq!((found.timeout.as_secs(), found.max_concurrent), (10, 2));
}
