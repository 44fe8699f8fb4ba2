//! The head that v2 sees, made of the one that v1 was sent.
//!
//! Comes in: the primary's head, byte for byte as its codec wrote it. Goes out: the same fields in the same order and letter case, but for Host (with
//! suffix), the marker, and what the policy says. Never: a head that frames another body than the primary's.

use std::mem::MaybeUninit;

use http::{HeaderName, Uri, header::HOST, uri::PathAndQuery};
use memchr::{memchr, memmem, memrchr};

use crate::{
    codec::fields,
    observe::access_log::Requested,
    route::{HeaderOps, ShadowSettings},
    shadow::{MARKER, host},
};

/// Fields that need no allocation to be looked at.
const FEW_FIELDS: usize = 64;

/// How the end of the request's body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none, or the head says how long it is.
    Plain,
    /// In chunks.
    Chunked,
}

/// The head of a shadow.
#[derive(Debug)]
pub struct Head {
    /// Its bytes, with the empty line.
    pub bytes: Vec<u8>,
    /// How its body is framed.
    pub framing: Framing,
    /// The answer has no body whatever it says (HEAD).
    pub is_head: bool,
    /// HTTP/1.1: the connection may carry another request.
    pub is_current: bool,
}

/// A field as it is written.
type Line<'a> = (&'a [u8], &'a [u8]);

impl Head {
    /// Of a primary's head; what follows it in `written` is not looked at. `None` = it is none, which no codec writes.
    #[must_use]
    pub fn of_shadow(written: &[u8], settings: &ShadowSettings) -> Option<Self> {
        let Written { method, target, is_current, fields, length } = Written::of(written)?;
        let target = Target::of(target);
        let said = fields.clone().find(|(name, _)| is(name, &HOST)).map(|(_, value)| value);
        // Not everything in a Host is text; what is not stays as it is.
        let authority = target.authority.or_else(|| std::str::from_utf8(said?).ok());
        let host = authority.map(|authority| host::with_suffix(authority, &settings.host_suffix));
        let host = host.as_deref().map(str::as_bytes);

        let mut head = Self {
            bytes: Vec::with_capacity(length + settings.host_suffix.len() + 64),
            framing: Framing::Plain,
            is_head: method == b"HEAD",
            is_current,
        };
        let version = if is_current { " HTTP/1.1\r\n" } else { " HTTP/1.0\r\n" };
        for part in [method, b" ", target.path.as_bytes(), version.as_bytes()] {
            head.bytes.extend_from_slice(part);
        }
        let lines = fields.map(|(name, value)| match host {
            Some(host) if is(name, &HOST) => (name, host),
            _ => (name, value),
        });
        let lines = lines.chain(host.filter(|_| said.is_none()).map(|host| (HOST.as_str().as_bytes(), host)));
        if settings.headers.is_empty() {
            head.fields(lines);
        } else {
            let mut lines: Vec<_> = lines.collect();
            edit(&mut lines, &settings.headers);
            head.fields(lines);
        }
        Some(head)
    }

    fn fields<'a>(&mut self, lines: impl IntoIterator<Item = Line<'a>>) {
        for (name, value) in lines.into_iter().filter(|(name, _)| !is(name, &MARKER)) {
            if is(name, &http::header::TRANSFER_ENCODING) {
                self.framing = Framing::Chunked;
            }
            fields::write_requests(&mut self.bytes, name, value);
        }
        fields::write_requests(&mut self.bytes, MARKER.as_str().as_bytes(), b"true");
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// What the access log says of it: the request, and whom it is for.
    #[must_use]
    pub fn said(&self) -> Option<(Requested, String)> {
        let (mut few, mut many) = places(&self.bytes);
        let fields = if many.is_empty() { &mut few[..] } else { &mut many[..] };
        let mut head = httparse::Request::new(&mut []);
        head.parse_with_uninit_headers(&self.bytes, fields).ok()?;
        let host = head.headers.iter().find(|field| is(field.name.as_bytes(), &HOST));
        let host = host.map(|field| String::from_utf8_lossy(field.value).into_owned()).unwrap_or_default();
        let version = if self.is_current { http::Version::HTTP_11 } else { http::Version::HTTP_10 };
        Some((Requested::new(head.method?, head.path?, version), host))
    }
}

