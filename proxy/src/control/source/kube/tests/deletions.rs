//! Definitions that are deleted, and their objects with them: rules end together.

use super::*;

/// Fails if rules vanish one kind after the other while their definitions are deleted: one without its subsets answers 503.
#[test]
fn rules_whose_kinds_are_deleted_end_together() {
    with(async {
        let fake = cluster();
        fake.put("virtualservices", rules("httpbin", "httpbin"));
        fake.put("destinationrules", subsets("httpbin"));
        let mut source = open(&fake);
        next(&mut source).await;
        let leaving = |name: &str| json!({"metadata": {"name": name, "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x"]}});
        fake.put("customresourcedefinitions", leaving(DEFINITIONS[1]));
        fake.put("customresourcedefinitions", leaving(DEFINITIONS[0]));
        let a_while = || tokio::time::sleep(Duration::from_secs(2));
        a_while().await;
        fake.delete("destinationrules", "mirror", "httpbin");
        fake.delete("customresourcedefinitions", "", DEFINITIONS[1]);
        let change = tokio::time::timeout(Duration::from_secs(5), source.changed()).await;
        assert!(change.is_err(), "{change:?}");
        fake.delete("virtualservices", "mirror", "httpbin");
        let change = tokio::time::timeout(Duration::from_secs(5), source.changed()).await;
        assert!(change.is_err(), "{change:?}");
        // What is no rule does not wait.
        fake.put("pods", pod("ours", "w1", "bystander"));
        let names = until(&mut source, "Pod mirror/ours", true).await;
        for path in ["VirtualService mirror/httpbin", "DestinationRule mirror/httpbin", "Service mirror/httpbin"] {
            assert!(names.iter().any(|name| name == path), "{path}: {names:?}");
        }
        fake.delete("customresourcedefinitions", "", DEFINITIONS[0]);
        let names = next(&mut source).await;
        assert!(!names.iter().any(|name| name.contains("Rule") || name.starts_with("VirtualService")), "{names:?}");
    });
}

/// Fails if what was listed before counts once more when its kind is gone, because the watch had ended before its objects did.
#[test]
fn a_kind_whose_watch_ended_first_is_gone_with_all_its_objects() {
    with(async {
        let fake = cluster();
        fake.put("virtualservices", rules("httpbin", "httpbin"));
        fake.put("destinationrules", subsets("httpbin"));
        let mut source = open(&fake);
        next(&mut source).await;
        for name in [DEFINITIONS[1], DEFINITIONS[0]] {
            fake.put(
                "customresourcedefinitions",
                json!({"metadata": {"name": name, "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x"]}}),
            );
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        fake.delete("destinationrules", "mirror", "httpbin");
        fake.delete("customresourcedefinitions", "", DEFINITIONS[1]);
        fake.refuse_of("virtualservices", Some(404));
        fake.hang_up();
        // In the middle of a pause after the refusal.
        tokio::time::sleep(Duration::from_millis(600)).await;
        fake.delete("virtualservices", "mirror", "httpbin");
        fake.delete("customresourcedefinitions", "", DEFINITIONS[0]);
        let names = next(&mut source).await;
        assert!(!names.iter().any(|name| name.contains("Rule") || name.starts_with("VirtualService")), "{names:?}");
    });
}

/// Fails if a process that starts in the middle of an uninstall shows the rules that are left: it had all of them from the one before.
#[test]
fn a_start_in_the_middle_of_a_deletion_shows_no_rule_without_its_subsets() {
    with(async {
        let folder = tempfile::tempdir().unwrap();
        let fake = cluster();
        fake.put("virtualservices", rules("httpbin", "httpbin"));
        fake.put("destinationrules", subsets("httpbin"));
        let state = Some(folder.path());
        let open = || KubeSource::open(fake.client(), &"w1".into(), &"cluster.local".into(), state);
        next(&mut open()).await;
        std::thread::sleep(Duration::from_millis(200));
        // One kind is gone; that the other will be is not known yet.
        fake.delete("destinationrules", "mirror", "httpbin");
        fake.delete("customresourcedefinitions", "", DEFINITIONS[1]);
        let mut source = open();
        assert!(source.texts().iter().any(|text| text.path.starts_with("DestinationRule")));
        let change = tokio::time::timeout(Duration::from_millis(500), source.changed()).await;
        assert!(change.is_err(), "{change:?}");
        fake.delete("virtualservices", "mirror", "httpbin");
        fake.delete("customresourcedefinitions", "", DEFINITIONS[0]);
        let names = next(&mut source).await;
        assert!(!names.iter().any(|name| name.contains("Rule") || name.starts_with("VirtualService")), "{names:?}");
    });
}

/// Fails if a deletion that somebody's finalizer stops keeps rules as they were for ever.
#[test]
fn a_deletion_that_does_not_end_holds_rules_for_a_minute_only() {
    with(async {
        let fake = cluster();
        fake.put("virtualservices", rules("httpbin", "httpbin"));
        let mut source = open(&fake);
        next(&mut source).await;
        fake.put(
            "customresourcedefinitions",
            json!({"metadata": {"name": DEFINITIONS[0], "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x"]}}),
        );
        tokio::time::sleep(Duration::from_secs(2)).await;
        fake.delete("virtualservices", "mirror", "httpbin");
        let begin = Instant::now();
        until(&mut source, "VirtualService mirror/httpbin", false).await;
        assert!(begin.elapsed() > Duration::from_secs(50), "{:?}", begin.elapsed());
    });
}
