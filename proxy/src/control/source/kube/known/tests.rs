use serde_json::json;
use tokio::time::advance;

use super::*;

fn found(name: &str) -> Found {
    Found { path: format!("Pod mirror/{name}").into(), object: json!({"kind": "Pod", "metadata": {"name": name}}) }
}

/// What is known after all this, and which of it may change what is in force.
fn after(known: &mut Known, heard: impl IntoIterator<Item = Heard>) -> (Vec<String>, Vec<bool>) {
    let changed = heard.into_iter().map(|heard| known.hear(heard, "cluster.local")).collect();
    (known.objects.keys().map(ToString::to_string).collect(), changed)
}

/// Mutations that break it: showing a list before it is complete; keeping what a list that was broken off had; adding a list to what was known.
#[test]
fn a_list_counts_when_it_is_complete_and_for_what_it_has() {
    let mut known = Known::default();
    let heard = [Heard::Begin, Heard::Listed(found("a")), Heard::Listed(found("b"))];
    assert_eq!(after(&mut known, heard), (vec![], vec![false; 3]));
    assert_eq!(known.state, State::Asked);
    let heard = [Heard::Failed("no".into()), Heard::Begin, Heard::Listed(found("b")), Heard::All];
    assert_eq!(after(&mut known, heard), (vec!["Pod mirror/b".to_owned()], vec![false, false, false, true]));
    // The same again is no news.
    let heard = [Heard::Begin, Heard::Listed(found("b")), Heard::All];
    assert_eq!(after(&mut known, heard).1, [false; 3]);
    let heard = [Heard::Begin, Heard::Listed(found("c"))];
    assert_eq!(after(&mut known, heard), (vec!["Pod mirror/b".to_owned()], vec![false; 2]));
    assert_eq!(after(&mut known, [Heard::All]), (vec!["Pod mirror/c".to_owned()], vec![true]));
    assert_eq!(after(&mut known, [Heard::Gone("Pod mirror/c".into())]), (vec![], vec![true]));
}

/// Mutations that break it: keeping the problem after word of an object, or after a list; for ever; forgetting it while nothing was ever heard.
#[tokio::test(start_paused = true)]
async fn a_problem_is_over_when_something_is_heard_or_nothing_is_for_a_while() {
    let failed = || Heard::Failed("no".into());
    for good in [&[Heard::Changed(found("a"))][..], &[Heard::Begin, Heard::All]] {
        let mut known = Known::default();
        after(&mut known, [Heard::Begin, Heard::All, failed()]);
        assert_eq!(known.problem(), Some("no"));
        after(&mut known, good.iter().cloned());
        assert_eq!(known.problem(), None, "{good:?}");
    }
    let (mut once, mut never) = (Known::default(), Known::default());
    after(&mut once, [Heard::Begin, Heard::All, failed()]);
    after(&mut never, [failed()]);
    advance(RECENT).await;
    assert_eq!((once.problem(), never.problem()), (None, Some("no")));
}

/// Mutations that break it: a failure that takes objects away; a kind that is gone and leaves them.
#[test]
fn a_failure_takes_nothing_and_an_absence_takes_all() {
    let mut known = Known::default();
    after(&mut known, [Heard::Begin, Heard::Listed(found("a")), Heard::All]);
    assert_eq!(after(&mut known, [Heard::Failed("no".into())]), (vec!["Pod mirror/a".to_owned()], vec![false]));
    assert_eq!(after(&mut known, [Heard::Absent, Heard::Absent]), (vec![], vec![true, false]));
    assert_eq!((known.state.clone(), known.problem()), (State::Absent, None));
}
