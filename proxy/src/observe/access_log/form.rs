//! The two forms of a line.

use std::{
    borrow::Cow,
    fmt::{self, Display, Write as _},
    time::Duration,
};

use serde::Serialize;

use super::{MAX_PART, PrimaryEnd, PrimaryLine, RequestLine, ShadowLine, address};
use crate::{observe::timestamp::Timestamp, settings::LogFormat, shadow::outcome::Ended};

pub(super) fn primary(line: &PrimaryLine<'_>, format: LogFormat) -> Vec<u8> {
    let time = Timestamp::ago(line.duration);
    match format {
        LogFormat::Text => text(|out| primary_text(out, time, line)),
        LogFormat::Json => json(&PrimaryJson::new(time, line)),
    }
}

/// A shadow's line without what it says of its primary.
#[derive(Debug)]
pub(super) struct Unfinished(Vec<u8>);

pub(super) fn shadow(line: &ShadowLine<'_>, format: LogFormat) -> Unfinished {
    let time = Timestamp::ago(line.duration);
    Unfinished(match format {
        LogFormat::Text => text(|out| shadow_text(out, time, line)),
        LogFormat::Json => json(&ShadowJson::new(time, line)),
    })
}

impl Unfinished {
    /// The whole line, once the primary has ended.
    pub(super) fn finish(self, primary: PrimaryEnd, format: LogFormat) -> Vec<u8> {
        let Self(mut line) = self;
        let PrimaryEnd { status, duration } = primary;
        // The newline; of an object the brace as well.
        line.truncate(line.len().saturating_sub(if format == LogFormat::Json { 2 } else { 1 }));
        let end = match format {
            LogFormat::Text => format!(" primary={} primary_duration={}\n", Maybe(status), Millis(duration)),
            LogFormat::Json => {
                let status = status.map_or_else(|| "null".to_owned(), |status| status.to_string());
                format!(",\"primary_status\":{status},\"primary_duration_ms\":{}}}\n", millis(duration))
            }
        };
        line.extend_from_slice(end.as_bytes());
        line
    }
}

fn primary_text(out: &mut String, time: Timestamp, line: &PrimaryLine<'_>) -> fmt::Result {
    let PrimaryLine { id, pod, client, original, request, authority, rule, destination, endpoint, .. } = *line;
    write!(out, "[{time}] {id} primary ")?;
    request_text(out, request)?;
    write!(out, " {} {} {} {}", Maybe(line.status), line.received, line.sent, Millis(line.duration))?;
    write!(out, " \"{}\" {} {client} {original}", Escaped(authority), Name(pod))?;
    write!(out, " rule={} destination={}", Maybe(rule.map(Name)), Maybe(destination.map(Name)))?;
    write!(out, " endpoint={}", Maybe(endpoint))
}

fn shadow_text(out: &mut String, time: Timestamp, line: &ShadowLine<'_>) -> fmt::Result {
    let ShadowLine { id, rule, mirror, destination, endpoint, request, host, .. } = *line;
    let (outcome, status) = outcome(line.ended);
    write!(out, "[{time}] {id} shadow ")?;
    request_text(out, request)?;
    write!(out, " {} {} {} {}", Maybe(status), line.sent, line.received, Millis(line.duration))?;
    write!(out, " \"{}\" {outcome} rule={}", Escaped(host.unwrap_or(b"-")), Maybe(rule.map(Name)))?;
    write!(out, " mirror={mirror} destination={} endpoint={}", Name(destination), Maybe(endpoint))?;
    out.write_str(if line.cut { " answer=cut" } else { "" })
}

fn request_text(out: &mut String, request: RequestLine<'_>) -> fmt::Result {
    let (method, path) = (Escaped(request.method.as_bytes()), Escaped(request.path.as_bytes()));
    write!(out, "\"{method} {path} {:?}\"", request.version)
}

fn text(write: impl FnOnce(&mut String) -> fmt::Result) -> Vec<u8> {
    let mut out = String::with_capacity(320);
    // Writing to a String does not fail.
    let _ = write(&mut out);
    out.push('\n');
    out.into_bytes()
}

fn outcome(ended: Ended) -> (&'static str, Option<u16>) {
    match ended {
        Ended::Answered(status) => ("answered", Some(status)),
        Ended::Without(outcome) => (outcome.as_str(), None),
    }
}

