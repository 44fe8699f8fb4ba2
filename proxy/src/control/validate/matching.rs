//! Conditions of a rule.

use std::collections::BTreeMap;

use http::HeaderName;
use regex::{Regex, RegexBuilder};

use crate::{
    control::{
        manifest::{
            istio::{HttpMatch, StringMatch as Wire},
            path::FieldPath,
            reporter::Reporter,
        },
        model::RuleMatch,
    },
    route::{
        Labels,
        matching::{RequestMatch, StringMatch},
    },
};

/// Compiled size of one expression; RE2 in Envoy warns from a far smaller one.
const REGEX_SIZE_LIMIT: usize = 1 << 20;

/// One entry of `match`. `None` if it is wrong.
pub(super) fn rule_match(wire: HttpMatch, path: &FieldPath, reporter: &mut Reporter<'_>) -> Option<RuleMatch> {
    let part = |part: Option<Wire>, name: &str, reporter: &mut Reporter<'_>| {
        part.map(|part| required(part, &path.key(name), reporter))
    };
    let uri = part(wire.uri, "uri", reporter);
    let method = part(wire.method, "method", reporter);
    let scheme = part(wire.scheme, "scheme", reporter);
    let authority = part(wire.authority, "authority", reporter);
    let query_path = path.key("queryParams");
    let mut query = Vec::with_capacity(wire.query_params.len());
    for (name, wanted) in wire.query_params {
        let wanted = header(wanted, &query_path.key(&name), reporter);
        query.extend(wanted.map(|wanted| (name.into(), wanted)));
    }
    let port = wire.port.map(|port| {
        u16::try_from(port).ok().filter(|port| *port > 0).unwrap_or_else(|| {
            reporter.error(
                &path.key("port"),
                format!("{port} is not a port"),
                "write a port of the Service, 1 to 65535",
            );
            0
        })
    });
    // `gateways` decides alone if it is there (Istio's `sourceMatchHTTP`).
    let by_gateway = !wire.gateways.is_empty();
    let gateways_only = by_gateway && !wire.gateways.iter().any(|gateway| gateway == "mesh");
    if gateways_only {
        let remedy = "add `mesh` to it if pods' traffic is meant";
        reporter.note(
            &path.key("gateways"),
            "`gateways` does not name `mesh`: the condition never applies here",
            remedy,
        );
    }
    let request = RequestMatch {
        // A part that is wrong was reported; the object is lost anyway.
        uri: transpose(uri)?,
        method: transpose(method)?,
        scheme: transpose(scheme)?,
        authority: transpose(authority)?,
        headers: header_conditions(wire.headers, &path.key("headers"), reporter),
        without_headers: header_conditions(wire.without_headers, &path.key("withoutHeaders"), reporter),
        ignore_uri_case: wire.ignore_uri_case,
        query,
        source_labels: if by_gateway { Labels::default() } else { wire.source_labels.into() },
        source_namespace: wire.source_namespace.filter(|namespace| !by_gateway && !namespace.is_empty()),
    };
    Some(RuleMatch { request, port, gateways_only })
}

fn header_conditions(
    wire: BTreeMap<String, Wire>,
    path: &FieldPath,
    reporter: &mut Reporter<'_>,
) -> Vec<(HeaderName, StringMatch)> {
    let mut headers = Vec::with_capacity(wire.len());
    for (name, wanted) in wire {
        let path = path.key(&name);
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
    headers
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

/// A condition on a header or a parameter: without a value, or with the expression `*`, it only asks for the header to be there.
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

fn full_match(pattern: &str, path: &FieldPath, reporter: &mut Reporter<'_>) -> Option<Regex> {
    // By itself first: anchoring would make sense of `a)(b`.
    expression(pattern, path, reporter).and_then(|_| expression(&format!("^(?:{pattern})$"), path, reporter))
}

/// An expression that is not anchored.
pub(super) fn expression(pattern: &str, path: &FieldPath, reporter: &mut Reporter<'_>) -> Option<Regex> {
    match RegexBuilder::new(pattern).size_limit(REGEX_SIZE_LIMIT).build() {
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
