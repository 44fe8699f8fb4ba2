//! Definitions that are deleted, and their objects with them: rules end together.

use super::*;

const RULES: &str = DEFINITIONS[0];
const SUBSETS: &str = DEFINITIONS[1];

/// A cluster with a rule and its subsets.
fn ruled() -> Fake {
    let fake = cluster();
    fake.put("virtualservices", rules("httpbin", "httpbin"));
    fake.put("destinationrules", subsets("httpbin"));
    fake
}

/// Marks a definition as one that is being deleted.
fn mark(fake: &Fake, name: &str) {
    let metadata = json!({"name": name, "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x"]});
    fake.put("customresourcedefinitions", json!({"metadata": metadata}));
}

/// Deletes the one object of a kind, and its definition.
fn end(fake: &Fake, plural: &str, definition: &str) {
    fake.delete(plural, "mirror", "httpbin");
    fake.delete("customresourcedefinitions", "", definition);
}

/// Whether nothing is delivered in so many milliseconds.
async fn quiet(source: &mut KubeSource, milliseconds: u64) -> bool {
    tokio::time::timeout(Duration::from_millis(milliseconds), source.changed()).await.is_err()
}

fn has_rules(names: &[String]) -> bool {
    names.iter().any(|name| name.starts_with("VirtualService") || name.starts_with("DestinationRule"))
}

/// Fails if rules vanish one kind after the other while their definitions are deleted: one without its subsets answers 503.
#[test]
fn rules_whose_kinds_are_deleted_end_together() {
    with(async {
        let fake = ruled();
        let mut source = open(&fake);
        next(&mut source).await;
        mark(&fake, SUBSETS);
        mark(&fake, RULES);
        assert!(quiet(&mut source, 2_000).await);
        end(&fake, "destinationrules", SUBSETS);
        assert!(quiet(&mut source, 5_000).await);
        fake.delete("virtualservices", "mirror", "httpbin");
        assert!(quiet(&mut source, 5_000).await);
        // What is no rule does not wait.
        fake.put("pods", pod("ours", "w1", "bystander"));
        let names = until(&mut source, "Pod mirror/ours", true).await;
        for path in ["VirtualService mirror/httpbin", "DestinationRule mirror/httpbin", "Service mirror/httpbin"] {
            assert!(names.iter().any(|name| name == path), "{path}: {names:?}");
        }
        fake.delete("customresourcedefinitions", "", RULES);
        let names = next(&mut source).await;
        assert!(!has_rules(&names), "{names:?}");
    });
}

/// Fails if what was listed before counts once more when its kind is gone, because the watch had ended before its objects did.
#[test]
fn a_kind_whose_watch_ended_first_is_gone_with_all_its_objects() {
    with(async {
        let fake = ruled();
        let mut source = open(&fake);
        next(&mut source).await;
        mark(&fake, SUBSETS);
        mark(&fake, RULES);
        assert!(quiet(&mut source, 300).await);
        end(&fake, "destinationrules", SUBSETS);
        fake.refuse_of("virtualservices", Some(404));
        fake.hang_up();
        // In the middle of a pause after the refusal.
        assert!(quiet(&mut source, 600).await);
        end(&fake, "virtualservices", RULES);
        let names = next(&mut source).await;
        assert!(!has_rules(&names), "{names:?}");
    });
}

/// Fails if a process that starts in the middle of an uninstall shows the rules that are left: it had all of them from the one before.
#[test]
fn a_start_in_the_middle_of_a_deletion_shows_no_rule_without_its_subsets() {
    with(async {
        let folder = tempfile::tempdir().unwrap();
        let fake = ruled();
        let open = || KubeSource::open(fake.client(), &"w1".into(), &"cluster.local".into(), Some(folder.path()));
        next(&mut open()).await;
        // A thread of its own writes it, in the machine's time.
        let kept = |_| {
            std::thread::sleep(Duration::from_millis(10));
            snapshot::load(folder.path(), "w1")
        };
        assert!((0..3_000).find_map(kept).is_some(), "nothing was kept");
        // One kind is gone; that the other will be is not known yet.
        end(&fake, "destinationrules", SUBSETS);
        let mut source = open();
        assert!(source.texts().iter().any(|text| text.path.starts_with("DestinationRule")));
        assert!(quiet(&mut source, 500).await);
        end(&fake, "virtualservices", RULES);
        let names = next(&mut source).await;
        assert!(!has_rules(&names), "{names:?}");
    });
}

/// Fails if a deletion that somebody's finalizer stops keeps rules as they were for ever.
#[test]
fn a_deletion_that_does_not_end_holds_rules_for_a_minute_only() {
    with(async {
        let fake = ruled();
        let mut source = open(&fake);
        next(&mut source).await;
        mark(&fake, RULES);
        assert!(quiet(&mut source, 2_000).await);
        fake.delete("virtualservices", "mirror", "httpbin");
        let begin = Instant::now();
        until(&mut source, "VirtualService mirror/httpbin", false).await;
        assert!(begin.elapsed() > Duration::from_secs(50), "{:?}", begin.elapsed());
    });
}
