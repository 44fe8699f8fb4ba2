//! The fields over HTTP/1 that mean something to an intermediary. Comes in: a field's name. Goes out: what it is. Never: a field that only the ends of the message care for.

use memchr::memchr;

/// What a field is to an intermediary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// End-to-end.
    Plain,
    /// Whom the request is for.
    Host,
    /// `Content-Length`.
    Length,
    /// `Transfer-Encoding`.
    Coding,
    /// `Connection`: names others, says whether it stays.
    Connection,
    /// Of one connection whatever `Connection` says.
    HopByHop,
    /// `Upgrade`, hop-by-hop as well.
    Upgrade,
    /// `TE`: goes on only for trailers.
    Te,
    /// `Expect`.
    Expect,
}

impl Field {
    /// Of this name, in any letter case.
    #[inline]
    pub(crate) fn of(name: &[u8]) -> Self {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        match name.len() {
            2 if is("te") => Self::Te,
            4 if is("host") => Self::Host,
            6 if is("expect") => Self::Expect,
            7 if is("upgrade") => Self::Upgrade,
            10 if is("connection") => Self::Connection,
            10 if is("keep-alive") => Self::HopByHop,
            14 if is("content-length") => Self::Length,
            16 if is("proxy-connection") => Self::HopByHop,
            17 if is("transfer-encoding") => Self::Coding,
            _ => Self::Plain,
        }
    }
}

/// Writes a field of a request, as hyper does: without a blank if there is nothing behind it.
pub(crate) fn write_requests(to: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let colon: &[u8] = if value.is_empty() { b":" } else { b": " };
    for part in [name, colon, value, b"\r\n"] {
        to.extend_from_slice(part);
    }
}

/// Writes a field of an answer. A line that was folded is one (RFC 9112, 5.2).
pub(crate) fn write_answers(to: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": "] {
        to.extend_from_slice(part);
    }
    if memchr(b'\n', value).is_some() {
        to.extend(value.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }));
    } else {
        to.extend_from_slice(value);
    }
    to.extend_from_slice(b"\r\n");
}

/// The members of a list, without the spaces around them.
pub(crate) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}
