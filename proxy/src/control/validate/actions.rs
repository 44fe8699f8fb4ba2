//! What a rule does to its requests and their answers (Istio's `validateHTTPRedirect`, `validateHTTPDirectResponse`, `validateHTTPRewrite`,
//! `validateHeaders`).

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderName, StatusCode, header::HOST, uri::Authority};
use regex::Regex;

use super::header_ops;
use crate::{
    control::{
        manifest::{
            istio::{DirectResponse as WireDirect, HeaderOperations, Headers, HttpRedirect, HttpRewrite},
            path::FieldPath,
            quantity,
            reporter::Reporter,
        },
        model::{Edits, OwnAnswer},
    },
    route::{
        HeaderOps,
        action::Content,
        redirect::Redirect,
        rewrite::{self, PathRewrite},
    },
};

/// Longest body of an answer of our own (Istio's bound).
const MAX_BODY: usize = 1 << 20;

/// `headers` of a rule or of a destination.
pub(super) fn edits(headers: &Headers, path: &FieldPath, reporter: &mut Reporter<'_>) -> Edits {
    let mut request = headers.request.clone();
    let path_of_request = path.key("request");
    let added = authority(&mut request.add, &path_of_request.key("add"), reporter);
    let set = authority(&mut request.set, &path_of_request.key("set"), reporter);
    Edits {
        // Istio prefers the one that is set.
        authority: set.or(added),
        request: operations(&request, &path_of_request, reporter),
        response: operations(&headers.response, &path.key("response"), reporter),
    }
}

/// Takes `host` and `:authority` out: they rewrite the Host instead of a field.
fn authority(fields: &mut BTreeMap<String, String>, path: &FieldPath, reporter: &mut Reporter<'_>) -> Option<Box<str>> {
    let is_authority = |name: &String| name.eq_ignore_ascii_case("host") || name == ":authority";
    let names: Vec<String> = fields.keys().filter(|name| is_authority(name)).cloned().collect();
    if names.len() > 1 {
        reporter.error_at_key(&path.key(&names[1]), "the Host is there twice", "keep one");
    }
    let mut found = None;
    for name in names {
        let value = fields.remove(&name).unwrap_or_default();
        checked_authority(&value, &path.key(&name), reporter);
        found = Some(value.into());
    }
    found
}

fn checked_authority(value: &str, path: &FieldPath, reporter: &mut Reporter<'_>) {
    if value.parse::<Authority>().is_err() || value.contains('@') {
        reporter.error(path, format!("`{value}` cannot be a Host"), "write a host name, possibly with a port");
    }
}

fn operations(wire: &HeaderOperations, path: &FieldPath, reporter: &mut Reporter<'_>) -> HeaderOps {
    for (fields, key) in [(&wire.set, "set"), (&wire.add, "add")] {
        for (name, value) in fields.iter().filter(|(_, value)| value.contains('%')) {
            let path = path.key(key).key(name);
            let message = format!("`{value}`: variables (`%…%`) in values are not supported");
            reporter.error(&path, message, "write a fixed value without `%`");
        }
    }
    HeaderOps {
        remove: header_ops::removed(&wire.remove, &path.key("remove"), reporter, of_rule).into(),
        set: header_ops::fields(&wire.set, &path.key("set"), reporter, of_rule).into(),
        add: header_ops::fields(&wire.add, &path.key("add"), reporter, of_rule).into(),
    }
}

/// A field that a rule may change. The marker is not one: a rule could hide from us that a request is a shadow.
fn of_rule(name: &str) -> Result<HeaderName, &'static str> {
    match header_ops::any(name)? {
        name if name == HOST => Err("a request without a Host would be malformed, and an answer has none"),
        name if name == crate::shadow::MARKER => Err("it marks shadows, so that they are not mirrored again"),
        name => Ok(name),
    }
}

