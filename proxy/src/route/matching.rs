//! Does a request match? (Istio's `HTTPMatchRequest`: AND inside an entry, OR between entries.)

use std::fmt;

use http::{HeaderName, request::Parts};
use regex::Regex;

use super::{Client, Labels, authority};

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
    /// Without regard to ASCII case; expressions say themselves what they regard (Istio's `ignoreUriCase`).
    fn matches_in_any_case(&self, value: &str) -> bool {
        match self {
            Self::Exact(exact) => value.eq_ignore_ascii_case(exact),
            Self::Prefix(prefix) => {
                value.as_bytes().get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
            }
            Self::Regex(_) | Self::Present => self.matches(value),
        }
    }

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
    /// On headers that must not match. A missing one counts as empty, unless presence is what is asked for.
    pub without_headers: Vec<(HeaderName, StringMatch)>,
    /// The path is compared without regard to case.
    pub ignore_uri_case: bool,
    /// On the scheme: `http`, unless the target says otherwise.
    pub scheme: Option<StringMatch>,
    /// On the authority as the client wrote it, with its port.
    pub authority: Option<StringMatch>,
    /// On the first value of a query parameter, as it is written.
    pub query: Vec<(Box<str>, StringMatch)>,
    /// Labels that the client pod has.
    pub source_labels: Labels,
    /// The client pod's namespace.
    pub source_namespace: Option<Box<str>>,
}

impl RequestMatch {
    /// Whether the head and its sender satisfy every part of the entry.
    #[must_use]
    pub fn matches(&self, head: &Parts, client: Client<'_>) -> bool {
        self.matches_uri(head.uri.path())
            && self.method.as_ref().is_none_or(|m| m.matches(head.method.as_str()))
            && self.scheme.as_ref().is_none_or(|m| m.matches(head.uri.scheme_str().unwrap_or("http")))
            && self.authority.as_ref().is_none_or(|m| authority_matches(head, m))
            && self.headers.iter().all(|(name, m)| header(head, name).is_some_and(|value| m.matches(&value)))
            && self.without_headers.iter().all(|(name, m)| !without_matches(header(head, name), m))
            && self.query.iter().all(|(name, m)| parameter(head, name).is_some_and(|value| m.matches(value)))
            && self.source_namespace.as_ref().is_none_or(|namespace| **namespace == *client.namespace)
            && (self.source_labels.is_empty() || client.labels.is_some_and(|has| has.include(&self.source_labels)))
    }

    /// Whether it asks for nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.uri.is_none()
            && self.method.is_none()
            && self.scheme.is_none()
            && self.authority.is_none()
            && self.headers.is_empty()
            && self.without_headers.is_empty()
            && self.query.is_empty()
            && self.source_labels.is_empty()
            && self.source_namespace.is_none()
    }

    fn matches_uri(&self, path: &str) -> bool {
        let compare =
            |m: &StringMatch| if self.ignore_uri_case { m.matches_in_any_case(path) } else { m.matches(path) };
        self.uri.as_ref().is_none_or(compare)
    }
}

fn authority_matches(head: &Parts, wanted: &StringMatch) -> bool {
    authority::of(head).ok().flatten().is_some_and(|authority| wanted.matches(authority))
}

fn without_matches(value: Option<String>, unwanted: &StringMatch) -> bool {
    match (value, unwanted) {
        (None, StringMatch::Present) => false,
        (value, unwanted) => unwanted.matches(&value.unwrap_or_default()),
    }
}

/// The first value of a parameter; without `=` it is empty.
fn parameter<'a>(head: &'a Parts, name: &str) -> Option<&'a str> {
    let pairs = head.uri.query()?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.into_iter().find(|(found, _)| *found == name).map(|(_, value)| value)
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
        let case = if self.ignore_uri_case { " in any case" } else { "" };
        let mut parts: Vec<_> = self.uri.iter().map(|m| format!("uri {m}{case}")).collect();
        let plain = [("method", &self.method), ("scheme", &self.scheme), ("authority", &self.authority)];
        parts.extend(plain.iter().filter_map(|(what, m)| m.as_ref().map(|m| format!("{what} {m}"))));
        parts.extend(self.headers.iter().map(|(name, m)| format!("header {name} {m}")));
        parts.extend(self.without_headers.iter().map(|(name, m)| format!("not (header {name} {m})")));
        parts.extend(self.query.iter().map(|(name, m)| format!("query {name} {m}")));
        parts.extend(self.source_labels.iter().map(|(label, value)| format!("client has {label}={value}")));
        parts.extend(self.source_namespace.iter().map(|namespace| format!("client is in {namespace}")));
        if parts.is_empty() { f.write_str("every request") } else { f.write_str(&parts.join(" and ")) }
    }
}

