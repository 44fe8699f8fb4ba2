//! Who writes what, and when: whole reporters against an API server of the test. Time is the test's.

use std::future::Future;

use serde_json::json;
use tokio::{
    task::{JoinHandle, LocalSet},
    time::sleep,
};

use super::{
    fake::{Fake, LEASE, rule},
    *,
};
use crate::control::diagnostic::Reason;

fn with<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

/// A running reporter. Dropping it is the agent's death, ending it its end.
struct Running {
    verdicts: watch::Sender<Arc<Verdicts>>,
    task: JoinHandle<()>,
}

impl Running {
    fn start(fake: &Fake, pod: &'static str, said: &Arc<Verdicts>) -> Self {
        let identity = Identity { namespace: "understudy-system".into(), pod: pod.into(), node: pod.into() };
        let (verdicts, heard) = watch::channel(Arc::clone(said));
        Self { verdicts, task: tokio::task::spawn_local(run(fake.client(pod), identity, heard)) }
    }

    async fn end(self) {
        drop(self.verdicts);
        self.task.await.unwrap();
    }

    fn die(self) {
        self.task.abort();
    }
}

fn broken(message: &str) -> Verdict {
    Verdict::Not { reason: Reason::UnknownSubset, message: message.to_owned() }
}

/// Verdicts about rules, by name.
fn verdicts(all: &[(&str, Verdict)]) -> Arc<Verdicts> {
    Arc::new(
        all.iter().map(|(name, verdict)| (format!("VirtualService mirror/{name}").into(), verdict.clone())).collect(),
    )
}

fn at(who: &str, objects: &[&str]) -> Vec<(String, String)> {
    objects.iter().map(|name| (who.to_owned(), (*name).to_owned())).collect()
}