/// `rewrite`: what becomes of the path, and the Host.
pub(super) fn rewrite(
    wire: HttpRewrite,
    path: &FieldPath,
    reporter: &mut Reporter<'_>,
) -> (Option<PathRewrite>, Option<Box<str>>) {
    let authority = wire.authority.filter(|authority| !authority.is_empty());
    if let Some(authority) = &authority {
        checked_authority(authority, &path.key("authority"), reporter);
    }
    let uri = wire.uri.filter(|uri| !uri.is_empty());
    let rewrite = match (uri, wire.uri_regex_rewrite) {
        (Some(_), Some(_)) => {
            reporter.error_at_key(path, "`uri` and `uriRegexRewrite` exclude each other", "keep one");
            None
        }
        (Some(uri), None) => {
            checked_path(&uri, &path.key("uri"), reporter);
            if uri.contains('?') {
                reporter.error(&path.key("uri"), "a rewritten path has no query: the request's own stays", "remove it");
            }
            Some(PathRewrite::Matched(uri.into()))
        }
        (None, Some(regex)) => regex_rewrite(&regex.r#match, &regex.rewrite, &path.key("uriRegexRewrite"), reporter),
        (None, None) => {
            if authority.is_none() {
                reporter.error_at_key(
                    path,
                    "`rewrite` says nothing",
                    "give it `uri`, `uriRegexRewrite` or `authority`",
                );
            }
            None
        }
    };
    (rewrite, authority)
}

fn regex_rewrite(pattern: &str, with: &str, path: &FieldPath, reporter: &mut Reporter<'_>) -> Option<PathRewrite> {
    let regex: Regex = super::matching::expression(pattern, &path.key("match"), reporter)?;
    match rewrite::substitution(&regex, with) {
        Ok(with) => Some(PathRewrite::Regex(regex, with.into())),
        Err(problem) => {
            reporter.error(&path.key("rewrite"), format!("`{with}`: {problem}"), "");
            None
        }
    }
}

fn checked_path(uri: &str, path: &FieldPath, reporter: &mut Reporter<'_>) {
    if !uri.starts_with('/') || uri.parse::<http::uri::PathAndQuery>().is_err() {
        reporter.error(path, format!("`{uri}` is not a path"), "begin it with `/`");
    }
}

/// `redirect`.
pub(super) fn redirect(wire: HttpRedirect, path: &FieldPath, reporter: &mut Reporter<'_>) -> Option<OwnAnswer> {
    let status = match wire.redirect_code {
        0 | 301 => StatusCode::MOVED_PERMANENTLY,
        302 => StatusCode::FOUND,
        303 => StatusCode::SEE_OTHER,
        307 => StatusCode::TEMPORARY_REDIRECT,
        308 => StatusCode::PERMANENT_REDIRECT,
        code => {
            let message = format!("{code} is not a redirect that is supported");
            reporter.error(&path.key("redirectCode"), message, "write 301, 302, 303, 307 or 308");
            return None;
        }
    };
    let said = |text: Option<String>| text.filter(|text| !text.is_empty());
    let (uri, authority, scheme) = (said(wire.uri), said(wire.authority), said(wire.scheme));
    if let Some(uri) = &uri {
        checked_path(uri, &path.key("uri"), reporter);
    }
    if let Some(authority) = &authority {
        checked_authority(authority, &path.key("authority"), reporter);
    }
    if scheme.as_ref().is_some_and(|scheme| scheme != "http" && scheme != "https") {
        reporter.error(&path.key("scheme"), "a redirect leads to `http` or `https`", "");
    }
    let mut port = wire.port;
    if port.is_some_and(|port| port == 0) {
        reporter.error(&path.key("port"), "0 is not a port", "write 1 to 65535");
    }
    // Not written where it is the scheme's own.
    let own = if scheme.as_deref() == Some("https") { 443 } else { 80 };
    port = port.filter(|port| *port != own);
    let redirect = Redirect {
        scheme: scheme.map(Into::into),
        authority: authority.map(Into::into),
        port,
        uri: uri.map(Into::into),
    };
    if redirect == Redirect::default() && wire.port.is_none() {
        reporter.error_at_key(
            path,
            "the redirect leads to where the request was",
            "give it `uri`, `authority`, `port` or `scheme`",
        );
    }
    Some(OwnAnswer { status, content: Content::Location(redirect).into() })
}

/// `directResponse`.
pub(super) fn direct(wire: WireDirect, path: &FieldPath, reporter: &mut Reporter<'_>) -> Option<OwnAnswer> {
    let status = StatusCode::from_u16(wire.status).ok().filter(|status| (200..600).contains(&status.as_u16()));
    if status.is_none() {
        reporter.error(
            &path.key("status"),
            format!("{} is not the status of an answer", wire.status),
            "write 200 to 599",
        );
    }
    let text = wire.body.and_then(|body| body.string).unwrap_or_default();
    if text.len() > MAX_BODY {
        reporter.error(&path.key("body"), "the body is longer than 1 MiB", "");
    }
    Some(OwnAnswer { status: status?, content: Content::Text(text.into()).into() })
}

/// `timeout`; 0 is none.
pub(super) fn timeout(text: &str, path: &FieldPath, reporter: &mut Reporter<'_>) -> Option<Duration> {
    let timeout = quantity::duration(text);
    match timeout {
        None => reporter.error(path, format!("`{text}` is not a duration"), "write it like `10s` or `1m30s`"),
        // Istio's `ValidateDuration`.
        Some(timeout) if !timeout.is_zero() && timeout < Duration::from_millis(1) => {
            reporter.error(path, format!("`{text}` is less than a millisecond"), "");
        }
        Some(_) => {}
    }
    timeout.filter(|timeout| !timeout.is_zero())
}