/// Bytes of a client between quotes: only printable ASCII, and no way out of the quotes.
struct Escaped<'a>(&'a [u8]);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bytes) = *self;
        let shown = &bytes[..bytes.len().min(MAX_PART)];
        write!(f, "{}", shown.escape_ascii())?;
        if bytes.len() > MAX_PART { f.write_str("…") } else { Ok(()) }
    }
}

/// A name from a manifest without quotes: what would split the line is replaced.
struct Name<'a>(&'a str);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_char('-');
        }
        let harmless = |c: char| if c.is_whitespace() || c.is_control() || c == '"' { '_' } else { c };
        self.0.chars().try_for_each(|c| f.write_char(harmless(c)))
    }
}

struct Maybe<T>(Option<T>);

impl<T: Display> Display for Maybe<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_char('-'),
        }
    }
}

struct Millis(Duration);

impl Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        write!(f, "{}.{:03}ms", micros / 1000, micros % 1000)
    }
}

#[derive(Serialize)]
struct PrimaryJson<'a> {
    time: String,
    kind: &'static str,
    id: String,
    method: Cow<'a, str>,
    path: Cow<'a, str>,
    version: String,
    status: Option<u16>,
    bytes_received: u64,
    bytes_sent: u64,
    duration_ms: f64,
    authority: Cow<'a, str>,
    pod: &'a str,
    client: String,
    original_destination: String,
    rule: Option<&'a str>,
    destination: Option<&'a str>,
    endpoint: Option<String>,
}

impl<'a> PrimaryJson<'a> {
    fn new(time: Timestamp, line: &PrimaryLine<'a>) -> Self {
        Self {
            time: time.to_string(),
            kind: "primary",
            id: line.id.to_string(),
            method: lossy(line.request.method.as_bytes()),
            path: lossy(line.request.path.as_bytes()),
            version: format!("{:?}", line.request.version),
            status: line.status,
            bytes_received: line.received,
            bytes_sent: line.sent,
            duration_ms: millis(line.duration),
            authority: lossy(line.authority),
            pod: line.pod,
            client: line.client.to_string(),
            original_destination: line.original.to_string(),
            rule: line.rule,
            destination: line.destination,
            endpoint: address(line.endpoint.map(|endpoint| endpoint.0)),
        }
    }
}

#[derive(Serialize)]
struct ShadowJson<'a> {
    time: String,
    kind: &'static str,
    id: String,
    method: Cow<'a, str>,
    path: Cow<'a, str>,
    version: String,
    outcome: &'static str,
    status: Option<u16>,
    answer_cut: bool,
    bytes_received: u64,
    bytes_sent: u64,
    duration_ms: f64,
    host: Option<Cow<'a, str>>,
    rule: Option<&'a str>,
    mirror: u32,
    destination: &'a str,
    endpoint: Option<String>,
}

impl<'a> ShadowJson<'a> {
    fn new(time: Timestamp, line: &ShadowLine<'a>) -> Self {
        let (outcome, status) = outcome(line.ended);
        Self {
            time: time.to_string(),
            kind: "shadow",
            id: line.id.to_string(),
            method: lossy(line.request.method.as_bytes()),
            path: lossy(line.request.path.as_bytes()),
            version: format!("{:?}", line.request.version),
            outcome,
            status,
            answer_cut: line.cut,
            bytes_received: line.received,
            bytes_sent: line.sent,
            duration_ms: millis(line.duration),
            host: line.host.map(lossy),
            rule: line.rule,
            mirror: line.mirror,
            destination: line.destination,
            endpoint: address(line.endpoint.map(|endpoint| endpoint.0)),
        }
    }
}

fn json(line: &impl Serialize) -> Vec<u8> {
    // Strings and numbers always serialize.
    let mut out = serde_json::to_vec(line).unwrap_or_default();
    out.push(b'\n');
    out
}

fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    if bytes.len() <= MAX_PART {
        return String::from_utf8_lossy(bytes);
    }
    let mut cut = String::from_utf8_lossy(&bytes[..MAX_PART]).into_owned();
    cut.push('…');
    cut.into()
}

/// Milliseconds to the microsecond.
fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}
