//! What the load asks and what it must be answered, to the byte. Both follow from the request's place in the load, so neither side keeps anything.

use std::sync::OnceLock;

use anyhow::Result;
use http::{
    HeaderMap, HeaderValue, Request,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};

use crate::theatre::noise;

/// Longest body of the load.
pub const LONGEST: usize = 1 << 20;
/// Body bytes of an answer, apart from its first line.
const ANSWERED: usize = 512;
const OCTETS: &str = "application/octet-stream";

/// The bytes that every upload is the beginning of.
#[must_use]
pub fn upload() -> &'static [u8] {
    static NOISE: OnceLock<Vec<u8>> = OnceLock::new();
    NOISE.get_or_init(|| noise(LONGEST))
}

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No body.
    Get,
    /// A body of so many bytes.
    Upload(usize),
}

impl Kind {
    /// The mix: of twenty requests one uploads 1 MiB, three upload 64 KiB, and the others are small. `phase` is the connection's number, so that
    /// connections do not upload in step.
    #[must_use]
    pub fn of(number: u64, phase: u64) -> Self {
        match (number + 3 * phase) % 20 {
            3 | 9 | 15 => Self::Upload(64 << 10),
            19 => Self::Upload(LONGEST),
            _ => Self::Get,
        }
    }

    /// Length of its body.
    #[must_use]
    pub fn length(self) -> usize {
        match self {
            Self::Get => 0,
            Self::Upload(length) => length,
        }
    }
}

/// The head of a request; the body is the beginning of [`upload`].
#[must_use]
pub fn request_head(kind: Kind, connection: u64, number: u64) -> String {
    let path = path(connection, number);
    match kind {
        Kind::Get => format!("GET {path} HTTP/1.1\r\nHost: httpbin:8000\r\nAccept: */*\r\n\r\n"),
        Kind::Upload(length) => format!(
            "POST {path} HTTP/1.1\r\nHost: httpbin:8000\r\nContent-Type: {OCTETS}\r\nContent-Length: {length}\r\n\r\n"
        ),
    }
}

fn path(connection: u64, number: u64) -> String {
    format!("/load/{connection}/{number}")
}

/// The same head for HTTP/2.
///
/// # Errors
/// Never in practice: the path is a regular one.
pub fn request(kind: Kind, connection: u64, number: u64) -> Result<Request<()>> {
    let request = Request::builder().uri(format!("http://httpbin:8000{}", path(connection, number)));
    Ok(match kind {
        Kind::Get => request.header("accept", "*/*"),
        Kind::Upload(length) => request.method("POST").header(CONTENT_TYPE, OCTETS).header(CONTENT_LENGTH, length),
    }
    .body(())?)
}

/// What the client must get for a request: v1's words about exactly this request and its whole body.
#[must_use]
pub fn expected(kind: Kind, connection: u64, number: u64) -> Vec<u8> {
    answer("v1", &path(connection, number), kind.length(), true)
}

/// The same for HTTP/2: fields and body.
#[must_use]
pub fn expected_parts(kind: Kind, connection: u64, number: u64) -> (HeaderMap, Vec<u8>) {
    let content = content("v1", &path(connection, number), kind.length(), true);
    (fields("v1", content.len()), content)
}

/// What a server says about a request of this path whose body had so many bytes, all of them right or not.
#[must_use]
pub fn answer(who: &str, path: &str, length: usize, intact: bool) -> Vec<u8> {
    let content = content(who, path, length, intact);
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {OCTETS}\r\nX-Version: {who}\r\nContent-Length: {}\r\n\r\n",
        content.len()
    );
    [head.as_bytes(), &content].concat()
}

/// The fields of its answer over HTTP/2.
#[must_use]
pub fn fields(who: &'static str, length: usize) -> HeaderMap {
    let mut fields = HeaderMap::new();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(OCTETS));
    fields.insert("x-version", HeaderValue::from_static(who));
    fields.insert(CONTENT_LENGTH, length.into());
    fields
}

/// The body of its answer.
#[must_use]
pub fn content(who: &str, path: &str, length: usize, intact: bool) -> Vec<u8> {
    let verdict = if intact { "intact" } else { "BROKEN" };
    let first = format!("{who} got {path} with {length} bytes {verdict}\n");
    // Another part of the noise for each path: an answer that is cut, doubled or somebody else's shows.
    let start = path.bytes().fold(7_usize, |sum, byte| (sum * 31 + usize::from(byte)) % (LONGEST - ANSWERED));
    [first.as_bytes(), &upload()[start..start + ANSWERED]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mix_has_all_kinds_and_no_two_answers_are_alike() {
        let kinds: Vec<_> = (0..20).map(|number| Kind::of(number, 5)).collect();
        let count = |kind| kinds.iter().filter(|k| **k == kind).count();
        assert_eq!((count(Kind::Get), count(Kind::Upload(64 << 10)), count(Kind::Upload(LONGEST))), (16, 3, 1));
        let answers = [expected(Kind::Get, 1, 1), expected(Kind::Get, 1, 2), expected(Kind::Upload(5), 1, 1)];
        assert!(answers[0] != answers[1] && answers[0] != answers[2]);
        assert_ne!(answers[0], answer("v2", "/load/1/1", 0, true));
        assert_ne!(answers[0], answer("v1", "/load/1/1", 0, false));
    }
}
