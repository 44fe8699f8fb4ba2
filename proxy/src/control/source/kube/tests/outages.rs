//! API servers that are away, forget, and come back.

use tokio::time::Instant;

use super::*;

/// Mutations that break it: no pause after an error, of any kind of request.
#[test]
fn an_api_server_that_is_away_is_not_asked_in_a_loop() {
    with(async {
        let fake = cluster();
        fake.refuse(Some(503));
        let mut source = open(&fake);
        assert!(silent(&mut source).await);
        let asked = fake.asked();
        for part in ["/apis/networking.istio.io/v1", "/customresourcedefinitions", "/namespaces", "/pods"] {
            let times = asked.iter().filter(|asked| asked.contains(part)).count();
            assert!((2..80).contains(&times), "{part}: {times} times in a minute");
        }
        fake.refuse(None);
        next(&mut source).await;
    });
}

/// After an outage that was long, one that is short is over soon. Mutation that breaks it: going on with the longest pause.
#[test]
fn pauses_begin_anew_after_a_success() {
    with(async {
        let fake = cluster();
        let mut source = open(&fake);
        next(&mut source).await;
        fake.refuse(Some(503));
        assert!(silent(&mut source).await && silent(&mut source).await);
        assert!(!source.problems.is_empty());
        fake.refuse(None);
        fake.put("pods", pod("first", "w1", "httpbin"));
        until(&mut source, "Pod mirror/first", true).await;
        assert!(silent(&mut source).await);
        // Of which every problem would be told again.
        assert!(source.problems.is_empty() && source.problems().is_empty());

        fake.refuse(Some(503));
        assert!(tokio::time::timeout(Duration::from_millis(100), source.changed()).await.is_err());
        fake.refuse(None);
        fake.put("pods", pod("second", "w1", "httpbin"));
        let start = Instant::now();
        until(&mut source, "Pod mirror/second", true).await;
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    });
}

/// Of watches of every kind: some end with their kind's definition and begin anew, most never do. Mutation that breaks it: ending a watch whose place
/// in history is gone.
#[test]
fn every_watch_goes_on_after_its_history_is_gone() {
    with(async {
        let fake = cluster();
        fake.put("virtualservices", rules("httpbin", "httpbin"));
        let mut source = open(&fake);
        next(&mut source).await;
        fake.say(&json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "code": 410, "reason": "Expired", "message": "too old resource version"}}));
        assert!(silent(&mut source).await);
        fake.put("pods", pod("new", "w1", "httpbin"));
        until(&mut source, "Pod mirror/new", true).await;
        fake.delete("endpointslices", "mirror", "httpbin-x");
        until(&mut source, "EndpointSlice mirror/httpbin-x", false).await;
        fake.put("namespaces", json!({"metadata": {"name": "third", "labels": {"understudy.dev/capture": "enabled"}}}));
        until(&mut source, "Namespace third", true).await;
    });
}

/// What went while nobody could say so goes with the next whole list. Mutation that breaks it: adding a list to what is known.
#[test]
fn what_a_new_list_does_not_have_is_gone() {
    with(async {
        let fake = cluster();
        fake.put("virtualservices", rules("httpbin", "httpbin"));
        fake.put("virtualservices", rules("other", "bystander"));
        let mut source = open(&fake);
        next(&mut source).await;
        fake.refuse(Some(503));
        fake.delete("virtualservices", "mirror", "other");
        fake.forget();
        assert!(silent(&mut source).await);
        fake.refuse(None);
        // The watch that goes on hears that its place in history is gone.
        assert!(silent(&mut source).await);
        fake.say(&json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "code": 410, "reason": "Expired", "message": "too old resource version"}}));
        let names = until(&mut source, "VirtualService mirror/other", false).await;
        assert!(names.iter().any(|name| name == "Service mirror/httpbin"), "{names:?}");
    });
}