/// The type and message of every condition of a rule.
fn says(fake: &Fake, name: &str) -> Vec<(String, String)> {
    let conditions = fake.get(&rule(name))["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    conditions.iter().map(|one| (text(&one["type"]), text(&one["message"]))).collect()
}

async fn minutes(number: u64) {
    sleep(Duration::from_secs(60 * number)).await;
}

/// Mutations that break it: writing without asking whose turn it is; not giving the Lease up; forgetting what was heard while it was another's turn.
#[test]
fn one_of_two_writes_and_the_other_goes_on_when_it_ends_or_dies() {
    with(async {
        let fake = Fake::default();
        fake.put_rule("a");
        let said = verdicts(&[("a", broken("first"))]);
        let one = Running::start(&fake, "one", &said);
        minutes(1).await;
        let two = Running::start(&fake, "two", &said);
        minutes(10).await;
        assert_eq!(fake.conditions(), at("one", &["a"]));
        assert_eq!(says(&fake, "a"), [("Effective".to_owned(), "first".to_owned())]);

        let said = verdicts(&[("a", broken("second"))]);
        two.verdicts.send_replace(Arc::clone(&said));
        minutes(10).await;
        assert_eq!(fake.conditions(), [], "it is not the second's turn");
        one.end().await;
        assert!(fake.get(LEASE)["spec"]["holderIdentity"].is_null(), "not given up");
        minutes(2).await;
        assert_eq!(fake.conditions(), at("two", &["a"]));
        assert_eq!(fake.get(LEASE)["spec"]["holderIdentity"], "two");

        let three = Running::start(&fake, "three", &verdicts(&[("a", broken("third"))]));
        minutes(5).await;
        two.die();
        minutes(5).await;
        assert_eq!(fake.conditions(), at("three", &["a"]));
        three.end().await;
    });
}

/// A rollout's endpoints come and go. Mutation that breaks it: writing at every change.
#[test]
fn only_what_stands_for_a_while_is_written() {
    with(async {
        let fake = Fake::default();
        fake.put_rule("a");
        let one = Running::start(&fake, "one", &verdicts(&[]));
        minutes(1).await;
        for number in 0..20 {
            one.verdicts.send_replace(verdicts(&[("a", broken(&number.to_string()))]));
            sleep(SETTLED / 2).await;
        }
        assert_eq!(fake.conditions(), []);
        sleep(SETTLED).await;
        assert_eq!(fake.conditions(), at("one", &["a"]));
        assert_eq!(says(&fake, "a"), [("Effective".to_owned(), "19".to_owned())]);
        one.end().await;
    });
}

/// Mutations that break it: trusting what was written once; writing what stands; a second Event for the same thing.
#[test]
fn a_condition_that_somebody_removed_or_changed_is_written_again_and_not_in_a_loop() {
    with(async {
        let fake = Fake::default();
        for name in ["a", "b", "c", "well"] {
            fake.put_rule(name);
        }
        let said =
            verdicts(&[("a", broken("x")), ("b", broken("x")), ("c", broken("x")), ("well", Verdict::Effective)]);
        let one = Running::start(&fake, "one", &said);
        minutes(1).await;
        let events = |writes: &[fake::Write]| writes.iter().filter(|write| write.what.contains("/events")).count();
        assert_eq!(events(&fake.writes()), 3);

        // Somebody applies an object of before; a controller writes the whole status; nobody has touched the third.
        let status = |conditions: serde_json::Value| json!({"metadata": {"name": "x", "namespace": "mirror", "generation": 1}, "status": {"conditions": conditions}});
        let named = |name: &str, conditions| {
            let mut object = status(conditions);
            object["metadata"]["name"] = json!(name);
            fake.put(&rule(name), object);
        };
        named("a", json!([{"type": "Effective", "status": "True", "reason": "Effective", "message": ""}]));
        named("b", json!([{"type": "Reconciled", "status": "True"}]));
        named("well", json!([{"type": "Effective", "status": "False", "reason": "UnknownSubset", "message": "old"}]));
        minutes(6).await;
        let writes = fake.writes();
        assert_eq!(events(&writes), 0, "no news: {writes:#?}");
        let at: Vec<_> = writes.iter().filter_map(|write| write.what.strip_suffix("/status")).collect();
        assert_eq!(at.len(), 3, "{at:?}");
        assert!(!at.iter().any(|path| path.ends_with("/c")), "{at:?}");
        assert_eq!(says(&fake, "a"), [("Effective".to_owned(), "x".to_owned())]);
        assert_eq!(says(&fake, "b").len(), 2, "the other writer's condition stays");
        assert_eq!(says(&fake, "well"), [("Effective".to_owned(), String::new())]);
        minutes(30).await;
        assert_eq!(fake.conditions(), [], "nothing was changed since");

        // Somebody who writes against us at once, all the time: once for each look, however often that is.
        for _ in 0..60 {
            named("a", json!([]));
            minutes(1).await;
        }
        let written = fake.conditions().len() as u64;
        assert!((10..=60 * 60 / LOOK_AGAIN.as_secs() + 1).contains(&written), "{written} times in an hour");
        one.end().await;
    });
}

/// Mutation that breaks it: asking for each object at each look.
#[test]
fn a_look_is_one_list_and_the_first_one_spares_a_new_holder_what_is_there() {
    with(async {
        let fake = Fake::default();
        let names: Vec<String> = (0..40).map(|number| format!("r{number}")).collect();
        names.iter().for_each(|name| fake.put_rule(name));
        let all: Vec<_> = names.iter().map(|name| (&**name, broken("x"))).collect();
        let one = Running::start(&fake, "one", &verdicts(&all));
        minutes(1).await;
        assert_eq!(fake.conditions().len(), 40);
        one.end().await;
        let two = Running::start(&fake, "two", &verdicts(&all));
        fake.reads();
        minutes(12).await;
        let reads = fake.reads();
        let asked = |part: &str| reads.iter().filter(|path| path.contains(part)).count();
        assert_eq!((asked("/namespaces/mirror/virtualservices/"), fake.conditions().len()), (0, 0));
        assert!((2..=4).contains(&asked("/v1/virtualservices")), "{reads:#?}");
        two.end().await;
    });
}

/// Mutation that breaks it: asking whether we may write once for all objects.
#[test]
fn a_slow_cluster_does_not_make_a_holder_write_for_longer_than_it_may() {
    with(async {
        let fake = Fake::default();
        let names: Vec<String> = (0..200).map(|number| format!("r{number}")).collect();
        names.iter().for_each(|name| fake.put_rule(name));
        let all: Vec<_> = names.iter().map(|name| (&**name, broken("x"))).collect();
        fake.slow(Duration::from_millis(700));
        let one = Running::start(&fake, "one", &verdicts(&all));
        let two = Running::start(&fake, "two", &verdicts(&all));
        // In an hour all is said, each thing by one of them, and nobody wrote in the other's turn.
        for _ in 0..360 {
            sleep(Duration::from_secs(10)).await;
            let holder = fake.get(LEASE)["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned();
            let others: Vec<_> = fake.conditions().into_iter().filter(|(who, _)| *who != holder).collect();
            assert!(others.len() <= 1, "{holder} holds it: {others:?}");
        }
        assert!(names.iter().all(|name| says(&fake, name).len() == 1));
        one.die();
        two.die();
    });
}

/// Mutations that break it: a try for each object every few seconds for ever; giving up.
#[test]
fn what_cannot_be_written_is_tried_again_ever_more_rarely() {
    with(async {
        let fake = Fake::default();
        fake.put_rule("a");
        fake.refuse_of("/status", 403);
        let one = Running::start(&fake, "one", &verdicts(&[("a", broken("x"))]));
        minutes(60).await;
        let tries = fake.conditions().len();
        assert!((10..40).contains(&tries), "{tries} times in an hour");
        fake.refuse_of("/nothing", 403);
        minutes(6).await;
        assert_eq!(says(&fake, "a").len(), 1);
        one.end().await;
    });
}

/// A version that is not served is refused in plain text, without the reason of an object that is not there. Mutation that breaks it: asking for
/// the best version only, in a list or for an object.
#[test]
fn clusters_that_serve_older_versions_are_told_as_well() {
    with(async {
        let fake = Fake::default();
        let path = rule("a").replace("/v1/", "/v1beta1/");
        let object = json!({"metadata": {"name": "a", "namespace": "mirror", "generation": 1}});
        fake.put(&path, object.clone());
        let one = Running::start(&fake, "one", &verdicts(&[("a", broken("x"))]));
        minutes(1).await;
        assert_eq!(fake.conditions(), at("one", &["a"]));
        fake.put(&path, object);
        minutes(6).await;
        assert_eq!(fake.conditions(), at("one", &["a"]));
        one.end().await;
    });
}

/// Ours says that it works, others only when they once did not. Mutation that breaks it: leaving a kind out.
#[test]
fn every_kind_that_says_what_shall_be_done_is_told() {
    with(async {
        let fake = Fake::default();
        let kinds = [
            ("DestinationRule", "networking.istio.io/v1", "destinationrules"),
            ("ShadowPolicy", "understudy.dev/v1alpha1", "shadowpolicies"),
            ("VirtualService", "networking.istio.io/v1", "virtualservices"),
        ];
        let mut verdicts = Verdicts::new();
        for (kind, version, plural) in kinds {
            for (name, verdict) in [("bad", broken("x")), ("good", Verdict::Effective)] {
                let name = format!("{name}-{plural}");
                let path = format!("/apis/{version}/namespaces/mirror/{plural}/{name}");
                fake.put(&path, json!({"metadata": {"name": name, "namespace": "mirror", "generation": 1}}));
                verdicts.insert(format!("{kind} mirror/{name}").into(), verdict);
            }
        }
        let one = Running::start(&fake, "one", &Arc::new(verdicts));
        minutes(1).await;
        let written =
            at("one", &["bad-destinationrules", "bad-shadowpolicies", "good-shadowpolicies", "bad-virtualservices"]);
        assert_eq!(fake.conditions(), written);
        one.end().await;
    });
}

/// Mutation that breaks it: looking at the first page only.
#[test]
fn a_list_of_many_pages_is_looked_at_whole() {
    with(async {
        let fake = Fake::default();
        fake.pages_of(3);
        let names: Vec<String> = (0..10).map(|number| format!("r{number}")).collect();
        names.iter().for_each(|name| fake.put_rule(name));
        let all: Vec<_> = names.iter().map(|name| (&**name, broken("x"))).collect();
        let one = Running::start(&fake, "one", &verdicts(&all));
        minutes(1).await;
        assert_eq!(fake.conditions().len(), 10);
        names.iter().for_each(|name| fake.put_rule(name));
        minutes(6).await;
        assert_eq!(fake.conditions().len(), 10, "somebody took all of them away");
        one.end().await;
    });
}

/// Mutation that breaks it: leaving the version out of what is written.
#[test]
fn a_condition_that_somebody_writes_at_the_same_time_is_not_lost() {
    with(async {
        let fake = Fake::default();
        fake.put_rule("a");
        fake.slow(Duration::from_millis(100));
        let one = Running::start(&fake, "one", &verdicts(&[("a", broken("x"))]));
        let mut waits = 0;
        while !fake.reads().contains(&rule("a")) {
            waits += 1;
            assert!(waits < 10_000, "it is never read");
            sleep(Duration::from_millis(10)).await;
        }
        let mut object = fake.get(&rule("a"));
        object["status"] = json!({"conditions": [{"type": "Reconciled", "status": "True"}]});
        fake.put(&rule("a"), object);
        minutes(1).await;
        let types: Vec<_> = says(&fake, "a").into_iter().map(|(type_, _)| type_).collect();
        assert_eq!(types, ["Reconciled", "Effective"]);
        one.end().await;
    });
}

/// Mutation that breaks it: going by what was written before another wrote.
#[test]
fn who_becomes_the_holder_again_looks_what_is_there_now() {
    with(async {
        let fake = Fake::default();
        fake.put_rule("a");
        let one = Running::start(&fake, "one", &verdicts(&[("a", broken("x"))]));
        sleep(Duration::from_secs(15)).await;
        assert_eq!(fake.conditions(), at("one", &["a"]));
        // Another has the Lease, says something else, and dies.
        let mut lease = fake.get(LEASE);
        lease["spec"]["holderIdentity"] = json!("two");
        fake.put(LEASE, lease);
        fake.put_rule("a");
        minutes(4).await;
        assert_eq!(fake.conditions(), at("one", &["a"]), "it waited for the next look");
        one.end().await;
    });
}

/// Deleted between a look and a write. Mutation that breaks it: taking that for an error.
#[test]
fn an_object_that_goes_while_it_is_written_is_no_error() {
    with(async {
        let fake = Fake::default();
        fake.put_rule("a");
        fake.refuse_of("/status", 404);
        let one = Running::start(&fake, "one", &verdicts(&[("a", broken("x"))]));
        minutes(9).await;
        let tries = fake.conditions().len();
        assert!(tries <= 2, "{tries} tries");
        one.end().await;
    });
}

/// Mutation that breaks it: an error for an object that is gone.
#[test]
fn an_object_that_is_gone_is_not_asked_for_again_and_again() {
    with(async {
        let fake = Fake::default();
        fake.put_rule("other");
        let one = Running::start(&fake, "one", &verdicts(&[("a", broken("x"))]));
        minutes(10).await;
        assert!(fake.reads().iter().filter(|path| path.ends_with("/a")).count() <= 9);
        assert_eq!(fake.conditions(), []);
        one.end().await;
    });
}
