//! When changes are delivered, and which watches they begin and end.

use tokio::time::{Instant, sleep, timeout};

use super::*;

/// How many deliveries there are until nothing comes for a minute.
async fn deliveries(source: &mut KubeSource) -> usize {
    let mut number = 0;
    while !silent(source).await {
        number += 1;
    }
    number
}

/// A list, and a Deployment's pods, are many changes at once. Mutation that breaks it: delivering each.
#[test]
fn a_burst_is_one_delivery() {
    with(async {
        let fake = cluster();
        let mut source = open(&fake);
        next(&mut source).await;
        let puts = async {
            for number in 0..20 {
                fake.put("pods", pod(&format!("p{number}"), "w1", "httpbin"));
                sleep(QUIET / 4).await;
            }
        };
        let (number, ()) = tokio::join!(deliveries(&mut source), puts);
        assert_eq!(number, 1);
        assert_eq!(source.texts().iter().filter(|text| text.path.starts_with("Pod ")).count(), 21);
    });
}

/// Mutation that breaks it: waiting for the end of the burst, however long.
#[test]
fn a_burst_that_does_not_end_is_delivered_in_between() {
    with(async {
        let fake = cluster();
        let mut source = open(&fake);
        next(&mut source).await;
        let start = Instant::now();
        let puts = async {
            for number in 0..1000 {
                fake.put("pods", pod(&format!("p{number}"), "w1", "httpbin"));
                sleep(QUIET / 4).await;
            }
        };
        let first = async {
            next(&mut source).await;
            start.elapsed()
        };
        let (first, ()) = tokio::join!(first, puts);
        assert!(first <= LONGEST_BURST + QUIET, "{first:?}");
    });
}

/// Mutation that breaks it: delivering what was delivered.
#[test]
fn what_is_as_it_was_at_the_end_of_a_burst_is_not_delivered() {
    with(async {
        let fake = cluster();
        let mut source = open(&fake);
        next(&mut source).await;
        fake.put("pods", pod("short", "w1", "httpbin"));
        fake.delete("pods", "mirror", "short");
        assert!(silent(&mut source).await);
    });
}

/// Mutations that break it: waiting for the watches of a new rule for ever; closing those of before when the wait is over.
#[test]
fn a_service_that_is_not_answered_for_does_not_keep_other_changes_waiting() {
    with(async {
        let fake = cluster();
        fake.put("virtualservices", rules("httpbin", "httpbin"));
        let mut source = open(&fake);
        next(&mut source).await;
        fake.hang("endpointslices");
        fake.put("virtualservices", rules("bystander", "bystander"));
        let start = Instant::now();
        let names = until(&mut source, "VirtualService mirror/bystander", true).await;
        assert!(start.elapsed() >= PATIENCE && start.elapsed() < PATIENCE * 2, "{:?}", start.elapsed());
        // What is not known anew is as it was: without endpoints the rule of before would answer 503.
        for name in ["Service mirror/bystander", "Service mirror/httpbin", "EndpointSlice mirror/httpbin-x"] {
            assert!(names.iter().any(|one| one == name), "{name}: {names:?}");
        }
        fake.put("pods", pod("new", "w1", "httpbin"));
        timeout(PATIENCE, until(&mut source, "Pod mirror/new", true)).await.expect("kept waiting");
    });
}

/// Hosts of routes and mirrors count as those of the rule. Mutations that break it: leaving out either; watching labels that no subset tells apart;
/// keeping a watch that nobody wants.
#[test]
fn every_service_that_a_rule_names_is_watched_and_none_longer_than_that() {
    with(async {
        let fake = cluster();
        for name in ["to", "copy"] {
            fake.put("services", service(name, "10.96.0.12"));
            fake.put("endpointslices", slice(name));
        }
        let mut rule = rules("httpbin", "httpbin");
        rule["spec"]["http"] =
            json!([{"route": [{"destination": {"host": "to"}}], "mirrors": [{"destination": {"host": "copy"}}]}]);
        fake.put("virtualservices", rule);
        let mut source = open(&fake);
        let names = next(&mut source).await;
        for name in ["httpbin", "to", "copy"] {
            assert!(names.contains(&format!("Service mirror/{name}")), "{names:?}");
            assert!(names.contains(&format!("EndpointSlice mirror/{name}-x")), "{names:?}");
        }
        let labels =
            |asked: &[String]| asked.iter().filter(|asked| asked.contains("/pods?") && asked.contains("label")).count();
        assert_eq!(labels(&fake.asked()), 0, "nobody tells these pods apart");
        fake.put("destinationrules", subsets("to"));
        until(&mut source, "DestinationRule mirror/to", true).await;
        assert_eq!(labels(&fake.asked()), 2, "a list and a watch");

        assert_eq!(fake.watched("services"), 1);
        fake.delete("virtualservices", "mirror", "httpbin");
        let names = until(&mut source, "VirtualService mirror/httpbin", false).await;
        assert!(
            !names.iter().any(|name| name.starts_with("Service ") || name.starts_with("EndpointSlice ")),
            "{names:?}"
        );
        sleep(Duration::from_millis(10)).await;
        assert_eq!((fake.watched("services"), fake.watched("endpointslices")), (0, 0));
    });
}
