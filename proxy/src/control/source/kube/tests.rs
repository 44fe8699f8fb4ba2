//! The source against an API server that fails in every way that real ones do. Time is the test's: pauses pass at once.

mod bursts;
mod deletions;
mod fake;
mod kinds;
mod outages;

use std::future::Future;

use serde_json::{Value, json};
use tokio::task::LocalSet;

use self::fake::Fake;
use super::*;

const DEFINITIONS: [&str; 3] =
    ["virtualservices.networking.istio.io", "destinationrules.networking.istio.io", "shadowpolicies.understudy.dev"];

/// A cluster with our kinds and a Service `httpbin` with two pods, one of them on our node.
fn cluster() -> Fake {
    let fake = Fake::default();
    for name in DEFINITIONS {
        fake.put("customresourcedefinitions", json!({"metadata": {"name": name}}));
    }
    fake.put("namespaces", json!({"metadata": {"name": "mirror", "labels": {"understudy.dev/capture": "enabled"}}}));
    fake.put("namespaces", json!({"metadata": {"name": "other"}}));
    fake.put("services", service("httpbin", "10.96.0.10"));
    fake.put("services", service("bystander", "10.96.0.11"));
    for (name, node) in [("v1", "w1"), ("v2", "w2")] {
        fake.put("pods", pod(name, node, "httpbin"));
    }
    fake.put("pods", pod("stranger", "w2", "bystander"));
    fake.put("endpointslices", slice("httpbin"));
    fake.put("endpointslices", slice("bystander"));
    fake
}

fn service(name: &str, ip: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "mirror"},
           "spec": {"clusterIP": ip, "clusterIPs": [ip], "selector": {"app": name}, "ports": [{"name": "http", "port": 8000, "targetPort": 80}]}})
}

fn pod(name: &str, node: &str, app: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "mirror", "uid": name, "labels": {"app": app, "version": name}},
           "spec": {"nodeName": node}, "status": {"phase": "Running", "podIP": "10.0.0.1"}})
}

fn slice(service: &str) -> Value {
    json!({"metadata": {"name": format!("{service}-x"), "namespace": "mirror", "labels": {"kubernetes.io/service-name": service}},
           "addressType": "IPv4", "ports": [{"name": "http", "port": 80}], "endpoints": [{"addresses": ["10.0.0.1"]}]})
}

fn rules(name: &str, host: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "mirror"}, "spec": {"hosts": [host], "http": [{"route": [{"destination": {"host": host, "subset": "v1"}}]}]}})
}

fn subsets(host: &str) -> Value {
    json!({"metadata": {"name": host, "namespace": "mirror"}, "spec": {"host": host, "subsets": [{"name": "v1", "labels": {"version": "v1"}}]}})
}

/// Runs a test beside the fake server; what does not come within ten minutes of its time does not come.
fn with<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(600), test).await.expect("it never came");
    });
}

fn open(fake: &Fake) -> KubeSource {
    KubeSource::open(fake.client(), &"w1".into(), &"cluster.local".into(), None)
}

/// The objects of the next delivery, by name.
async fn next(source: &mut KubeSource) -> Vec<String> {
    source.changed().await.iter().map(|text| text.path.to_string()).collect()
}

/// Deliveries until one has, or lacks, an object.
async fn until(source: &mut KubeSource, path: &str, there: bool) -> Vec<String> {
    loop {
        let names = next(source).await;
        if names.iter().any(|name| name == path) == there {
            return names;
        }
    }
}

/// Whether nothing is delivered for a minute.
async fn silent(source: &mut KubeSource) -> bool {
    tokio::time::timeout(Duration::from_secs(60), source.changed()).await.is_err()
}

/// Fails if the first delivery is a part: a table without the endpoints of a rule would answer 503.
#[test]
fn the_first_delivery_has_all_that_the_rules_name_and_nothing_else() {
    with(async {
        let fake = cluster();
        fake.put("virtualservices", rules("httpbin", "httpbin"));
        fake.put("destinationrules", subsets("httpbin"));
        let mut source = open(&fake);
        assert!(!source.has_configuration());
        let expected = [
            "DestinationRule mirror/httpbin",
            "EndpointSlice mirror/httpbin-x",
            "Namespace mirror",
            "Pod mirror/v1",
            "Pod mirror/v2",
            "Service mirror/httpbin",
            "VirtualService mirror/httpbin",
        ];
        assert_eq!(next(&mut source).await, expected);
        assert!(source.has_configuration() && source.problems().is_empty());
        // Of the pod of our node we know its place, of the other its labels.
        let text = |source: &KubeSource, path: &str| {
            let found = source.texts().iter().find(|text| &*text.path == path).and_then(|text| text.text.clone().ok());
            found.unwrap_or_default()
        };
        assert!(text(&source, "Pod mirror/v1").contains("nodeName"));
        assert!(!text(&source, "Pod mirror/v2").contains("nodeName"));
        let asked = fake.asked();
        assert!(
            !asked.iter().any(|asked| asked.contains("/services") && !asked.contains("metadata.name%3Dhttpbin")),
            "{asked:#?}"
        );
    });
}

