use super::*;
use crate::control::diagnostic::Reason;

fn broken(message: &str) -> Verdict {
    Verdict::Not { reason: Reason::UnknownSubset, message: message.to_owned() }
}

#[test]
fn an_object_of_istio_that_works_is_left_alone_until_it_once_did_not() {
    let nothing = json!({});
    assert_eq!(conditions(&nothing, &Verdict::Effective, Some(1), false), None);
    let said = conditions(&nothing, &broken("no such subset"), Some(1), false).unwrap();
    assert_eq!((&said[0]["status"], &said[0]["reason"]), (&json!("False"), &json!("UnknownSubset")));
    let well = conditions(&json!({"conditions": said}), &Verdict::Effective, Some(2), false).unwrap();
    assert_eq!((&well[0]["status"], &well[0]["observedGeneration"]), (&json!("True"), &json!(2)));
    assert!(conditions(&nothing, &Verdict::Effective, Some(1), true).is_some());
}

/// Fails if a condition of Istio's is lost, or if the same thing is written again and again.
#[test]
fn other_writers_conditions_stay_and_what_is_said_is_not_said_again() {
    let status = json!({"conditions": [{"type": "Reconciled", "status": "True"}]});
    let said = conditions(&status, &broken("a"), Some(1), false).unwrap();
    assert_eq!((said.len(), &said[0]["type"]), (2, &json!("Reconciled")));
    let mut status = json!({"conditions": said});
    status["conditions"][1]["lastTransitionTime"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(conditions(&status, &broken("a"), Some(1), false), None);
    let other = conditions(&status, &broken("b"), Some(1), false).unwrap();
    assert_eq!(other[1]["lastTransitionTime"], "2026-01-01T00:00:00Z", "it was not well in between");
    let well = conditions(&status, &Verdict::Effective, Some(1), false).unwrap();
    assert_ne!(well[1]["lastTransitionTime"], "2026-01-01T00:00:00Z");
}