/// The values of a header, joined by commas.
fn header(head: &Parts, name: &HeaderName) -> Option<String> {
    let mut values = head.headers.get_all(name).iter();
    let first = String::from_utf8_lossy(values.next()?.as_bytes());
    let mut whole = first.into_owned();
    for value in values {
        whole.push(',');
        whole.push_str(&String::from_utf8_lossy(value.as_bytes()));
    }
    Some(whole)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use http::Request;

    use super::*;

    fn head(request: http::request::Builder) -> Parts {
        request.body(()).unwrap().into_parts().0
    }

    impl RequestMatch {
        fn matches_from(&self, head: &Parts) -> bool {
            self.matches(head, Client { namespace: "mirror", labels: None })
        }
    }

    fn header(name: &'static str, wanted: StringMatch) -> RequestMatch {
        RequestMatch { headers: vec![(HeaderName::from_static(name), wanted)], ..RequestMatch::default() }
    }

    fn uri(wanted: StringMatch, path: &str) -> bool {
        RequestMatch { uri: Some(wanted), ..RequestMatch::default() }.matches_from(&head(Request::get(path)))
    }

    #[test]
    fn an_empty_entry_matches_every_request() {
        assert!(RequestMatch::default().matches_from(&head(Request::post("/x"))));
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
        assert!(both.matches_from(&head(Request::get("/").header("x-a", "1"))));
        assert!(!both.matches_from(&head(Request::get("/"))));
        assert!(!both.matches_from(&head(Request::post("/").header("x-a", "1"))));
    }

    #[test]
    fn repeated_headers_are_one_list() {
        let request = || head(Request::get("/").header("x-a", "1").header("x-a", "2"));
        assert!(header("x-a", StringMatch::Exact("1,2".into())).matches_from(&request()));
        assert!(!header("x-a", StringMatch::Exact("1".into())).matches_from(&request()));
    }

    #[test]
    fn a_missing_header_matches_nothing_not_even_an_empty_prefix() {
        assert!(!header("x-a", StringMatch::Prefix(String::new())).matches_from(&head(Request::get("/"))));
        assert!(header("x-a", StringMatch::Present).matches_from(&head(Request::get("/").header("x-a", ""))));
    }

    #[test]
    fn a_value_that_is_not_text_can_still_be_asked_for() {
        let request = head(Request::get("/").header("x-a", &b"\xff"[..]));
        assert!(header("x-a", StringMatch::Present).matches_from(&request));
        assert!(!header("x-a", StringMatch::Exact("x".into())).matches_from(&request));
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

    #[test]
    fn the_case_of_a_path_can_be_ignored() {
        let any_case = |uri, path: &str| {
            let entry = RequestMatch { uri: Some(uri), ignore_uri_case: true, ..RequestMatch::default() };
            entry.matches_from(&head(Request::get(path)))
        };
        assert!(any_case(StringMatch::Exact("/Api".into()), "/aPI"));
        assert!(any_case(StringMatch::Prefix("/Api".into()), "/api/x"));
        assert!(!any_case(StringMatch::Prefix("/Api".into()), "/ap"));
        assert!(!any_case(StringMatch::Regex(Regex::new("^(?:/Api)$").unwrap()), "/api"));
    }

    #[test]
    fn a_header_that_must_not_match_may_be_missing() {
        let without = |wanted, fields: &[(&str, &str)]| {
            let entry = RequestMatch {
                without_headers: vec![(HeaderName::from_static("x-a"), wanted)],
                ..RequestMatch::default()
            };
            let mut request = Request::get("/");
            for (name, value) in fields {
                request = request.header(*name, *value);
            }
            entry.matches_from(&head(request))
        };
        let exact = |text: &str| StringMatch::Exact(text.into());
        assert!(without(exact("1"), &[]) && without(exact("1"), &[("x-a", "2")]));
        assert!(!without(exact("1"), &[("x-a", "1")]));
        assert!(!without(exact(""), &[]), "missing counts as empty");
        assert!(without(StringMatch::Present, &[]) && !without(StringMatch::Present, &[("x-a", "")]));
    }

    #[test]
    fn scheme_authority_and_parameters_are_compared_as_written() {
        let exact = |text: &str| Some(StringMatch::Exact(text.into()));
        let request = head(Request::get("/?a=1&b&a=2&c=%20").header("host", "Web:8000"));
        let entry =
            |query: &str, wanted| RequestMatch { query: vec![(query.into(), wanted)], ..RequestMatch::default() };
        assert!(entry("a", StringMatch::Exact("1".into())).matches_from(&request));
        assert!(!entry("a", StringMatch::Exact("2".into())).matches_from(&request));
        assert!(entry("b", StringMatch::Present).matches_from(&request));
        assert!(entry("c", StringMatch::Exact("%20".into())).matches_from(&request));
        assert!(!entry("d", StringMatch::Present).matches_from(&request));
        assert!(RequestMatch { scheme: exact("http"), ..RequestMatch::default() }.matches_from(&request));
        assert!(!RequestMatch { scheme: exact("https"), ..RequestMatch::default() }.matches_from(&request));
        assert!(RequestMatch { authority: exact("Web:8000"), ..RequestMatch::default() }.matches_from(&request));
        assert!(!RequestMatch { authority: exact("web"), ..RequestMatch::default() }.matches_from(&request));
    }

    #[test]
    fn a_condition_on_the_client_needs_all_of_its_labels() {
        let labels = |text: &[(&str, &str)]| {
            Labels::from(text.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>())
        };
        let has = labels(&[("app", "sleep"), ("tier", "web")]);
        let from = |entry: &RequestMatch, labels| {
            entry.matches(&head(Request::get("/")), Client { namespace: "mirror", labels })
        };
        let app = RequestMatch { source_labels: labels(&[("app", "sleep")]), ..RequestMatch::default() };
        assert!(from(&app, Some(&has)) && !from(&app, None));
        let other = RequestMatch { source_labels: labels(&[("app", "sleep"), ("x", "y")]), ..RequestMatch::default() };
        assert!(!from(&other, Some(&has)));
        for (namespace, expected) in [("mirror", true), ("other", false)] {
            let entry = RequestMatch { source_namespace: Some(namespace.into()), ..RequestMatch::default() };
            assert_eq!(from(&entry, None), expected);
        }
    }
}
