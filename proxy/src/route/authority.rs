//! Whom a request is for (RFC 9112, 3.2 and 3.3).

use std::net::Ipv6Addr;

use http::{Method, Version, header::HOST, request::Parts};

use crate::fault::{Fault, Kind};

/// Where the port begins (its colon), if there is one: the last colon that is not inside brackets.
#[must_use]
pub fn port_start(authority: &str) -> Option<usize> {
    // Names are short: every request's is looked through several times.
    let last = authority.bytes().rposition(|byte| matches!(byte, b':' | b']'))?;
    (authority.as_bytes()[last] == b':').then_some(last)
}

/// The host without its port, IPv6 without brackets: the form that the table knows.
#[must_use]
pub fn host(authority: &str) -> &str {
    let host = &authority[..port_start(authority).unwrap_or(authority.len())];
    host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host)
}

/// The authority of a request as the client wrote it, with its port: from the target if it has one (absolute-form, CONNECT), else from the
/// Host. `None` for an HTTP/1.0 request that names none.
///
/// # Errors
/// `malformed` if there are several Hosts, one that is none by the grammar, or none although HTTP/1.1 demands it; and if the target has a form
/// that is not its method's.
pub fn of(head: &Parts) -> Result<Option<&str>, Fault> {
    const MALFORMED: Fault = Fault::client(Kind::Malformed);
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = hosts.next().map(|value| value.to_str()).transpose().map_err(|_| MALFORMED)?;
    let missing = host.is_none() && head.version == Version::HTTP_11 && head.method != Method::CONNECT;
    if missing || hosts.next().is_some() || !has_its_methods_form(head) {
        return Err(MALFORMED);
    }
    let target = head.uri.authority().map(http::uri::Authority::as_str);
    // What does not count must make sense as well: whoever comes after us may look at it.
    if [host, target].into_iter().flatten().all(is_valid) { Ok(target.or(host)) } else { Err(MALFORMED) }
}

/// RFC 9112, 3.2: only CONNECT has an authority for its target, only OPTIONS an asterisk.
fn has_its_methods_form(head: &Parts) -> bool {
    let uri = &head.uri;
    let authority_form = uri.authority().is_some() && uri.scheme().is_none();
    authority_form == (head.method == Method::CONNECT) && (uri.path() != "*" || head.method == Method::OPTIONS)
}

/// `uri-host [ ":" port ]` (RFC 9110, 7.2; RFC 3986, 3.2.2), also without a host. A user name before it is an error (RFC 9110, 4.2.4).
fn is_valid(authority: &str) -> bool {
    let (name, port) = authority.split_at(port_start(authority).unwrap_or(authority.len()));
    let port = port.strip_prefix(':').unwrap_or_default();
    let valid_port = port.bytes().all(|byte| byte.is_ascii_digit()) && (port.is_empty() || port.parse::<u16>().is_ok());
    let valid_name = match name.strip_prefix('[') {
        Some(literal) => literal.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()),
        None => is_registered_name(name.as_bytes()),
    };
    valid_port && valid_name
}

fn is_registered_name(mut name: &[u8]) -> bool {
    while let [byte, rest @ ..] = name {
        name = match (byte, rest) {
            (byte, rest) if IN_NAMES[usize::from(*byte)] => rest,
            (b'%', [high, low, rest @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => rest,
            _ => return false,
        };
    }
    true
}

/// What a name may have in it (RFC 3986, 3.2.2: `unreserved` and `sub-delims`). Every request's Host is looked through.
const IN_NAMES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"-._~!$&'()*+,;=";
    let mut index = 0;
    while index < others.len() {
        table[others[index] as usize] = true;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    fn head(uri: &str, hosts: &[&str], version: Version) -> Parts {
        let mut request = Request::builder().uri(uri).version(version);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_target_counts_before_the_host() {
        assert_eq!(of(&head("http://a:1/x", &["b"], Version::HTTP_11)), Ok(Some("a:1")));
        assert_eq!(of(&head("/x", &["b"], Version::HTTP_11)), Ok(Some("b")));
    }

    #[test]
    fn http_1_1_needs_exactly_one_host() {
        let malformed = Fault::client(Kind::Malformed);
        assert_eq!(of(&head("/", &[], Version::HTTP_11)), Err(malformed));
        assert_eq!(of(&head("/", &["a", "a"], Version::HTTP_11)), Err(malformed));
        assert_eq!(of(&head("/", &[], Version::HTTP_10)), Ok(None));
    }

    /// Fails if a Host is taken that another server may read differently, or a usual one is refused.
    #[test]
    fn a_host_is_valid_or_nobody_is_asked() {
        for valid in
            ["httpbin", "HTTPBIN.mirror.svc:8000", "a_b", "10.0.0.1:80", "[fd00::1]:80", "[::1]", "a%2Db", "a:", ""]
        {
            assert_eq!(of(&head("/", &[valid], Version::HTTP_11)), Ok(Some(valid)));
        }
        for invalid in [
            "a b",
            "a/b",
            "u@a",
            "a:b",
            "a:65536",
            "a:-1",
            "a:8 0",
            "a:1:2",
            "a%2",
            "a%zz",
            "[::1",
            "::1",
            "[a]",
            "[::1]x:80",
            "a\\b",
            "a?b",
            "a#b",
            "a\tb",
            "\"a\"",
            "<a>",
        ] {
            assert!(of(&head("/", &[invalid], Version::HTTP_11)).is_err(), "{invalid}");
            assert!(of(&head("http://a/", &[invalid], Version::HTTP_11)).is_err(), "{invalid} beside a target");
        }
        assert!(of(&head("http://u@a/", &["a"], Version::HTTP_11)).is_err());
        assert!(of(&head("http://a/", &[], Version::HTTP_11)).is_err(), "HTTP/1.1 without a Host");
    }

    #[test]
    fn a_target_has_its_methods_form() {
        let of_form = |method: Method, uri: &str| {
            let mut head = head(uri, &["a"], Version::HTTP_11);
            head.method = method;
            of(&head).is_ok()
        };
        assert!(
            of_form(Method::CONNECT, "a:443") && of_form(Method::OPTIONS, "*") && of_form(Method::GET, "http://a/")
        );
        assert!(!of_form(Method::GET, "a:443") && !of_form(Method::GET, "*"));
        assert!(!of_form(Method::CONNECT, "/") && !of_form(Method::CONNECT, "http://a:443/"));
    }

    #[test]
    fn the_table_sees_hosts_without_port_and_brackets() {
        for (authority, expected) in
            [("httpbin:8000", "httpbin"), ("httpbin", "httpbin"), ("[fd00::1]:80", "fd00::1"), ("10.0.0.1", "10.0.0.1")]
        {
            assert_eq!(host(authority), expected);
        }
    }

    proptest! {
        #[test]
        fn the_host_is_a_part_of_any_authority(authority in ".{0,40}") {
            prop_assert!(authority.contains(host(&authority)));
        }
    }
}
