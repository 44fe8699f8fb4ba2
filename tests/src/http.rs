//! The smallest HTTP/1.1 client that a test needs: one request, one connection, the answer whole.
//!
//! It talks from whatever namespace its thread is in, so call it inside `run` of a pod or node.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use anyhow::{Context as _, Result, bail};

use crate::wait::PATIENCE;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Status line and header fields as they came.
    pub head: String,
    /// The body without its framing.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// `GET` with `Connection: close`.
///
/// # Errors
/// When nobody answers, or not in HTTP.
pub fn get(to: SocketAddr, host: &str, path: &str) -> Result<Answer> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let mut stream = TcpStream::connect(to).with_context(|| format!("cannot connect to {to}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        let read = stream.read(&mut buffer).with_context(|| format!("{to} did not end its answer to GET {path}"))?;
        bytes.extend_from_slice(&buffer[..read]);
        if read == 0 || is_whole(&bytes) {
            break;
        }
    }
    parse(&bytes).with_context(|| format!("{to} answered GET {path} with {:?}", String::from_utf8_lossy(&bytes)))
}

/// True once an answer that says where it ends has come to that end.
fn is_whole(bytes: &[u8]) -> bool {
    let Some(end) = head_end(bytes) else { return false };
    match framing(&String::from_utf8_lossy(&bytes[..end])) {
        Ok(Framing::Length(length)) => bytes.len() - end >= length,
        Ok(Framing::Chunked) => unchunk(&bytes[end..]).is_some(),
        Ok(Framing::None) | Err(_) => false,
    }
}

/// Takes one whole answer apart.
///
/// # Errors
/// When it is not one.
pub fn parse(bytes: &[u8]) -> Result<Answer> {
    let end = head_end(bytes).context("no end of the header")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|s| s.get(..3)?.parse().ok()).context("no status")?;
    let rest = &bytes[end..];
    let body = match framing(&head)? {
        Framing::Length(length) if rest.len() < length => bail!("body ends after {} of {length} bytes", rest.len()),
        Framing::Length(length) => rest[..length].to_vec(),
        Framing::Chunked => unchunk(rest).context("broken chunks")?.0,
        Framing::None => rest.to_vec(),
    };
    Ok(Answer { status, head, body })
}

pub(crate) enum Framing {
    None,
    Length(usize),
    Chunked,
}

/// How the body that follows this head ends.
pub(crate) fn framing(head: &str) -> Result<Framing> {
    let value = |name: &str| {
        head.lines().find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    if value("transfer-encoding").is_some_and(|v| v.to_ascii_lowercase().ends_with("chunked")) {
        return Ok(Framing::Chunked);
    }
    match value("content-length") {
        Some(length) => Ok(Framing::Length(length.parse().context("bad Content-Length")?)),
        None => Ok(Framing::None),
    }
}

/// Length of the head with its empty line, once that has come.
pub(crate) fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4)
}

/// The content of a chunked body and how many bytes it took, once it is whole. Trailers are skipped.
pub(crate) fn unchunk(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let line = at + bytes.get(at..)?.windows(2).position(|w| w == b"\r\n")?;
        let size = std::str::from_utf8(&bytes[at..line]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        at = line + 2;
        if size > 0 {
            body.extend_from_slice(bytes.get(at..at.checked_add(size)?)?);
            at += size + 2;
            continue;
        }
        loop {
            let line = at + bytes.get(at..)?.windows(2).position(|w| w == b"\r\n")?;
            let empty = line == at;
            at = line + 2;
            if empty {
                return Some((body, at));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunked_answer_is_joined() {
        let answer =
            parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: v\r\n\r\n");
        assert_eq!(answer.unwrap().text(), "abcde");
    }

    #[test]
    fn a_cut_body_is_an_error() {
        assert!(parse(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc").is_err());
    }

    #[test]
    fn chunks_are_whole_only_with_their_last_line() {
        assert_eq!(unchunk(b"1\r\na\r\n0\r\n"), None);
        assert_eq!(unchunk(b"1\r\na\r\n0\r\n\r\nGET"), Some((b"a".to_vec(), 11)));
    }
}
