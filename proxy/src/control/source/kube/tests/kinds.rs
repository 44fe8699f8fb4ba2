//! Kinds that are not there, not yet, not any more, or that we may not ask for.

use super::*;

const RULES: &str = DEFINITIONS[0];

/// A real API server deletes the objects first, and says so; a watch that has missed that sees the definition go. Mutations that break it: not
/// listening to the definition; keeping the objects of a kind that is gone; keeping its watch.
#[test]
fn with_its_definition_a_kinds_objects_go() {
    with(async {
        let fake = cluster();
        fake.put("virtualservices", rules("httpbin", "httpbin"));
        let mut source = open(&fake);
        next(&mut source).await;
        fake.delete("customresourcedefinitions", "", RULES);
        let names = until(&mut source, "VirtualService mirror/httpbin", false).await;
        assert!(!names.iter().any(|name| name == "Service mirror/httpbin"), "{names:?}");
        assert_eq!(fake.watched("virtualservices"), 0);
        assert!(source.problems().is_empty(), "a kind that is gone is no problem: {:?}", source.problems());
    });
}

/// Mutation that breaks it: taking a kind whose definition we may not see for absent, or never asking again.
#[test]
fn without_a_right_to_see_definitions_kinds_are_found_by_asking() {
    with(async {
        let fake = cluster();
        fake.refuse_of("customresourcedefinitions", Some(403));
        fake.put("virtualservices", rules("httpbin", "httpbin"));
        let mut source = open(&fake);
        let names = next(&mut source).await;
        assert!(names.iter().any(|name| name == "Service mirror/httpbin"), "{names:?}");

        let fake = cluster();
        fake.refuse_of("customresourcedefinitions", Some(403));
        fake.delete("customresourcedefinitions", "", RULES);
        let mut source = open(&fake);
        next(&mut source).await;
        assert!(source.has_configuration(), "a kind that is not there keeps nothing waiting");
        fake.put("customresourcedefinitions", json!({"metadata": {"name": RULES}}));
        fake.put("virtualservices", rules("httpbin", "httpbin"));
        until(&mut source, "VirtualService mirror/httpbin", true).await;
    });
}

/// Mutation that breaks it: waiting for news of the definition when it is there and its kind is not served yet.
#[test]
fn a_kind_that_is_served_later_than_its_definition_says_is_found() {
    with(async {
        let fake = cluster();
        fake.put("virtualservices", rules("httpbin", "httpbin"));
        fake.refuse_of(fake::DISCOVERY, Some(404));
        let mut source = open(&fake);
        assert!(silent(&mut source).await, "rules that are there are not left out");
        let asked = fake.asked().len();
        assert!(asked < 300, "{asked} requests in a minute");
        fake.refuse_of(fake::DISCOVERY, None);
        until(&mut source, "VirtualService mirror/httpbin", true).await;
    });
}

/// Mutations that break it: taking a kind that we may not list, or not ask for, for one that is not there: a node would begin without rules.
#[test]
fn a_kind_that_we_may_not_see_is_a_problem_and_not_absent() {
    for plural in ["virtualservices", fake::DISCOVERY] {
        with(async {
            let fake = cluster();
            fake.put("virtualservices", rules("httpbin", "httpbin"));
            fake.refuse_of(plural, Some(403));
            let mut source = open(&fake);
            assert!(silent(&mut source).await, "{plural}: {:?}", source.texts());
            assert!(!source.problems().is_empty(), "{plural}");
            fake.refuse_of(plural, None);
            until(&mut source, "Service mirror/httpbin", true).await;
        });
    }
}

/// Mutation that breaks it: asking again at once.
#[test]
fn a_kind_that_is_listed_and_not_found_is_asked_for_with_pauses() {
    with(async {
        let fake = cluster();
        fake.refuse_of("virtualservices", Some(404));
        let mut source = open(&fake);
        assert!(silent(&mut source).await);
        let asked = fake.asked().iter().filter(|asked| asked.contains("/virtualservices")).count();
        assert!((2..40).contains(&asked), "{asked} times in a minute");
    });
}
