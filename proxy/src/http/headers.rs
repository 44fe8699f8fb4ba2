//! What an intermediary must take out of a head, and nothing else (RFC 9110, 7.6.1).
//!
//! Comes in: a head as received. Goes out: the same head without its hop-by-hop fields, in the same order and letter case.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header, request::Parts};

use crate::{
    fault::{Fault, Kind},
    route::header_ops::without,
};

/// Fields that belong to one connection whatever `Connection` says.
static HOP_BY_HOP: [HeaderName; 4] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::UPGRADE,
];

/// Whether a comma-separated field contains a token, in any case.
#[must_use]
pub fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|found| found.eq_ignore_ascii_case(token))
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim)
}

/// The only transfer coding of a request that can be passed on is chunked, said once: a body in another one cannot be told apart from its
/// framing (RFC 9112, 6.1: 501), and whoever reads chunked twice reads something else. hyper refuses one that does not end in chunked.
///
/// # Errors
/// `unknown_coding`.
pub fn check_coding(headers: &HeaderMap) -> Result<(), Fault> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let known = codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if known && codings.next().is_none() { Ok(()) } else { Err(Fault::client(Kind::UnknownCoding)) }
}

/// An answer may be in any coding (the codec adds chunked where it is missing), but chunked can only be the last, and once (RFC 9112, 6.1).
///
/// # Errors
/// `malformed_answer`.
pub fn check_answer_coding(headers: &HeaderMap) -> Result<(), Fault> {
    let text = headers.get_all(header::TRANSFER_ENCODING).iter().all(|value| value.to_str().is_ok());
    let mut codings = tokens(headers, &header::TRANSFER_ENCODING);
    let chunked_follows = codings.any(|coding| coding.eq_ignore_ascii_case("chunked")) && codings.next().is_some();
    if text && !chunked_follows { Ok(()) } else { Err(Fault::upstream(Kind::MalformedAnswer)) }
}

/// Whether a request is a call of gRPC.
#[must_use]
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    content_type.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Whether an answer to a call has a status in its head (so there is nothing else in it) that the call may be made again after: `unavailable` or
/// `cancelled`, as Envoy reads it (`RetryStateImpl::wouldRetryFromHeaders`).
#[must_use]
pub fn is_worth_another_call(headers: &HeaderMap) -> bool {
    headers.get("grpc-status").is_some_and(|status| matches!(status.as_bytes(), b"14" | b"1"))
}

/// One truth about whom a request is for: with an authority in the target, the Host says the same (RFC 9112, 3.2.2).
pub fn agree_on_host(head: &mut Parts) {
    let Some(authority) = head.uri.authority() else { return };
    if let Some(host) = head.headers.get_mut(header::HOST)
        && host.as_bytes() != authority.as_str().as_bytes()
        && let Ok(value) = HeaderValue::from_str(authority.as_str())
    {
        *host = value;
    }
}

/// The protocol that a request wants to upgrade to (`Connection: upgrade` and `Upgrade` together, HTTP/1.1 only).
#[must_use]
pub fn wants_upgrade(version: Version, headers: &HeaderMap) -> Option<HeaderValue> {
    let wanted = version == Version::HTTP_11 && has_token(headers, &header::CONNECTION, "upgrade");
    if wanted { headers.get(header::UPGRADE).cloned() } else { None }
}

/// Whether the answer may turn the connection into a tunnel: CONNECT, or an upgrade.
#[must_use]
pub fn is_tunnel(head: &Parts) -> bool {
    head.method == Method::CONNECT || wants_upgrade(head.version, &head.headers).is_some()
}

