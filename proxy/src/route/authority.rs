//! Whom a request is for (RFC 9112, 3.2 and 3.3).

use http::{Method, Version, header::HOST, request::Parts};

use crate::fault::{Fault, Kind};

/// Where the port begins (its colon), if there is one: the last colon that is not inside brackets.
#[must_use]
pub fn port_start(authority: &str) -> Option<usize> {
    let colon = authority.rfind(':')?;
    let bracket = authority.rfind(']');
    bracket.is_none_or(|bracket| bracket < colon).then_some(colon)
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
/// `malformed` if there are several Hosts, one that is no text, or none although HTTP/1.1 demands it.
pub fn of(head: &Parts) -> Result<Option<&str>, Fault> {
    const MALFORMED: Fault = Fault::client(Kind::Malformed);
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(MALFORMED);
    }
    if let Some(authority) = head.uri.authority() {
        return Ok(Some(authority.as_str()));
    }
    match host {
        Some(value) => value.to_str().map(Some).map_err(|_| MALFORMED),
        None if head.version == Version::HTTP_11 && head.method != Method::CONNECT => Err(MALFORMED),
        None => Ok(None),
    }
}

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
