//! One holder at a time. Time is the test's, and so is the API server.

use std::future::Future;

use serde_json::{Value, json};
use tokio::{task::LocalSet, time::advance};

use super::*;
use crate::report::fake::{Fake, LEASE};

fn with<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

fn lease(fake: &Fake, pod: &'static str) -> Lease {
    let identity = Identity { namespace: "understudy-system".into(), pod: pod.into(), node: "w1".into() };
    Lease::new(fake.client(pod), &identity)
}

/// As another agent holds it.
fn held(holder: &str) -> Value {
    json!({"metadata": {"name": NAME, "namespace": "understudy-system"},
           "spec": {"holderIdentity": holder, "leaseDurationSeconds": 60, "leaseTransitions": 4}})
}

fn holder(fake: &Fake) -> (Value, Value) {
    let spec = &fake.get(LEASE)["spec"];
    (spec["holderIdentity"].clone(), spec["leaseTransitions"].clone())
}

/// The next time that it is due.
async fn next(lease: &mut Lease) {
    lease.due().await;
    lease.renew().await;
}

/// Who writes what since the last call.
fn verbs(fake: &Fake) -> Vec<(String, String)> {
    let verb = |what: &str| what.split(' ').next().unwrap_or_default().to_owned();
    fake.writes().into_iter().map(|write| (write.who, verb(&write.what))).collect()
}

fn wrote(who: &str, verb: &str) -> Vec<(String, String)> {
    vec![(who.to_owned(), verb.to_owned())]
}

#[test]
fn a_lease_that_is_not_there_or_that_nobody_holds_is_taken() {
    with(async {
        let fake = Fake::default();
        let mut one = lease(&fake, "one");
        assert!(!one.is_ours(), "before it has asked");
        next(&mut one).await;
        assert!(one.is_ours());
        assert_eq!((holder(&fake), verbs(&fake)), ((json!("one"), json!(1)), wrote("one", "POST")));

        fake.put(LEASE, held(""));
        let mut two = lease(&fake, "two");
        next(&mut two).await;
        assert!(two.is_ours());
        assert_eq!((holder(&fake), verbs(&fake)), ((json!("two"), json!(5)), wrote("two", "PUT")));
    });
}

/// Mutations that break it: renewing later than it lasts; counting a renewal as a transition.
#[test]
fn its_holder_renews_it_and_keeps_it() {
    with(async {
        let fake = Fake::default();
        let mut one = lease(&fake, "one");
        next(&mut one).await;
        let first = fake.get(LEASE)["spec"]["renewTime"].clone();
        for _ in 0..20 {
            next(&mut one).await;
            assert!(one.is_ours());
        }
        assert_eq!(holder(&fake), (json!("one"), json!(1)));
        assert_ne!(fake.get(LEASE)["spec"]["renewTime"], first);
        assert_eq!(verbs(&fake).len(), 21);
    });
}

/// Mutations that break it: taking what another holds; judging by the times that stand in it, which are another clock's.
#[test]
fn what_another_holds_and_renews_is_never_written() {
    with(async {
        let fake = Fake::default();
        fake.put(LEASE, held("other"));
        let mut one = lease(&fake, "one");
        for _ in 0..50 {
            next(&mut one).await;
            assert!(!one.is_ours());
            // A renewal: what stands in it is as old as ever, its version is new.
            fake.put(LEASE, held("other"));
        }
        assert!(verbs(&fake).is_empty());
        assert!(fake.reads().len() >= 50);
    });
}

/// Mutations that break it: taking it at the first sight; never.
#[test]
fn a_holder_that_is_silent_for_as_long_as_it_lasts_loses_it() {
    with(async {
        let fake = Fake::default();
        fake.put(LEASE, held("dead"));
        let mut one = lease(&fake, "one");
        next(&mut one).await;
        let seen = Instant::now();
        while seen.elapsed() < LASTS * 4 && !one.is_ours() {
            assert!(verbs(&fake).is_empty());
            next(&mut one).await;
        }
        assert!(one.is_ours() && seen.elapsed() >= LASTS, "{:?}", seen.elapsed());
        assert_eq!(holder(&fake), (json!("one"), json!(5)));
    });
}