/// The end-to-end fields. `TE: trailers` stays (gRPC needs it), and so does `Transfer-Encoding`: it says that the body has no known length, and
/// what it is coded in beside chunked (the codec frames it anew).
#[must_use]
pub fn end_to_end(headers: HeaderMap) -> HeaderMap {
    // Most heads have none of these.
    if !headers.keys().any(may_go) {
        return headers;
    }
    let nominated: Vec<HeaderName> = tokens(&headers, &header::CONNECTION)
        // A name for what is in `HOP_BY_HOP` is not looked up for nothing.
        .filter(|token| !token.eq_ignore_ascii_case("close") && !token.eq_ignore_ascii_case("keep-alive"))
        .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
        // Some fields are no connection's to take away.
        .filter(|name| *name != header::HOST && *name != header::CONTENT_LENGTH && *name != header::TRANSFER_ENCODING)
        .collect();
    let trailers = has_token(&headers, &header::TE, "trailers");
    let chunked = headers.contains_key(header::TRANSFER_ENCODING);
    let goes = |name: &HeaderName| {
        HOP_BY_HOP.contains(name)
            || (*name == header::TE && !trailers)
            || (*name != header::TE && nominated.contains(name))
            // Both framings: the coding counts (RFC 9112, 6.3), and the length must not travel on.
            || (chunked && *name == header::CONTENT_LENGTH)
    };
    without(headers, goes)
}

/// Whether a field goes, or makes others go.
fn may_go(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(name) || *name == header::TE || *name == header::TRANSFER_ENCODING
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn listed(headers: &HeaderMap) -> Vec<(String, String)> {
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
    }

    #[test]
    fn what_the_connection_names_goes_and_the_order_of_the_rest_stays() {
        let headers = map(&[
            ("host", "a"),
            ("connection", "keep-alive, X-Mine"),
            ("x-mine", "1"),
            ("accept", "*/*"),
            ("keep-alive", "timeout=5"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("user-agent", "u"),
        ]);
        let kept = listed(&end_to_end(headers));
        let expected = [("host", "a"), ("accept", "*/*"), ("cookie", "a=1"), ("cookie", "b=2"), ("user-agent", "u")];
        assert_eq!(kept, expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
    }

    #[test]
    fn host_and_framing_cannot_be_nominated_away() {
        let kept = end_to_end(map(&[("connection", "host, content-length"), ("host", "a"), ("content-length", "3")]));
        assert_eq!(listed(&kept).len(), 2);
    }

    #[test]
    fn te_stays_only_for_trailers() {
        assert!(end_to_end(map(&[("te", "trailers"), ("connection", "te")])).contains_key(header::TE));
        assert!(!end_to_end(map(&[("te", "gzip")])).contains_key(header::TE));
    }

    #[test]
    fn a_length_beside_chunked_does_not_travel_on() {
        let kept = end_to_end(map(&[("content-length", "3"), ("transfer-encoding", "chunked")]));
        assert_eq!(listed(&kept), [("transfer-encoding".to_owned(), "chunked".to_owned())]);
    }

    #[test]
    fn chunked_is_the_only_coding() {
        let coding = |value| map(&[("transfer-encoding", value)]);
        for known in ["chunked", "Chunked"] {
            assert!(check_coding(&coding(known)).is_ok() && check_answer_coding(&coding(known)).is_ok(), "{known}");
        }
        for unknown in ["gzip, chunked", "identity", "gzip"] {
            assert!(
                check_coding(&coding(unknown)).is_err() && check_answer_coding(&coding(unknown)).is_ok(),
                "{unknown}"
            );
        }
        for nonsense in ["chunked, chunked", "chunked, gzip", "chunked,"] {
            assert!(
                check_coding(&coding(nonsense)).is_err() && check_answer_coding(&coding(nonsense)).is_err(),
                "{nonsense}"
            );
        }
        let twice = map(&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")]);
        assert!(check_coding(&twice).is_err() && check_answer_coding(&twice).is_err());
        assert!(check_coding(&map(&[])).is_ok() && check_answer_coding(&map(&[])).is_ok());
    }

    #[test]
    fn the_host_says_what_the_target_says() {
        for (uri, host, said) in [("http://a:1/", "b", "a:1"), ("/", "b", "b")] {
            let request = http::Request::builder().uri(uri).header("host", host).body(()).unwrap();
            let mut head = request.into_parts().0;
            agree_on_host(&mut head);
            assert_eq!(listed(&head.headers), [("host".to_owned(), said.to_owned())]);
        }
    }

    #[test]
    fn an_upgrade_needs_both_fields_and_http_1_1() {
        let both = map(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        assert!(wants_upgrade(Version::HTTP_11, &both).is_some());
        assert!(wants_upgrade(Version::HTTP_10, &both).is_none());
        assert!(wants_upgrade(Version::HTTP_11, &map(&[("upgrade", "websocket")])).is_none());
    }
}