/// A head as we or the codec have written it: one form, one blank behind each colon. (What a client has sent is no such thing.)
struct Written<'a> {
    method: &'a [u8],
    target: &'a str,
    is_current: bool,
    fields: Fields<'a>,
    /// Of the head, with the empty line.
    length: usize,
}

/// The lines behind the first.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a [u8]);

impl<'a> Written<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let length = memmem::find(bytes, b"\r\n\r\n")? + 4;
        let (line, fields) = line(&bytes[..length])?;
        let (method, line) = line.split_at(memchr(b' ', line)?);
        let (target, version) = line.split_at(memrchr(b' ', line)?);
        let is_current = match version {
            b" HTTP/1.1" => true,
            b" HTTP/1.0" => false,
            _ => return None,
        };
        let target = std::str::from_utf8(target.get(1..)?).ok()?;
        Some(Self { method, target, is_current, fields: Fields(fields), length })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        let (field, rest) = line(self.0)?;
        self.0 = rest;
        let (name, value) = field.split_at(memchr(b':', field)?);
        Some((name, value[1..].trim_ascii()))
    }
}

/// A line without its end, and what follows.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr(b'\n', bytes)?;
    Some((bytes[..end].strip_suffix(b"\r")?, &bytes[end + 1..]))
}

type Places<'a> = [MaybeUninit<httparse::Header<'a>>; FEW_FIELDS];

/// Room for the fields of a head: in the first, or, if they may be more, in the second. A rule may have added as many as it likes.
fn places<'a>(head: &[u8]) -> (Places<'a>, Vec<MaybeUninit<httparse::Header<'a>>>) {
    let lines = head.iter().filter(|byte| **byte == b'\n').count();
    let many = if lines > FEW_FIELDS { lines } else { 0 };
    ([const { MaybeUninit::uninit() }; FEW_FIELDS], (0..many).map(|_| MaybeUninit::uninit()).collect())
}

fn is(name: &[u8], wanted: &HeaderName) -> bool {
    name.eq_ignore_ascii_case(wanted.as_str().as_bytes())
}

/// What a head is asked for.
struct Target<'a> {
    /// Without an authority: an absolute target would contradict the new Host.
    path: std::borrow::Cow<'a, str>,
    authority: Option<&'a str>,
}

impl<'a> Target<'a> {
    fn of(written: &'a str) -> Self {
        if written.starts_with('/') || written == "*" {
            return Self { path: written.into(), authority: None };
        }
        let Ok(target) = written.parse::<Uri>() else { return Self { path: written.into(), authority: None } };
        let path = target.path_and_query().map_or("/", PathAndQuery::as_str).to_owned();
        let authority = target.authority().and_then(|authority| {
            let start = written.find("://")? + 3;
            written.get(start..start + authority.as_str().len())
        });
        Self { path: path.into(), authority }
    }
}

