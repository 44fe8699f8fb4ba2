//! What went wrong on the data path: whose side, which kind. The same words stand in metrics, in the access log and in the text of the
//! answers that we give ourselves.

use std::io;

use http::StatusCode;

use crate::net::NetError;

/// Whose fault it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The application that sent the request.
    Client,
    /// The endpoint that should have answered.
    Upstream,
    /// The configuration: no rule, no endpoint.
    Route,
    /// Ours.
    Proxy,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request's head makes no sense (no Host, several or invalid ones, a target of another form).
    Malformed,
    /// The request's body broke off, or its chunks make no sense.
    BrokenBody,
    /// The request's head has more fields than are read.
    TooManyFields,
    /// A transfer coding other than chunked.
    UnknownCoding,
    /// A version of HTTP that does not come over such a connection.
    UnknownVersion,
    /// The Host is ruled, but none of its rules matches.
    NoRule,
    /// The subset has no endpoint.
    NoEndpoint,
    /// The Service or the subset does not exist.
    UnknownDestination,
    /// The connection was refused or could not be made.
    ConnectFailed,
    /// The connection was not made in time.
    ConnectTimeout,
    /// No socket in the pod's namespace: no descriptor is left, or the namespace is gone.
    NoSocket,
    /// A shadow would have taken a descriptor that primaries may need.
    Reserved,
    /// The connection broke before an answer.
    Reset,
    /// The answer's framing can be read in several ways.
    MalformedAnswer,
    /// A request's head was begun and not ended in time.
    HeadTimeout,
    /// The endpoint did not answer within the time that the rule gives it.
    AnswerTimeout,
    /// The original destination is our own listener.
    OwnListener,
}

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    /// Whose.
    pub side: Side,
    /// What.
    pub kind: Kind,
    /// The code of the RST_STREAM that the endpoint ended the request with (RFC 9113, 7), for the client's stream to end with.
    pub reset: Option<u32>,
}

impl Fault {
    /// A fault of the endpoint's side.
    #[must_use]
    pub const fn upstream(kind: Kind) -> Self {
        Self { side: Side::Upstream, kind, reset: None }
    }

    /// A fault of the configuration.
    #[must_use]
    pub const fn route(kind: Kind) -> Self {
        Self { side: Side::Route, kind, reset: None }
    }

    /// A fault of the application's request.
    #[must_use]
    pub const fn client(kind: Kind) -> Self {
        Self { side: Side::Client, kind, reset: None }
    }

    /// A failed connect; `None` if it did not come as far as the network.
    #[must_use]
    pub fn connect(error: &anyhow::Error) -> Self {
        if let Some(NetError::Reserved { .. }) = error.downcast_ref() {
            return Self { side: Side::Proxy, kind: Kind::Reserved, reset: None };
        }
        match error.downcast_ref().map(io::Error::kind) {
            None => Self { side: Side::Proxy, kind: Kind::NoSocket, reset: None },
            Some(io::ErrorKind::TimedOut) => Self::upstream(Kind::ConnectTimeout),
            _ => Self::upstream(Kind::ConnectFailed),
        }
    }

    /// The status that the client gets. 503 where Envoy answers 503 (`NC`, `UH`, `UF`, `UC`), 404 for `NR`.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self.kind {
            Kind::Malformed | Kind::BrokenBody => StatusCode::BAD_REQUEST,
            Kind::TooManyFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Kind::UnknownCoding => StatusCode::NOT_IMPLEMENTED,
            Kind::UnknownVersion => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Kind::HeadTimeout => StatusCode::REQUEST_TIMEOUT,
            Kind::MalformedAnswer => StatusCode::BAD_GATEWAY,
            Kind::NoRule => StatusCode::NOT_FOUND,
            Kind::AnswerTimeout => StatusCode::GATEWAY_TIMEOUT,
            Kind::NoEndpoint
            | Kind::UnknownDestination
            | Kind::ConnectFailed
            | Kind::ConnectTimeout
            | Kind::NoSocket
            | Kind::Reserved
            | Kind::Reset
            | Kind::OwnListener => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Label value of the side.
    #[must_use]
    pub const fn side_name(self) -> &'static str {
        match self.side {
            Side::Client => "client",
            Side::Upstream => "upstream",
            Side::Route => "route",
            Side::Proxy => "proxy",
        }
    }

    /// Label value of the kind.
    #[must_use]
    pub const fn kind_name(self) -> &'static str {
        match self.kind {
            Kind::Malformed => "malformed",
            Kind::BrokenBody => "broken_body",
            Kind::TooManyFields => "too_many_fields",
            Kind::UnknownCoding => "unknown_coding",
            Kind::UnknownVersion => "unknown_version",
            Kind::NoRule => "no_rule",
            Kind::NoEndpoint => "no_endpoint",
            Kind::UnknownDestination => "unknown_destination",
            Kind::ConnectFailed => "connect_failed",
            Kind::ConnectTimeout => "connect_timeout",
            Kind::NoSocket => "no_socket",
            Kind::Reserved => "reserved",
            Kind::Reset => "reset",
            Kind::MalformedAnswer => "malformed_answer",
            Kind::HeadTimeout => "head_timeout",
            Kind::AnswerTimeout => "answer_timeout",
            Kind::OwnListener => "own_listener",
        }
    }

    /// One line for whoever reads the answer.
    #[must_use]
    pub const fn explanation(self) -> &'static str {
        match self.kind {
            Kind::Malformed => "the request needs exactly one valid Host, and a target that fits its method",
            Kind::BrokenBody => "the request's body broke off, or its chunks make no sense",
            Kind::TooManyFields => "the request has more header fields than are read here",
            Kind::UnknownCoding => "the only transfer coding that is understood here is chunked",
            Kind::UnknownVersion => "only HTTP/1.0 and HTTP/1.1 are spoken here, and HTTP/2 with prior knowledge",
            Kind::NoRule => "a VirtualService names this host, but none of its rules matches the request",
            Kind::NoEndpoint => "no healthy upstream: the destination has no ready endpoint",
            Kind::UnknownDestination => "the rule's destination names an unknown Service or subset",
            Kind::ConnectFailed => "upstream connect error: the endpoint refused the connection or cannot be reached",
            Kind::ConnectTimeout => "upstream connect error: the endpoint did not accept in time",
            Kind::Reserved => "the proxy's last file descriptors are not for shadows",
            Kind::NoSocket => "the proxy could not make a socket in the pod's network namespace",
            Kind::MalformedAnswer => "the endpoint's answer says in two ways where it ends",
            Kind::HeadTimeout => "the request's head did not end in time",
            Kind::Reset => "upstream reset: the endpoint closed the connection before it answered",
            Kind::AnswerTimeout => {
                "upstream request timeout: the endpoint did not answer in the time that the rule gives it"
            }
            Kind::OwnListener => "the connection would lead back to this proxy",
        }
    }
}
