//! From findings to a word about each object.
//!
//! Comes in: findings with their places, and the objects of a cluster. Goes out: whether each object does what it says, and if not, why.
//! Never: findings that are only good to know.

use std::{collections::BTreeMap, sync::Arc};

use super::Verdicts;
use crate::control::{
    ManifestText,
    diagnostic::{Diagnostic, Reason},
    manifest::position::Positions,
};

/// Kinds that say what shall be done.
const KINDS: [&str; 3] = ["VirtualService ", "DestinationRule ", "ShadowPolicy "];
/// An Event's note has at most 1 KiB.
const LONGEST: usize = 900;

/// Whether an object does what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    Effective,
    /// Not all of it.
    Not {
        /// The worst of the reasons.
        reason: Reason,
        /// All of them, with the field that each is about.
        message: String,
    },
}

/// A verdict for each object that says what shall be done. The text of an object stands under its name.
#[must_use]
pub fn verdicts(texts: &[ManifestText], findings: &[Diagnostic]) -> Verdicts {
    let mut by_object: BTreeMap<&str, Vec<&Diagnostic>> = BTreeMap::new();
    for finding in findings.iter().filter(|finding| finding.reason.is_some()) {
        by_object.entry(&*finding.location.path).or_default().push(finding);
    }
    let ours = texts.iter().filter(|text| KINDS.iter().any(|kind| text.path.starts_with(kind)));
    ours.map(|text| (Arc::clone(&text.path), verdict(text, by_object.get(&*text.path).map_or(&[], |all| &**all))))
        .collect()
}

fn verdict(text: &ManifestText, findings: &[&Diagnostic]) -> Verdict {
    // In the order of severity: what is invalid is not looked at further.
    let Some(reason) = findings.iter().find_map(|finding| finding.reason) else { return Verdict::Effective };
    let mut positions = text.text.as_ref().ok().map(|text| Positions::of(text));
    let mut message = String::new();
    for finding in findings {
        let one = with_field(finding, positions.as_mut());
        if message.len() + one.len() > LONGEST && !message.is_empty() {
            message.push_str("; and more");
            break;
        }
        message = if message.is_empty() { one } else { format!("{message}; {one}") };
    }
    if message.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|end| message.is_char_boundary(*end)).unwrap_or_default();
        message.truncate(end);
        message.push('…');
    }
    Verdict::Not { reason, message }
}

/// `spec.http[0].mirror.subset: what is wrong (what to do)`.
fn with_field(finding: &Diagnostic, positions: Option<&mut Positions<'_>>) -> String {
    let field = positions.and_then(|positions| positions.field_at(finding.location.line, finding.location.column));
    let field = field.map(|field| format!("{field}: ")).unwrap_or_default();
    let remedy = finding.remedy.as_ref().map(|remedy| format!(" ({remedy})")).unwrap_or_default();
    format!("{field}{}{remedy}", finding.message)
}

