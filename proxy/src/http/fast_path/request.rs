//! A plain request at the beginning of what a client has sent.
//!
//! Comes in: unread bytes. Goes out: a request with its head as it is matched and as it is written to the endpoint, or that it is not plain, or not whole.
//! Never: bytes taken of one that is not plain.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, request::Parts, uri::PathAndQuery};
use httparse::{Header, Status};

use crate::codec::{
    answer_framing::{length, may_end},
    fields::{self, Field, members},
};

/// Most fields of a plain request.
const MOST_FIELDS: usize = 64;
/// Most bytes of its head, so that places in it are small numbers.
pub(super) const MOST_BYTES: usize = 16 * 1024;

/// A request that is whole.
#[derive(Debug)]
pub(super) struct Plain {
    /// As rules see it: every field that came.
    pub head: Parts,
    /// As it is sent: without what is hop-by-hop, in the same order and letter case.
    pub written: Vec<u8>,
    /// Its body.
    pub body: Bytes,
    /// The answer has no body whatever it says.
    pub is_head: bool,
    /// The client may send another.
    pub stays: bool,
    /// The head as it came.
    came: Bytes,
}

impl Plain {
    /// How many bytes came.
    pub(super) fn size(&self) -> usize {
        self.came.len() + self.body.len()
    }

    /// Everything that came, this request included, as if it had not been read; `unread` is what came behind it.
    pub(super) fn put_back(&self, unread: &[u8]) -> BytesMut {
        let parts = [&self.came, &self.body, unread];
        let mut all = BytesMut::with_capacity(parts.iter().map(|part| part.len()).sum());
        parts.iter().for_each(|part| all.extend_from_slice(part));
        all
    }
}

/// Something that hyper reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotPlain;

/// A field's place in the head: where its name begins and how long it is, and the same of its value.
type Place = (u16, u16, u16, u16);

/// Takes a request out of `unread`. `None` = its head is not whole; the first `seen` bytes were found to hold no whole one before.
///
/// # Errors
/// It is not plain; nothing was taken.
pub(super) fn read(unread: &mut BytesMut, seen: usize) -> Result<Option<Plain>, NotPlain> {
    // A head that dribbles is not read from its beginning for each byte.
    if seen > 0 && unread.len() < MOST_BYTES && !may_end(unread, seen) {
        return Ok(None);
    }
    let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut head = httparse::Request::new(&mut []);
    let head_length = match head.parse_with_uninit_headers(unread, &mut fields) {
        Ok(Status::Complete(length)) if length <= MOST_BYTES => length,
        Ok(Status::Partial) if unread.len() < MOST_BYTES => return Ok(None),
        _ => return Err(NotPlain),
    };
    let Some(Shape { stays, body_length }) = Shape::of(&head) else { return Err(NotPlain) };
    let Some(whole) = head_length.checked_add(body_length).filter(|whole| *whole <= unread.len()) else {
        return Err(NotPlain);
    };
    let (Some(method), Some(path)) = (head.method, head.path) else { return Err(NotPlain) };
    let Ok(method) = Method::from_bytes(method.as_bytes()) else { return Err(NotPlain) };

    let mut places = [Place::default(); MOST_FIELDS];
    let count = head.headers.len();
    for (place, field) in places.iter_mut().zip(&*head.headers) {
        *place = place_of(unread, field);
    }
    let path = (offset(unread, path.as_bytes()), path.len());
    let mut written = Vec::with_capacity(head_length + 8);
    start(&mut written, &method);

    let mut came = unread.split_to(whole).freeze();
    let body = came.split_off(head_length);
    let Some(head) = assemble(&came, method, path, &places[..count], &mut written) else {
        // A target or a value that the parser lets pass and the types do not.
        *unread = [&came, &body, &unread[..]].concat()[..].into();
        return Err(NotPlain);
    };
    let is_head = head.method == Method::HEAD;
    Ok(Some(Plain { head, written, body, is_head, stays, came }))
}

/// What a plain head says of its message.
struct Shape {
    stays: bool,
    body_length: usize,
}

impl Shape {
    fn of(head: &httparse::Request<'_, '_>) -> Option<Self> {
        if head.version != Some(1) || !head.path?.starts_with('/') || head.method == Some("CONNECT") {
            return None;
        }
        let (mut hosts, mut stays, mut body_length) = (0, true, None);
        for Header { name, value } in &*head.headers {
            match Field::of(name.as_bytes()) {
                Field::Plain | Field::HopByHop => {}
                Field::Host => hosts += 1,
                Field::Length if body_length.is_none() => body_length = Some(usize::try_from(length(value)?).ok()?),
                Field::Connection => {
                    for token in members(value) {
                        if token.eq_ignore_ascii_case(b"close") {
                            stays = false;
                        } else if !token.eq_ignore_ascii_case(b"keep-alive") {
                            return None;
                        }
                    }
                }
                Field::Length | Field::Coding | Field::Upgrade | Field::Te | Field::Expect => return None,
            }
        }
        (hosts == 1).then_some(Self { stays, body_length: body_length.unwrap_or(0) })
    }
}

fn offset(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr() - whole.as_ptr().addr()
}

fn place_of(whole: &[u8], field: &Header<'_>) -> Place {
    let (name, value) = (field.name.as_bytes(), field.value);
    // The head is shorter than `MOST_BYTES`.
    (offset(whole, name) as u16, name.len() as u16, offset(whole, value) as u16, value.len() as u16)
}

fn start(written: &mut Vec<u8>, method: &Method) {
    written.extend_from_slice(method.as_str().as_bytes());
    written.push(b' ');
}

/// The head in both forms. `None` = something in it has no such form.
fn assemble(
    bytes: &Bytes,
    method: Method,
    (path, path_length): (usize, usize),
    places: &[Place],
    written: &mut Vec<u8>,
) -> Option<Parts> {
    let target = PathAndQuery::from_maybe_shared(bytes.slice(path..path + path_length)).ok()?;
    written.extend_from_slice(target.as_str().as_bytes());
    written.extend_from_slice(b" HTTP/1.1\r\n");
    let mut headers = HeaderMap::with_capacity(places.len());
    for (name, name_length, value, value_length) in places {
        let (name, value) = (usize::from(*name), usize::from(*value));
        let (name, value) = (name..name + usize::from(*name_length), value..value + usize::from(*value_length));
        if !matches!(Field::of(&bytes[name.clone()]), Field::Connection | Field::HopByHop) {
            fields::write_requests(written, &bytes[name.clone()], &bytes[value.clone()]);
        }
        let name = HeaderName::from_bytes(&bytes[name]).ok()?;
        headers.try_append(name, HeaderValue::from_maybe_shared(bytes.slice(value)).ok()?).ok()?;
    }
    written.extend_from_slice(b"\r\n");
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from(target);
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = headers;
    Some(request.into_parts().0)
}

#[cfg(test)]
mod tests;
