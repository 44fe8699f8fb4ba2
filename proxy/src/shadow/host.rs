//! The Host of a shadow: `-shadow` before the port, inside nothing (Envoy's `shadowAppendedHost`,
//! `source/common/router/shadow_writer_impl.cc`).

use http::{HeaderValue, Uri, header::HOST, request::Parts, uri::Authority};

use crate::route::authority::{self, port_start};

/// Puts the suffix where a request over HTTP/2 says whom it is for: in `:authority`, in its Host, or in both. (Over HTTP/1 `wire::head` writes it.)
pub fn append(head: &mut Parts, suffix: &str) {
    let Ok(Some(authority)) = authority::of(head) else { return };
    let shadow = with_suffix(authority, suffix);
    // `insert` keeps the field's place. A field is changed, not added.
    if head.headers.contains_key(HOST)
        && let Ok(host) = HeaderValue::from_str(&shadow)
    {
        head.headers.insert(HOST, host);
    }
    if head.uri.authority().is_some() {
        let mut target = head.uri.clone().into_parts();
        target.authority = Authority::from_maybe_shared(shadow).ok().or(target.authority);
        // The parts come from a target and fit together as they did there.
        if let Ok(target) = Uri::from_parts(target) {
            head.uri = target;
        }
    }
}

/// Whom a request is for, as the access log has it.
#[must_use]
pub fn of(head: &Parts) -> Option<String> {
    let host = || head.headers.get(HOST).map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    head.uri.authority().map(ToString::to_string).or_else(host)
}

/// `cluster1:8000` with `-shadow` is `cluster1-shadow:8000`; `[::1]:80` is `[::1]-shadow:80`.
#[must_use]
pub fn with_suffix(authority: &str, suffix: &str) -> String {
    let split = port_start(authority).unwrap_or(authority.len());
    let (host, port) = authority.split_at(split);
    [host, suffix, port].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_suffix_stands_before_the_port_as_envoy_puts_it() {
        // reference: Envoy's ShadowWriterImplTest and the integration test for addresses.
        for (primary, shadow) in [
            ("cluster1", "cluster1-shadow"),
            ("cluster1:8000", "cluster1-shadow:8000"),
            ("127.0.0.1:80", "127.0.0.1-shadow:80"),
            ("[::1]:80", "[::1]-shadow:80"),
            ("[::1]", "[::1]-shadow"),
            ("host:", "host-shadow:"),
            ("", "-shadow"),
        ] {
            assert_eq!(with_suffix(primary, "-shadow"), shadow);
        }
        assert_eq!(with_suffix("cluster1:8000", ""), "cluster1:8000");
    }

    proptest! {
        #[test]
        fn nothing_but_the_suffix_is_added(authority in ".{0,40}", suffix in "[a-z-]{0,8}") {
            let with = with_suffix(&authority, &suffix);
            prop_assert_eq!(with.len(), authority.len() + suffix.len());
            let at = port_start(&authority).unwrap_or(authority.len());
            prop_assert_eq!(&with[..at], &authority[..at]);
            prop_assert_eq!(&with[at..at + suffix.len()], suffix.as_str());
            prop_assert_eq!(&with[at + suffix.len()..], &authority[at..]);
        }
    }
}