/// A finding about an object of a cluster, where line and column would be those of a text that nobody sees: the object, the field, what is
/// wrong.
#[must_use]
pub fn in_words(finding: &Diagnostic, texts: &[ManifestText]) -> String {
    let place = texts.iter().find(|text| text.path == finding.location.path);
    let mut positions = place.and_then(|place| Some(Positions::of(place.text.as_ref().ok()?)));
    format!("{}: {}", finding.location.path, with_field(finding, positions.as_mut()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        control::{Controller, Settings, Store},
        observe::metrics::Metrics,
    };

    fn judge(objects: &[(&str, &str)]) -> Verdicts {
        let metrics = Arc::new(Metrics::new());
        let store = Arc::new(Store::new(Arc::clone(&metrics)));
        let settings = Settings { node: Some("w1".into()), ..Settings::default() };
        let text = |(path, text): &(&str, &str)| ManifestText { path: (*path).into(), text: Ok((*text).into()) };
        let texts: Vec<_> = objects.iter().map(text).collect();
        let applied = Controller::new(settings, metrics, store).reload(&texts);
        verdicts(&texts, &applied.diagnostics)
    }

    const SERVICE: (&str, &str) = (
        "Service mirror/httpbin",
        r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"httpbin","namespace":"mirror"},"spec":{"clusterIP":"10.96.0.1","ports":[{"name":"http","port":80}]}}"#,
    );
    const SLICE: (&str, &str) = (
        "EndpointSlice mirror/x",
        r#"{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"name":"x","namespace":"mirror","labels":{"kubernetes.io/service-name":"httpbin"}},"addressType":"IPv4","ports":[{"name":"http","port":80}],"endpoints":[{"addresses":["10.0.0.1"]}]}"#,
    );

    fn rules(mirror: &str) -> String {
        format!(
            r#"{{"apiVersion":"networking.istio.io/v1","kind":"VirtualService","metadata":{{"name":"a","namespace":"mirror"}},"spec":{{"hosts":["httpbin"],"http":[{{"route":[{{"destination":{{"host":"httpbin"}}}}],"mirror":{mirror},"mirror_percent":100}}]}}}}"#
        )
    }

    /// Fails if a deprecated spelling, of which we only warn, makes the seed's rule look broken.
    #[test]
    fn what_works_is_effective_whatever_else_there_is_to_say() {
        let text = rules(r#"{"host":"httpbin"}"#);
        let all = judge(&[SERVICE, SLICE, ("VirtualService mirror/a", &text)]);
        assert_eq!(all.into_iter().collect::<Vec<_>>(), [("VirtualService mirror/a".into(), Verdict::Effective)]);
    }

    #[test]
    fn an_unknown_subset_is_told_with_its_field() {
        let text = rules(r#"{"host":"httpbin","subset":"v9"}"#);
        let all = judge(&[SERVICE, SLICE, ("VirtualService mirror/a", &text)]);
        let Some(Verdict::Not { reason, message }) = all.get("VirtualService mirror/a") else { panic!("{all:?}") };
        assert_eq!(reason.to_string(), "UnknownSubset");
        assert!(
            message.starts_with("spec.http[0].mirror.subset: no DestinationRule defines the subset `v9`"),
            "{message}"
        );
        // That a spelling is deprecated is no reason.
        assert!(!message.contains("; "), "{message}");
    }

    #[test]
    fn what_does_not_parse_is_invalid_and_others_are_not_blamed() {
        let good = rules(r#"{"host":"httpbin"}"#);
        let bad = good.replace(r#""name":"a""#, r#""name":"b""#).replace("100", "\"many\"");
        let all = judge(&[SERVICE, SLICE, ("VirtualService mirror/a", &good), ("VirtualService mirror/b", &bad)]);
        assert_eq!(all.get("VirtualService mirror/a"), Some(&Verdict::Effective));
        let Some(Verdict::Not { reason: Reason::Invalid, message }) = all.get("VirtualService mirror/b") else {
            panic!("{all:?}")
        };
        assert!(message.contains("mirror_percent"), "{message}");
    }

    /// An Event's note that is longer is refused as a whole. Mutations that break it: leaving either bound out; cutting inside a letter.
    #[test]
    fn what_is_said_fits_into_an_event() {
        let said = |rules: &str| {
            let all = judge(&[SERVICE, SLICE, ("VirtualService mirror/a", rules)]);
            match all.get("VirtualService mirror/a") {
                Some(Verdict::Not { message, .. }) => message.clone(),
                other => panic!("{other:?}"),
            }
        };
        let one = r#"{"route":[{"destination":{"host":"httpbin"}}],"mirror":{"host":"httpbin","subset":"v9"}}"#;
        let many = format!(
            r#"{{"apiVersion":"networking.istio.io/v1","kind":"VirtualService","metadata":{{"name":"a","namespace":"mirror"}},"spec":{{"hosts":["httpbin"],"http":[{}]}}}}"#,
            vec![one; 40].join(",")
        );
        let message = said(&many);
        assert!(message.len() < 1000 && message.ends_with("; and more"), "{} bytes: {message}", message.len());
        for letter in ["x", "ü", "€"] {
            let message = said(&many.replace("v9", &letter.repeat(700)));
            assert!(message.len() < 1000 && message.ends_with('…') || message.ends_with("; and more"), "{message}");
            assert!(message.len() < 1000, "{} bytes", message.len());
        }
    }

    #[test]
    fn a_destination_without_endpoints_says_so() {
        let text = rules(r#"{"host":"httpbin"}"#);
        let all = judge(&[SERVICE, ("VirtualService mirror/a", &text)]);
        let Some(Verdict::Not { reason, .. }) = all.get("VirtualService mirror/a") else { panic!("{all:?}") };
        assert_eq!(*reason, Reason::NoEndpoints);
    }
}