/// Fails if a list is one that the API server asks etcd for: all nodes list at once when it comes back. (With a limit it does, on servers of before
/// 1.31.)
#[test]
fn every_list_is_answered_from_the_api_servers_cache() {
    with(async {
        let fake = cluster();
        fake.put("virtualservices", rules("httpbin", "httpbin"));
        fake.put("destinationrules", subsets("httpbin"));
        let mut source = open(&fake);
        next(&mut source).await;
        let asked = fake.asked();
        // What is no list: the versions of a kind.
        let lists: Vec<_> = asked.iter().filter(|asked| asked.contains('?') && !asked.contains("watch=true")).collect();
        assert!(lists.len() > 8, "{asked:#?}");
        assert!(lists.iter().all(|list| list.contains("resourceVersion=0&") && !list.contains("limit=")), "{lists:#?}");
    });
}

/// Fails if churn elsewhere reaches us: of what no rule names, nothing is asked.
#[test]
fn a_pod_that_no_rule_names_makes_no_delivery() {
    with(async {
        let fake = cluster();
        fake.put("virtualservices", rules("httpbin", "httpbin"));
        let mut source = open(&fake);
        next(&mut source).await;
        fake.put("pods", pod("new", "w2", "bystander"));
        fake.put("endpointslices", slice("bystander"));
        fake.put("namespaces", json!({"metadata": {"name": "third"}}));
        assert!(silent(&mut source).await);
        fake.put("pods", pod("ours", "w1", "bystander"));
        until(&mut source, "Pod mirror/ours", true).await;
    });
}

/// Fails if a new rule is delivered before its Service is known, or the one of before vanishes while the watch of both begins.
#[test]
fn a_rule_comes_with_its_service_and_takes_nothing_away() {
    with(async {
        let fake = cluster();
        fake.put("virtualservices", rules("httpbin", "httpbin"));
        let mut source = open(&fake);
        next(&mut source).await;
        fake.put("virtualservices", rules("bystander", "bystander"));
        let names = next(&mut source).await;
        for path in [
            "Service mirror/httpbin",
            "Service mirror/bystander",
            "EndpointSlice mirror/bystander-x",
            "VirtualService mirror/bystander",
        ] {
            assert!(names.iter().any(|name| name == path), "{path}: {names:?}");
        }
        fake.delete("virtualservices", "mirror", "httpbin");
        let names = until(&mut source, "VirtualService mirror/httpbin", false).await;
        assert!(!names.iter().any(|name| name == "Service mirror/httpbin"), "{names:?}");
        assert!(names.iter().any(|name| name == "Service mirror/bystander"), "{names:?}");
    });
}

/// Fails if a rule more, or a rule less, makes every node list again what it knows.
#[test]
fn a_rule_more_asks_for_its_own_endpoints_and_a_rule_less_for_nothing() {
    with(async {
        let fake = cluster();
        for name in ["httpbin", "bystander"] {
            fake.put("destinationrules", subsets(name));
        }
        fake.put("virtualservices", rules("httpbin", "httpbin"));
        let mut source = open(&fake);
        next(&mut source).await;
        fake.asked();
        fake.put("virtualservices", rules("bystander", "bystander"));
        let names = next(&mut source).await;
        assert!(names.iter().any(|name| name == "Pod mirror/stranger"), "{names:?}");
        let asked = fake.asked();
        let endpoints: Vec<_> = asked.iter().filter(|asked| !asked.contains("/services?")).collect();
        assert!(!endpoints.is_empty() && endpoints.iter().all(|asked| asked.contains("%28bystander%29")), "{asked:#?}");
        fake.delete("virtualservices", "mirror", "bystander");
        let names = until(&mut source, "VirtualService mirror/bystander", false).await;
        assert!(!names.iter().any(|name| name == "EndpointSlice mirror/bystander-x"), "{names:?}");
        assert_eq!(fake.asked(), Vec::<String>::new());
        // What is shown in vain is no change.
        fake.put("endpointslices", slice("bystander"));
        assert!(silent(&mut source).await);
    });
}

/// Fails if an API server that is away takes rules with it, or if what changed meanwhile is not heard when it is back.
#[test]
fn an_api_server_that_is_away_changes_nothing() {
    with(async {
        let fake = cluster();
        fake.put("virtualservices", rules("httpbin", "httpbin"));
        let mut source = open(&fake);
        let before = next(&mut source).await;
        fake.refuse(Some(503));
        fake.delete("virtualservices", "mirror", "httpbin");
        assert!(silent(&mut source).await);
        assert!(!source.problems().is_empty());
        assert_eq!(source.texts().len(), before.len());
        fake.refuse(None);
        let names = until(&mut source, "VirtualService mirror/httpbin", false).await;
        assert!(!names.is_empty());
        assert!(silent(&mut source).await);
        assert_eq!(source.problems(), Vec::<&str>::new());
    });
}