/// Fails if two believe that it is theirs: of two that take it at once, the API server refuses one.
#[test]
fn of_two_that_take_it_at_once_one_has_it() {
    with(async {
        for dead in [None, Some(held("dead")), Some(held(""))] {
            let fake = Fake::default();
            if let Some(dead) = dead {
                fake.put(LEASE, dead);
            }
            let (mut one, mut two) = (lease(&fake, "one"), lease(&fake, "two"));
            for _ in 0..20 {
                // Both read before either writes.
                fake.slow(Duration::from_millis(10));
                tokio::join!(one.renew(), two.renew());
                advance(RENEW).await;
                assert!(!(one.is_ours() && two.is_ours()));
            }
            tokio::join!(one.renew(), two.renew());
            assert!(one.is_ours() ^ two.is_ours());
        }
    });
}

/// A holder that cannot renew stops before another may take it. Mutations that break it: giving it up at the first error; never; lasting as long
/// as others wait.
#[test]
fn a_holder_that_cannot_renew_stops_before_another_begins() {
    with(async {
        let fake = Fake::default();
        let mut one = lease(&fake, "one");
        next(&mut one).await;
        let taken = Instant::now();
        fake.refuse(Some(503));
        let mut ours = Duration::ZERO;
        for _ in 0..6 {
            next(&mut one).await;
            if one.is_ours() {
                ours = taken.elapsed();
            }
        }
        assert!(!one.is_ours());
        assert!(ours >= RENEW, "given up after {ours:?}");
        let until = one.until.unwrap();
        assert!(until + RENEW / 4 < taken + LASTS, "it ends when others begin");
        fake.refuse(None);
        next(&mut one).await;
        assert!(one.is_ours());
    });
}

/// Somebody has taken it while we could not renew.
#[test]
fn a_holder_that_comes_back_late_finds_it_taken() {
    with(async {
        let fake = Fake::default();
        let mut one = lease(&fake, "one");
        next(&mut one).await;
        fake.put(LEASE, held("other"));
        verbs(&fake);
        next(&mut one).await;
        assert!(!one.is_ours() && verbs(&fake).is_empty());
        one.release().await;
        assert_eq!((holder(&fake).0, verbs(&fake).len()), (json!("other"), 0), "what is another's is not given up");
    });
}

/// Mutations that break it: leaving the Lease to run out; giving up another's.
#[test]
fn it_is_given_up_at_the_end_and_free_at_once() {
    with(async {
        let fake = Fake::default();
        let (mut one, mut two) = (lease(&fake, "one"), lease(&fake, "two"));
        next(&mut one).await;
        verbs(&fake);
        two.renew().await;
        two.release().await;
        assert_eq!((holder(&fake).0, verbs(&fake).len()), (json!("one"), 0), "it was not the second's");
        one.release().await;
        assert!(holder(&fake).0.is_null());
        let mut three = lease(&fake, "three");
        next(&mut three).await;
        assert!(three.is_ours());

        // Taken by another while ours still lasted by our clock.
        fake.put(LEASE, held("other"));
        three.release().await;
        assert_eq!(holder(&fake).0, json!("other"));
    });
}

/// A right that is missing is asked for with pauses, and nothing is written.
#[test]
fn a_missing_right_is_no_holder_and_no_loop() {
    with(async {
        let fake = Fake::default();
        fake.refuse(Some(403));
        let mut one = lease(&fake, "one");
        let start = Instant::now();
        for _ in 0..10 {
            next(&mut one).await;
            assert!(!one.is_ours());
        }
        assert!(start.elapsed() >= RENEW * 9);
        assert!(one.complained);
    });
}
