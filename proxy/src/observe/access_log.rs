//! The access log: a line for each primary, and one for each mirror of its rule, whether a shadow was sent or why not; tied together by the
//! request's id.
//!
//! Comes in: facts of an exchange that has ended. Goes out: a line of text or JSON through a [`LineQueue`]. Never: costs anything
//! while it is off, waits, wakes a thread, or lets bytes of a client look like another line.
//!
//! ```text
//! [2026-11-23T19:48:15.123Z] 5f0c… primary "GET /get HTTP/1.1" 200 0 312 4.213ms "httpbin:8000" mirror/sleep-0 10.244.1.10:51234 10.96.0.10:8000 rule=… destination=… endpoint=…
//! [2026-11-23T19:48:15.124Z] 5f0c… shadow "GET /get HTTP/1.1" 200 0 319 9.870ms "httpbin-shadow:8000" answered rule=… mirror=0 destination=… endpoint=… primary=200 primary_duration=4.213ms
//! ```
//!
//! The time is the beginning of the exchange, the line is written at its end; a shadow's never before its primary's. The numbers are status, body
//! bytes of the request, body bytes of the answer, duration; the quoted name is the Host that the server was told. `-` stands for what there is not.

mod form;
mod id;
mod tie;

use std::{
    fs::OpenOptions,
    io::{self, Write, stdout},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use http::{Version, request::Parts};
use thiserror::Error;

pub use self::{
    id::{RequestId, RequestIds},
    tie::Tie,
};
use super::{
    lines::{LineQueue, Wake},
    metrics::Metrics,
};
use crate::{
    net::addr::{ClientAddr, EndpointAddr, OriginalDst},
    settings::{AccessLogSettings, AccessLogTarget, LogFormat},
    shadow::outcome::Ended,
};

/// Why there is no access log.
#[derive(Debug, Error)]
pub enum AccessLogError {
    /// The file does not open.
    #[error(
        "cannot append to the access log {path}: {source}; does its folder exist and may this user write there? (--access-log)"
    )]
    Open {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// No thread for the writer.
    #[error("cannot start the thread that writes the access log: {0}")]
    Thread(#[source] io::Error),
}

/// Takes lines; clones share the file. Off, it is a null pointer.
#[derive(Clone, Debug, Default)]
pub struct AccessLog(Option<Arc<On>>);

#[derive(Debug)]
struct On {
    lines: LineQueue,
    format: LogFormat,
}

/// What a request is called in both kinds of line.
#[derive(Clone, Copy, Debug)]
pub struct RequestLine<'a> {
    /// The method.
    pub method: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// The version that the client speaks.
    pub version: Version,
}

/// Method, path and version as a log line shows them.
#[derive(Debug)]
pub struct Requested {
    method: String,
    path: String,
    version: Version,
}

impl Requested {
    /// Copies them out of a head.
    #[must_use]
    pub fn of(head: &Parts) -> Self {
        Self {
            method: head.method.to_string(),
            path: head.uri.path_and_query().map_or_else(|| head.uri.to_string(), ToString::to_string),
            version: head.version,
        }
    }

    /// As they were written.
    #[must_use]
    pub fn new(method: &str, path: &str, version: Version) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), version }
    }

    /// As the log takes them.
    #[must_use]
    pub fn line(&self) -> RequestLine<'_> {
        RequestLine { method: &self.method, path: &self.path, version: self.version }
    }
}

/// A primary that has ended.
#[derive(Clone, Copy, Debug)]
pub struct PrimaryLine<'a> {
    /// The request's.
    pub id: RequestId,
    /// `namespace/name` of the client's pod.
    pub pod: &'a str,
    /// The client's end.
    pub client: ClientAddr,
    /// Where the application meant to go.
    pub original: OriginalDst,
    /// What was asked.
    pub request: RequestLine<'a>,
    /// The Host as it came, possibly empty; not only UTF-8.
    pub authority: &'a [u8],
    /// Name of the rule; `None` = no rule was concerned.
    pub rule: Option<&'a str>,
    /// Label of the destination; `None` = we answered ourselves, or the request went on to the original destination.
    pub destination: Option<&'a str>,
    /// The pod that answered, or should have.
    pub endpoint: Option<EndpointAddr>,
    /// Status of the answer, whoever's it is; `None` = the connection broke before one.
    pub status: Option<u16>,
    /// Body bytes from the client.
    pub received: u64,
    /// Body bytes to the client.
    pub sent: u64,
    /// From the request's head to the answer's last byte.
    pub duration: Duration,
}

/// A shadow that has ended.
#[derive(Clone, Copy, Debug)]
pub struct ShadowLine<'a> {
    /// The primary's.
    pub id: RequestId,
    /// Name of the rule.
    pub rule: Option<&'a str>,
    /// Index of the mirror in the rule.
    pub mirror: u32,
    /// Label of the destination.
    pub destination: &'a str,
    /// The pod that it went to; `None` = to none.
    pub endpoint: Option<EndpointAddr>,
    /// What was asked.
    pub request: RequestLine<'a>,
    /// The Host that it carried; `None` = it was not sent.
    pub host: Option<&'a [u8]>,
    /// How it ended.
    pub ended: Ended,
    /// Body bytes sent to the shadow.
    pub sent: u64,
    /// Body bytes of its answer, dropped.
    pub received: u64,
    /// Its answer was longer than the bound; the rest was not read.
    pub cut: bool,
    /// From its start to its end; zero if it never began.
    pub duration: Duration,
}

/// What the lines of its shadows say of a primary.
#[derive(Clone, Copy, Debug)]
struct PrimaryEnd {
    status: Option<u16>,
    duration: Duration,
}

impl AccessLog {
    /// Opens what the settings name.
    ///
    /// # Errors
    ///
    /// The file does not open, or no thread can be started.
    pub fn open(settings: &AccessLogSettings) -> Result<Self, AccessLogError> {
        match &settings.target {
            None => Ok(Self::off()),
            Some(AccessLogTarget::Stdout) => Self::to(stdout(), settings.format),
            Some(AccessLogTarget::File(path)) => {
                let file = OpenOptions::new().append(true).create(true).open(path);
                let named = |source| AccessLogError::Open { path: path.display().to_string(), source };
                Self::to(file.map_err(named)?, settings.format)
            }
        }
    }

    /// No log.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    /// A log into any writer.
    ///
    /// # Errors
    ///
    /// No thread can be started.
    pub fn to(target: impl Write + Send + 'static, format: LogFormat) -> Result<Self, AccessLogError> {
        let lines = LineQueue::start("access-log", Wake::Later, target).map_err(AccessLogError::Thread)?;
        Ok(Self(Some(Arc::new(On { lines, format }))))
    }

    /// Shows how many lines were lost because the file did not take them; nothing if the log is off.
    pub fn register(&self, metrics: &Metrics) {
        if let Some(on) = &self.0 {
            metrics.register("access_log_lines_lost", "Lines of the access log that were lost", on.lines.lost());
        }
    }

    /// Waits until what was logged is written, or the patience is over. For the end of the process.
    pub fn flush(&self, patience: Duration) {
        if let Some(on) = &self.0 {
            on.lines.flush(patience);
        }
    }
}

/// The longest part of a line that a client can choose; what is over is cut and marked.
const MAX_PART: usize = 2048;

fn address(address: Option<SocketAddr>) -> Option<String> {
    address.map(|address| address.to_string())
}

#[cfg(test)]
mod tests;
