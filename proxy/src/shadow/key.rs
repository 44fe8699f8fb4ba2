//! The draw that decides whether a request is in a sample, by what the policy says is sampled.
//!
//! Comes in: what is sampled by, the head, and the draws that chance made. Goes out: a [`Draw`]. A keyed draw is a hash that depends on nothing
//! but the key, so every node gives the same answer, before and after a restart, and so do all rules:
//!
//! SipHash-2-4, with the key `understudy.dev/1` (16 bytes of ASCII), over the words `KIND`, `NAME` and `VALUE` with a zero byte between them.
//!
//! | sampled by | `KIND` | `NAME` | `VALUE` |
//! | --- | --- | --- | --- |
//! | `sourceIP` | `sourceIP` | empty | the address as text (RFC 5952), IPv4 never inside IPv6 |
//! | `header:NAME` | `header` | the name in lower case | the value; several are joined by a comma |
//! | `cookie:NAME` | `cookie` | the name | the first value, without quotes taken away |
//!
//! The 64 bits of the hash, as a fraction of 2^64, are compared with the sample.

use std::{hash::Hasher as _, net::IpAddr};

use http::{HeaderMap, HeaderName, header::COOKIE, request::Parts};
use siphasher::sip::SipHasher24;

use super::sample::Draw;
use crate::route::SampleBy;

/// Changing it changes every sample: it is part of what users may rely on.
const KEY: &[u8; 16] = b"understudy.dev/1";

/// What chance says of a request, and who sent it.
#[derive(Clone, Copy, Debug)]
pub struct Chances {
    /// 64 random bits of the request's own.
    pub request: u64,
    /// 64 random bits that all requests of its connection share.
    pub connection: u64,
    /// The pod's address.
    pub source: IpAddr,
}

/// The draw for a request. One without the header or cookie has a draw of its own.
#[must_use]
pub fn draw(by: &SampleBy, head: &Parts, chances: &Chances) -> Draw {
    let hashed = match by {
        SampleBy::Request => None,
        SampleBy::Connection => Some(chances.connection),
        SampleBy::SourceIp => Some(hash("sourceIP", "", chances.source.to_canonical().to_string().as_bytes())),
        SampleBy::Header(name) => header(&head.headers, name).map(|value| hash("header", name.as_str(), &value)),
        SampleBy::Cookie(name) => cookie(&head.headers, name).map(|value| hash("cookie", name, value)),
    };
    Draw::new(hashed.unwrap_or(chances.request))
}

fn hash(kind: &str, name: &str, value: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new_with_key(KEY);
    hasher.write(kind.as_bytes());
    hasher.write(&[0]);
    hasher.write(name.as_bytes());
    hasher.write(&[0]);
    hasher.write(value);
    hasher.finish()
}

fn header(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let mut values = headers.get_all(name).iter();
    let mut whole = values.next()?.as_bytes().to_vec();
    for value in values {
        whole.push(b',');
        whole.extend_from_slice(value.as_bytes());
    }
    Some(whole)
}

/// The first cookie of that name (RFC 6265, 4.2.1); HTTP/2 may spread them over several fields (RFC 9113, 8.2.3).
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests;