/// Fails if a watch whose place in history is gone (410) ends, or shows a half list.
#[test]
fn a_watch_whose_history_is_gone_begins_anew() {
    with(async {
        let fake = cluster();
        fake.put("virtualservices", rules("httpbin", "httpbin"));
        let mut source = open(&fake);
        next(&mut source).await;
        fake.say(&json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "code": 410, "reason": "Expired", "message": "too old resource version"}}));
        assert!(silent(&mut source).await, "nothing has changed");
        fake.put("virtualservices", rules("later", "bystander"));
        until(&mut source, "VirtualService mirror/later", true).await;
    });
}

/// Fails if a disconnect loses what comes after it, or a bookmark is taken for an object.
#[test]
fn disconnects_and_bookmarks_lose_nothing() {
    with(async {
        let fake = cluster();
        fake.put("virtualservices", rules("httpbin", "httpbin"));
        let mut source = open(&fake);
        next(&mut source).await;
        fake.say(&json!({"type": "BOOKMARK", "object": {"kind": "VirtualService", "apiVersion": "networking.istio.io/v1", "metadata": {"resourceVersion": "900"}}}));
        fake.hang_up();
        assert!(silent(&mut source).await);
        fake.put("virtualservices", rules("later", "bystander"));
        until(&mut source, "VirtualService mirror/later", true).await;
    });
}

/// Fails if a line that makes no sense ends the watch for good, or an object that we cannot read loses its Service: its last good state is in force.
#[test]
fn what_does_not_parse_disturbs_nothing_else() {
    with(async {
        let fake = cluster();
        fake.put("virtualservices", rules("httpbin", "httpbin"));
        let mut source = open(&fake);
        next(&mut source).await;
        fake.say(&json!({"type": "MODIFIED", "object": [1]}));
        let broken =
            json!({"metadata": {"name": "httpbin", "namespace": "mirror"}, "spec": {"hosts": [7], "http": "no"}});
        assert!(silent(&mut source).await);
        fake.put("virtualservices", broken);
        let names = next(&mut source).await;
        assert!(names.iter().any(|name| name == "Service mirror/httpbin"), "{names:?}");
    });
}

/// Fails if kinds that are not there keep everything else waiting, or are not found when they come.
#[test]
fn kinds_may_come_and_go() {
    with(async {
        let fake = cluster();
        for name in &DEFINITIONS[..2] {
            fake.delete("customresourcedefinitions", "", name);
        }
        let mut source = open(&fake);
        assert_eq!(next(&mut source).await, ["Namespace mirror", "Pod mirror/v1"]);
        for name in &DEFINITIONS[..2] {
            fake.put("customresourcedefinitions", json!({"metadata": {"name": name}}));
        }
        fake.put("virtualservices", rules("httpbin", "httpbin"));
        until(&mut source, "Service mirror/httpbin", true).await;
        fake.delete("virtualservices", "mirror", "httpbin");
        fake.delete("customresourcedefinitions", "", DEFINITIONS[0]);
        until(&mut source, "VirtualService mirror/httpbin", false).await;
        fake.asked();
        assert!(silent(&mut source).await);
        assert!(fake.asked().len() < 20, "it is asked in a loop for a kind that is gone");
    });
}

/// Fails if missing rights end the process, are not said, or are asked about without a pause.
#[test]
fn missing_rights_are_said_with_their_remedy() {
    with(async {
        let fake = cluster();
        fake.refuse_of("namespaces", Some(403));
        let mut source = open(&fake);
        assert!(silent(&mut source).await, "a part of a configuration is none");
        assert!(!source.has_configuration());
        let problems = source.problems().join("\n");
        assert!(
            problems.contains("cannot watch namespaces") && problems.contains("ClusterRole `understudy`"),
            "{problems}"
        );
        let asked = fake.asked().iter().filter(|asked| asked.contains("/namespaces")).count();
        assert!(asked < 40, "{asked} times in a minute");
        fake.refuse_of("namespaces", None);
        next(&mut source).await;
        assert!(source.problems().is_empty());
    });
}

/// Fails if a restart without an API server begins without rules, or if its silence removes what was kept.
#[test]
fn what_was_kept_is_in_force_until_the_api_server_is_heard() {
    let folder = tempfile::tempdir().unwrap();
    let open =
        |fake: &Fake| KubeSource::open(fake.client(), &"w1".into(), &"cluster.local".into(), Some(folder.path()));
    let fake = cluster();
    fake.put("virtualservices", rules("httpbin", "httpbin"));
    let mut known = 0;
    with(async {
        let mut source = open(&fake);
        known = next(&mut source).await.len();
    });
    let written = || snapshot::load(folder.path(), "w1").is_some();
    assert!((0..500).any(|_| written() || {
        std::thread::sleep(Duration::from_millis(10));
        false
    }));
    with(async {
        fake.refuse(Some(503));
        let mut source = open(&fake);
        assert!(source.has_configuration());
        assert_eq!(source.texts().len(), known);
        assert!(silent(&mut source).await);
        assert_eq!(source.texts().len(), known);
        fake.refuse(None);
        fake.delete("virtualservices", "mirror", "httpbin");
        until(&mut source, "VirtualService mirror/httpbin", false).await;
    });
}