/// As [`HeaderOps::apply`], on the lines themselves: a field that is set keeps its place and its letter case, a value that is added follows the others of
/// its field.
fn edit<'a>(lines: &mut Vec<Line<'a>>, operations: &'a HeaderOps) {
    lines.retain(|(name, _)| !operations.remove.iter().any(|removed| is(name, removed)));
    for (name, value) in operations.set.iter() {
        let mut first = true;
        lines.retain_mut(|line| {
            if is(line.0, name) {
                line.1 = value.as_bytes();
                return std::mem::take(&mut first);
            }
            true
        });
        if first {
            lines.push((name.as_str().as_bytes(), value.as_bytes()));
        }
    }
    for (name, value) in operations.add.iter() {
        let after = lines.iter().rposition(|line| is(line.0, name)).map_or(lines.len(), |last| last + 1);
        lines.insert(after, (name.as_str().as_bytes(), value.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn shadow(primary: &str, settings: &ShadowSettings) -> String {
        String::from_utf8(Head::of_shadow(primary.as_bytes(), settings).unwrap().bytes).unwrap()
    }

    fn plain(primary: &str) -> String {
        shadow(primary, &ShadowSettings::default())
    }

    /// Fails if a field changes its place, its letter case or its value.
    #[test]
    fn only_host_and_marker_differ() {
        let primary = "GET /a?b=%20c HTTP/1.1\r\nHOST: Example:80\r\nX-one: 1\r\nx-ONE:  two \r\nCookie: \r\nuser-agent: \u{e4}\r\n\r\n";
        let expected = "GET /a?b=%20c HTTP/1.1\r\nHOST: Example-shadow:80\r\nX-one: 1\r\nx-ONE: two\r\nCookie:\r\nuser-agent: \u{e4}\r\n\
             x-understudy-shadow: true\r\n\r\n";
        assert_eq!(plain(primary), expected);
    }

    #[test]
    fn an_absolute_target_does_not_contradict_the_new_host() {
        let of = |target: &str, host: &str| plain(&format!("GET {target} HTTP/1.1\r\n{host}\r\n"));
        let shadow = |target: &str, host: &str| {
            format!("GET {target} HTTP/1.1\r\n{host}: a-shadow:1\r\nx-understudy-shadow: true\r\n\r\n")
        };
        assert_eq!(of("http://a:1/p?q", "Host: a:1\r\n"), shadow("/p?q", "Host"));
        assert_eq!(of("http://a:1", "Host: a:1\r\n"), shadow("/", "Host"));
        assert_eq!(of("http://a:1/", ""), shadow("/", "host"));
        let asterisk = plain("OPTIONS * HTTP/1.0\r\n\r\n");
        assert_eq!(asterisk, "OPTIONS * HTTP/1.0\r\nx-understudy-shadow: true\r\n\r\n", "names nobody");
    }

    /// Fails if a rule's header operations can make a head that has no shadow.
    #[test]
    fn a_head_may_have_more_fields_than_a_client_may_send() {
        let primary = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(2000));
        let head = Head::of_shadow(primary.as_bytes(), &ShadowSettings::default()).unwrap();
        assert!(head.said().is_some() && head.bytes.len() > primary.len());
    }

    #[test]
    fn operations_do_what_they_do_to_a_map() {
        let field = |name, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
        let headers = HeaderOps {
            remove: [HeaderName::from_static("cookie")].into(),
            set: [field("x-set", "new"), field("x-other", "1")].into(),
            add: [field("x-many", "3"), field("x-new", "4")].into(),
        };
        let settings = ShadowSettings { headers, ..ShadowSettings::default() };
        let primary =
            "GET / HTTP/1.1\r\nhost: a\r\nCookie: c\r\nX-Set: 1\r\nX-MANY: 1\r\nX-Set: 2\r\nX-Many: 2\r\nZ: z\r\n\r\n";
        let expected = "GET / HTTP/1.1\r\nhost: a-shadow\r\nX-Set: new\r\nX-MANY: 1\r\nX-Many: 2\r\nx-many: 3\r\nZ: z\r\nx-other: 1\r\nx-new: 4\r\n\
             x-understudy-shadow: true\r\n\r\n";
        assert_eq!(shadow(primary, &settings), expected);
    }

    #[test]
    fn framing_and_method_are_seen_and_a_body_behind_the_head_is_not_taken_for_it() {
        let of = |head: &str| Head::of_shadow(head.as_bytes(), &ShadowSettings::default());
        let chunked = of("HEAD / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc").unwrap();
        assert_eq!((chunked.framing, chunked.is_head, chunked.is_current), (Framing::Chunked, true, true));
        assert!(chunked.bytes.ends_with(b"x-understudy-shadow: true\r\n\r\n"));
        let old = of("POST / HTTP/1.0\r\ncontent-length: 3\r\n\r\nabc").unwrap();
        assert_eq!((old.framing, old.is_head, old.is_current), (Framing::Plain, false, false));
        assert!(of("GET / HTTP/1.1\r\nhost: a\r\n").is_none());
        let (request, host) = chunked.said().unwrap();
        assert_eq!((format!("{:?}", request.line()).contains("HEAD"), host.as_str()), (true, "a-shadow"));
    }
}
