//! Does a request match? (Istio's `HTTPMatchRequest`: AND inside an entry, OR between entries.)

use std::fmt;

use http::{HeaderMap, HeaderName, request::Parts};
use regex::Regex;

/// Istio's `StringMatch`.
#[derive(Clone, Debug)]
pub enum StringMatch {
    /// The whole value.
    Exact(String),
    /// A string prefix: `/v2` also matches `/v2x`.
    Prefix(String),
    /// A regular expression on the whole value (RE2 syntax; anchored by the compiler).
    Regex(Regex),
    /// Any value, as long as there is one (`headers: {name: {}}`).
    Present,
}

impl StringMatch {
    fn matches(&self, value: &str) -> bool {
        match self {
            Self::Exact(exact) => value == exact,
            Self::Prefix(prefix) => value.starts_with(prefix),
            Self::Regex(regex) => regex.is_match(value),
            Self::Present => true,
        }
    }
}

/// One entry of a rule's `match`.
#[derive(Clone, Debug, Default)]
pub struct RequestMatch {
    /// On the path, without the query.
    pub uri: Option<StringMatch>,
    /// On the method.
    pub method: Option<StringMatch>,
    /// On headers; repeated headers are joined by a comma (Envoy's `HeaderUtility::getAllOfHeaderAsString`).
    pub headers: Vec<(HeaderName, StringMatch)>,
}

impl RequestMatch {
    /// Whether the head satisfies every part of the entry.
    #[must_use]
    pub fn matches(&self, head: &Parts) -> bool {
        self.uri.as_ref().is_none_or(|m| m.matches(head.uri.path()))
            && self.method.as_ref().is_none_or(|m| m.matches(head.method.as_str()))
            && self.headers.iter().all(|(name, m)| header_matches(&head.headers, name, m))
    }
}

/// `is "/a"`, for dumps and explanations.
impl fmt::Display for StringMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(exact) => write!(f, "is {exact:?}"),
            Self::Prefix(prefix) => write!(f, "begins with {prefix:?}"),
            Self::Regex(regex) => write!(f, "matches {regex}"),
            Self::Present => f.write_str("is there"),
        }
    }
}

/// `uri begins with "/a" and header x-user is "b"`.
impl fmt::Display for RequestMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uri = self.uri.iter().map(|m| format!("uri {m}"));
        let method = self.method.iter().map(|m| format!("method {m}"));
        let headers = self.headers.iter().map(|(name, m)| format!("header {name} {m}"));
        let parts: Vec<_> = uri.chain(method).chain(headers).collect();
        if parts.is_empty() { f.write_str("every request") } else { f.write_str(&parts.join(" and ")) }
    }
}

fn header_matches(headers: &HeaderMap, name: &HeaderName, wanted: &StringMatch) -> bool {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return false };
    let first = String::from_utf8_lossy(first.as_bytes());
    let rest = values.map(|value| String::from_utf8_lossy(value.as_bytes()));
    let mut whole = first.into_owned();
    for value in rest {
        whole.push(',');
        whole.push_str(&value);
    }
    wanted.matches(&whole)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn head(request: http::request::Builder) -> Parts {
        request.body(()).unwrap().into_parts().0
    }

    fn header(name: &'static str, wanted: StringMatch) -> RequestMatch {
        RequestMatch { headers: vec![(HeaderName::from_static(name), wanted)], ..RequestMatch::default() }
    }

    fn uri(wanted: StringMatch, path: &str) -> bool {
        RequestMatch { uri: Some(wanted), ..RequestMatch::default() }.matches(&head(Request::get(path)))
    }

    #[test]
    fn an_empty_entry_matches_every_request() {
        assert!(RequestMatch::default().matches(&head(Request::post("/x"))));
    }

    #[test]
    fn the_path_is_compared_without_its_query_and_with_its_case() {
        assert!(uri(StringMatch::Exact("/a".into()), "/a?b=c"));
        assert!(!uri(StringMatch::Exact("/a".into()), "/A"));
        assert!(!uri(StringMatch::Exact("/a".into()), "/a/"));
    }

    /// Istio's prefix is one of text, not of path segments.
    #[test]
    fn a_prefix_ends_anywhere() {
        assert!(uri(StringMatch::Prefix("/v2".into()), "/v2x"));
        assert!(!uri(StringMatch::Prefix("/v2".into()), "/v"));
    }

    #[test]
    fn every_part_of_an_entry_must_match() {
        let both =
            RequestMatch { method: Some(StringMatch::Exact("GET".into())), ..header("x-a", StringMatch::Present) };
        assert!(both.matches(&head(Request::get("/").header("x-a", "1"))));
        assert!(!both.matches(&head(Request::get("/"))));
        assert!(!both.matches(&head(Request::post("/").header("x-a", "1"))));
    }

    #[test]
    fn repeated_headers_are_one_list() {
        let request = || head(Request::get("/").header("x-a", "1").header("x-a", "2"));
        assert!(header("x-a", StringMatch::Exact("1,2".into())).matches(&request()));
        assert!(!header("x-a", StringMatch::Exact("1".into())).matches(&request()));
    }

    #[test]
    fn a_missing_header_matches_nothing_not_even_an_empty_prefix() {
        assert!(!header("x-a", StringMatch::Prefix(String::new())).matches(&head(Request::get("/"))));
        assert!(header("x-a", StringMatch::Present).matches(&head(Request::get("/").header("x-a", ""))));
    }

    #[test]
    fn a_value_that_is_not_text_can_still_be_asked_for() {
        let request = head(Request::get("/").header("x-a", &b"\xff"[..]));
        assert!(header("x-a", StringMatch::Present).matches(&request));
        assert!(!header("x-a", StringMatch::Exact("x".into())).matches(&request));
    }

    #[test]
    fn entries_are_described_in_words() {
        let entry = RequestMatch {
            uri: Some(StringMatch::Prefix("/a".into())),
            ..header("x-a", StringMatch::Exact("b".into()))
        };
        assert_eq!(entry.to_string(), "uri begins with \"/a\" and header x-a is \"b\"");
        assert_eq!(RequestMatch::default().to_string(), "every request");
    }
}
