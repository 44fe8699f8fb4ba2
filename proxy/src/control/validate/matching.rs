//! Conditions of a rule.

use http::HeaderName;
use regex::RegexBuilder;

use crate::{
    control::manifest::{
        istio::{HttpMatch, StringMatch as Wire},
        path::FieldPath,
        reporter::Reporter,
    },
    route::matching::{RequestMatch, StringMatch},
};

/// Compiled size of one expression; RE2 in Envoy warns from a far smaller one.
const REGEX_SIZE_LIMIT: usize = 1 << 20;

/// One entry of `match`. `None` if it is wrong.
pub(super) fn request_match(wire: HttpMatch, path: &FieldPath, reporter: &mut Reporter<'_>) -> Option<RequestMatch> {
    let uri = wire.uri.map(|uri| required(uri, &path.key("uri"), reporter));
    let method = wire.method.map(|method| required(method, &path.key("method"), reporter));
    let headers_path = path.key("headers");
    let mut headers = Vec::with_capacity(wire.headers.len());
    for (name, wanted) in wire.headers {
        let path = headers_path.key(&name);
        let wanted = header(wanted, &path, reporter);
        match HeaderName::from_bytes(name.as_bytes()) {
            Ok(name) => headers.extend(wanted.map(|wanted| (name, wanted))),
            Err(_) if name.starts_with(':') => {
                let message = format!("`{name}` is not a header");
                reporter.error_at_key(&path, message, "match on `uri` or `method` instead");
            }
            Err(_) => reporter.error_at_key(&path, format!("`{name}` cannot be the name of a header"), ""),
        }
    }
    // A part that is wrong was reported; the object is lost anyway.
    Some(RequestMatch { uri: transpose(uri)?, method: transpose(method)?, headers })
}

fn transpose<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    match value {
        None => Some(None),
        Some(inner) => inner.map(Some),
    }
}

/// A condition that must say something.
fn required(wire: Wire, path: &FieldPath, reporter: &mut Reporter<'_>) -> Option<StringMatch> {
    if wire.exact.is_none() && wire.prefix.is_none() && wire.regex.is_none() {
        reporter.error_at_key(path, format!("`{path}` is empty"), "give it one of `exact`, `prefix` and `regex`");
        return None;
    }
    string_match(wire, path, reporter)
}

/// A condition on a header: without a value, or with the expression `*`, it only asks for the header to be there.
fn header(wire: Wire, path: &FieldPath, reporter: &mut Reporter<'_>) -> Option<StringMatch> {
    let empty = wire.exact.is_none() && wire.prefix.is_none() && wire.regex.is_none();
    if empty || wire.regex.as_deref() == Some("*") {
        Some(StringMatch::Present)
    } else {
        string_match(wire, path, reporter)
    }
}

fn string_match(wire: Wire, path: &FieldPath, reporter: &mut Reporter<'_>) -> Option<StringMatch> {
    match (wire.exact, wire.prefix, wire.regex) {
        (Some(exact), None, None) => Some(StringMatch::Exact(exact)),
        (None, Some(prefix), None) => {
            if prefix.is_empty() {
                reporter.error(
                    &path.key("prefix"),
                    "an empty prefix is not allowed",
                    "leave the condition out to match everything",
                );
            }
            Some(StringMatch::Prefix(prefix))
        }
        (None, None, Some(regex)) => full_match(&regex, &path.key("regex"), reporter).map(StringMatch::Regex),
        _ => {
            reporter.error_at_key(
                path,
                format!("`{path}` has more than one of `exact`, `prefix` and `regex`"),
                "keep one",
            );
            None
        }
    }
}

fn full_match(pattern: &str, path: &FieldPath, reporter: &mut Reporter<'_>) -> Option<regex::Regex> {
    let compile = |pattern: &str| RegexBuilder::new(pattern).size_limit(REGEX_SIZE_LIMIT).build();
    // By itself first: anchoring would make sense of `a)(b`.
    match compile(pattern).and_then(|_| compile(&format!("^(?:{pattern})$"))) {
        Ok(regex) => Some(regex),
        Err(error) => {
            let reason = match error {
                regex::Error::CompiledTooBig(_) => "it is too large".to_owned(),
                error => error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
            };
            reporter.error(path, format!("not a regular expression: {reason}"), "the syntax is RE2's");
            None
        }
    }
}
