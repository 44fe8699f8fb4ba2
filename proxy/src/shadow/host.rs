//! The Host of a shadow: `-shadow` before the port, inside nothing (Envoy's `shadowAppendedHost`,
//! `source/common/router/shadow_writer_impl.cc`).

use crate::route::authority::port_start;

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
