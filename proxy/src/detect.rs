//! HTTP/1 or not: decided once per connection, before anything is forwarded.
//!
//! Comes in: an accepted connection and what its Service declares of the port. Goes out: the verdict and the bytes read so far.
//! Never: writes to the client, or reads on once the verdict is known.
//!
//! A port declared as HTTP is believed (the parser refuses what it cannot read); only the HTTP/2 preface is looked for. On other ports
//! the client's silence for `quiet` means that the server speaks first: opaque (the way of Linkerd's detection: one deadline,
//! availability before correctness).

pub mod sni;

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Poll, ready},
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, ReadBuf},
    time::timeout,
};

use crate::route::PortProtocol;

/// The start of an HTTP/2 connection with prior knowledge (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A request line that ends later than this is none, empty lines before it included.
const LONGEST_LINE: usize = 16 * 1024;

/// What the connection carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// HTTP/1.0 or 1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// TLS: a client hello.
    Tls,
    /// Anything else, silence included.
    Opaque,
}

/// Reads until the verdict is clear. The bytes read come back with it.
///
/// # Errors
/// When the client's connection breaks.
pub async fn detect<IO: AsyncRead + Unpin>(
    io: &mut IO,
    declared: PortProtocol,
    quiet: Duration,
) -> io::Result<(Verdict, BytesMut)> {
    let mut read = BytesMut::new();
    loop {
        let count = match declared {
            PortProtocol::Undeclared => match timeout(quiet, read_once(io, &mut read)).await {
                Ok(count) => count?,
                Err(_) => return Ok((Verdict::Opaque, read)),
            },
            PortProtocol::Http | PortProtocol::Http2 => read_once(io, &mut read).await?,
        };
        let verdict = if count == 0 {
            Some(if declared == PortProtocol::Undeclared { Verdict::Opaque } else { Verdict::Http1 })
        } else {
            judge(&read, declared)
        };
        if let Some(verdict) = verdict {
            return Ok((verdict, read));
        }
    }
}

/// Reads what is there. Only what has come takes memory: a connection without a byte costs none.
async fn read_once<IO: AsyncRead + Unpin>(io: &mut IO, read: &mut BytesMut) -> io::Result<usize> {
    poll_fn(|cx| {
        let mut space = [MaybeUninit::uninit(); 8 * 1024];
        let mut space = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut *io).poll_read(cx, &mut space))?;
        read.extend_from_slice(space.filled());
        Poll::Ready(Ok(space.filled().len()))
    })
    .await
}

/// The verdict on the first bytes; `None` = not enough of them.
fn judge(bytes: &[u8], declared: PortProtocol) -> Option<Verdict> {
    let compared = bytes.len().min(PREFACE.len());
    if bytes[..compared] == PREFACE[..compared] {
        return (compared == PREFACE.len()).then_some(Verdict::Http2);
    }
    match declared {
        PortProtocol::Http | PortProtocol::Http2 => Some(Verdict::Http1),
        PortProtocol::Undeclared => judge_line(bytes),
    }
}

/// Is this the start of `METHOD SP target SP HTTP/1.x`?
fn judge_line(bytes: &[u8]) -> Option<Verdict> {
    if sni::is_client_hello(bytes) {
        return Some(Verdict::Tls);
    }
    // RFC 9112, 2.2: a server ought to ignore an empty line before the request line.
    let whole = bytes.len() >= LONGEST_LINE;
    let bytes = &bytes[..bytes.len().min(LONGEST_LINE)];
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    let bytes = &bytes[start..];
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        let method = bytes.split(|byte| *byte == b' ').next().unwrap_or(bytes);
        let plausible = method.iter().all(|byte| is_token(*byte)) && !bytes.contains(&0) && !whole;
        return if plausible { None } else { Some(Verdict::Opaque) };
    };
    let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
    let mut parts = line.split(|byte| *byte == b' ');
    let http = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(method), Some(target), Some(version), None) => {
            !method.is_empty()
                && method.iter().all(|byte| is_token(*byte))
                && !target.is_empty()
                && !target.contains(&0)
                && matches!(version, b"HTTP/1.0" | b"HTTP/1.1")
        }
        _ => false,
    };
    Some(if http { Verdict::Http1 } else { Verdict::Opaque })
}

/// Does the connection begin with a request line of another version than 1.0 and 1.1? hyper would answer 400; the right word is 505
/// (RFC 9110, 15.6.6). Later requests of a connection, and a line that comes in pieces, are left to hyper.
#[must_use]
pub fn has_unknown_version(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or_default();
    let version = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
        if major.is_ascii_digit() && minor.is_ascii_digit() && !matches!((major, minor), (b'1', b'0' | b'1')))
}

/// RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn undeclared(bytes: &[u8]) -> Option<Verdict> {
        judge(bytes, PortProtocol::Undeclared)
    }

    #[test]
    fn a_request_line_is_http() {
        assert_eq!(undeclared(b"GET / HTTP/1.1\r\nHost: a\r\n"), Some(Verdict::Http1));
        assert_eq!(undeclared(b"\r\nOPTIONS * HTTP/1.0\r\n"), Some(Verdict::Http1));
        assert_eq!(undeclared(b"PRIX / HTTP/1.1\n"), Some(Verdict::Http1));
    }

    #[test]
    fn a_part_of_a_request_line_waits_for_the_rest() {
        for part in [&b"G"[..], b"GET /some/pa", b"PRI", b"PRI * HTTP/2.0\r\n", b"\r\n"] {
            assert_eq!(undeclared(part), None, "{part:?}");
        }
    }

    #[test]
    fn what_is_no_request_line_is_opaque() {
        for other in
            [&b"\x17\x03\x01\x02"[..], b"SSH-2.0-x\r\n", b"GET / HTTP/3\r\n", b"GET /\r\n", b"\0\0\0\x08", b"a b c d\n"]
        {
            assert_eq!(undeclared(other), Some(Verdict::Opaque), "{other:?}");
        }
    }

    #[test]
    fn only_a_whole_line_of_another_version_is_one() {
        for (line, unknown) in [
            (&b"GET / HTTP/3.0\r\n"[..], true),
            (b"GET / HTTP/0.9\r\nHost: a\r\n", true),
            (b"GET / HTTP/1.1\r\n", false),
            (b"GET / HTTP/1.0\r\nX: HTTP/3.0\r\n", false),
            (b"GET / HTTP/3", false),
            (b"HTTP/x.y\r\n", false),
            (b"", false),
        ] {
            assert_eq!(has_unknown_version(line), unknown, "{line:?}");
        }
    }

    #[test]
    fn the_preface_is_http2_on_every_port() {
        assert_eq!(undeclared(PREFACE), Some(Verdict::Http2));
        assert_eq!(judge(PREFACE, PortProtocol::Http), Some(Verdict::Http2));
    }

    #[test]
    fn a_declared_port_is_believed() {
        assert_eq!(judge(b"\x16\x03\x01", PortProtocol::Http), Some(Verdict::Http1));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_means_that_the_server_speaks_first() {
        let (_client, mut server) = tokio::io::duplex(64);
        let (verdict, read) = detect(&mut server, PortProtocol::Undeclared, Duration::from_millis(200)).await.unwrap();
        assert_eq!((verdict, read.len()), (Verdict::Opaque, 0));
    }
}
