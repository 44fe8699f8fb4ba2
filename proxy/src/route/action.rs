//! What becomes of a rule's requests, and how they and their answers are changed on the way.
//!
//! Comes in: a head and the rule that it falls under. Goes out: the head that is sent on, or the answer that we give ourselves. Never: sockets.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header::HOST, request::Parts, uri::Authority};

use super::{
    Destination, HeaderOps,
    matching::RequestMatch,
    redirect::Redirect,
    rewrite::{self, PathRewrite},
    weight::Weighted,
};

/// Tries after one that sent nothing, unless a rule says otherwise (Istio: 2 attempts, `pilot/pkg/networking/core/route/retry/retry.go`).
pub const FURTHER_TRIES: u32 = 2;

/// What becomes of a rule's requests.
#[derive(Debug)]
pub enum Action {
    /// They go to a destination.
    Forward(Forward),
    /// We answer them ourselves; nothing is mirrored.
    Answer(Box<OwnAnswer>),
}

/// Requests that go to a destination.
#[derive(Debug)]
pub struct Forward {
    /// Where they go, never empty.
    pub targets: Weighted<Target>,
    /// What becomes of the path.
    pub path: Option<PathRewrite>,
    /// Until the head of the answer must be there, all tries included.
    pub timeout: Option<Duration>,
    /// Tries after the first one, of what has not been sent.
    pub further_tries: u32,
}

/// A weighted destination, with what is done to requests that go there and to their answers.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where they go.
    pub destination: Destination,
    /// The Host that they go with, if not their own.
    pub authority: Option<Arc<str>>,
    /// Operations on the request's fields, one after the other.
    pub request: Arc<[HeaderOps]>,
    /// Operations on the answer's fields.
    pub response: Arc<[HeaderOps]>,
}

/// An answer of our own.
#[derive(Debug)]
pub struct OwnAnswer {
    /// Its status.
    pub status: StatusCode,
    /// Its content.
    pub content: Arc<Content>,
    /// Operations on its fields.
    pub response: HeaderOps,
}

/// What an answer of our own says.
#[derive(Debug)]
pub enum Content {
    /// A fixed body (`directResponse`).
    Text(Bytes),
    /// Where to go instead.
    Location(Redirect),
}

impl Target {
    /// Changes a request that goes here. `matched` is the condition that it met: a path is rewritten by what of it was matched.
    pub fn edit(&self, head: &mut Parts, path: Option<&PathRewrite>, matched: Option<&RequestMatch>) {
        apply(&self.request, &mut head.headers);
        if let Some(authority) = &self.authority {
            set_authority(head, authority);
        }
        if let Some(path) = path {
            rewrite::path(head, path, matched);
        }
    }

    /// Changes the answer to a request that went here.
    pub fn edit_answer(&self, headers: &mut HeaderMap) {
        apply(&self.response, headers);
    }
}

fn apply(operations: &[HeaderOps], headers: &mut HeaderMap) {
    for operations in operations {
        operations.apply(headers);
    }
}

/// The Host, and the authority of a target that has one: they say the same.
fn set_authority(head: &mut Parts, authority: &str) {
    if let Ok(value) = HeaderValue::from_str(authority) {
        head.headers.insert(HOST, value);
    }
    if head.uri.authority().is_some()
        && let Ok(authority) = authority.parse::<Authority>()
    {
        let mut parts = head.uri.clone().into_parts();
        parts.authority = Some(authority);
        if let Ok(uri) = Uri::from_parts(parts) {
            head.uri = uri;
        }
    }
}

/// The operations on the way to a destination, in Envoy's order: those of the chosen one of several destinations before those of the rule; those
/// of an only destination belong to the rule's, after its own (Istio's `processDestination`), and what either removes goes first.
#[must_use]
pub fn in_order(rule: &HeaderOps, destination: &HeaderOps, only: bool) -> Arc<[HeaderOps]> {
    let sequence = if only {
        let remove = rule.remove.iter().chain(destination.remove.iter()).cloned().collect();
        let without_removal = |ops: &HeaderOps| HeaderOps { remove: Arc::default(), ..ops.clone() };
        let removal = HeaderOps { remove, ..HeaderOps::default() };
        vec![removal, without_removal(rule), without_removal(destination)]
    } else {
        vec![destination.clone(), rule.clone()]
    };
    sequence.into_iter().filter(|ops| !ops.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, Request};

    use super::*;

    fn ops(remove: &[&str], set: &[(&str, &str)], add: &[(&str, &str)]) -> HeaderOps {
        let name = |name: &str| HeaderName::from_bytes(name.as_bytes()).unwrap();
        let fields =
            |list: &[(&str, &str)]| list.iter().map(|(n, v)| (name(n), HeaderValue::from_str(v).unwrap())).collect();
        HeaderOps { remove: remove.iter().map(|n| name(n)).collect(), set: fields(set), add: fields(add) }
    }

    fn values(operations: &[HeaderOps], name: &str) -> Vec<String> {
        let mut headers = HeaderMap::new();
        headers.insert("x-a", HeaderValue::from_static("client"));
        apply(operations, &mut headers);
        headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    /// Breaks if the order of Envoy (several destinations) or Istio (an only one) is given up.
    #[test]
    fn the_rule_has_the_last_word_unless_there_is_an_only_destination() {
        let (rule, destination) =
            (ops(&[], &[("x-a", "rule")], &[("x-b", "rule")]), ops(&[], &[("x-a", "own")], &[("x-b", "own")]));
        assert_eq!(values(&in_order(&rule, &destination, false), "x-a"), ["rule"]);
        assert_eq!(values(&in_order(&rule, &destination, false), "x-b"), ["own", "rule"]);
        assert_eq!(values(&in_order(&rule, &destination, true), "x-a"), ["own"]);
        assert_eq!(values(&in_order(&rule, &destination, true), "x-b"), ["rule", "own"]);
        let removes = ops(&["x-a", "x-b"], &[], &[]);
        assert_eq!(values(&in_order(&rule, &removes, true), "x-b"), ["rule"], "what is removed goes first");
        assert_eq!(values(&in_order(&removes, &destination, false), "x-b"), [""; 0]);
    }

    #[test]
    fn a_rewritten_host_stands_in_the_target_too() {
        let mut head = Request::get("http://a:1/x?y").header("host", "a:1").body(()).unwrap().into_parts().0;
        set_authority(&mut head, "b:2");
        assert_eq!((head.uri.to_string().as_str(), head.headers[HOST].to_str().unwrap()), ("http://b:2/x?y", "b:2"));
    }
}
