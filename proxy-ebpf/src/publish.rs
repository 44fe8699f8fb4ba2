//! What `ORIG` says of a connection that is about to send its SYN.

use proxy_common::flow::{FlowKey, FlowOrigin, SocketOrigin};

use crate::address::{Endpoint, from_words, same, words};

/// A connection as `sock_ops` sees it before the SYN: the source address and port are chosen.
#[derive(Clone, Copy, Debug)]
pub struct Connecting {
    /// Cookie of its namespace.
    pub cookie: u64,
    /// Where it comes from; mapped IPv4 counts as IPv4, because that is what the listener will see.
    pub source: Endpoint,
    /// Where it goes.
    pub peer: Endpoint,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub now_ns: u64,
}

/// The entry of `ORIG`, if the connection really goes to the listener that it was redirected to.
#[inline(always)]
#[must_use]
pub fn publish(connecting: &Connecting, origin: &SocketOrigin) -> Option<(FlowKey, FlowOrigin)> {
    let Connecting { cookie, source, peer, now_ns } = connecting;
    if !is_listener(peer, origin) {
        return None;
    }
    let key = FlowKey {
        cookie: *cookie,
        source: from_words(source.address),
        source_port: source.port,
        listener_port: peer.port,
        family: source.family,
        padding: [0; 3],
    };
    let value = FlowOrigin {
        address: origin.address,
        connected_ns: *now_ns,
        rule: origin.rule,
        port: origin.port,
        family: origin.family,
        padding: 0,
    };
    Some((key, value))
}

/// Is this peer the listener that the connection was redirected to? Where the pod has no `::1` the listener is at the pod's address.
#[inline(always)]
#[must_use]
pub fn is_listener(peer: &Endpoint, origin: &SocketOrigin) -> bool {
    peer.port == origin.listener_port
        && peer.family == origin.family
        && (peer.is_loopback() || same(&peer.address, &words(&origin.local)))
}

#[cfg(test)]
mod tests {
    use proxy_common::{FAMILY_V4, FAMILY_V6, address_v4};

    use super::*;
    use crate::address::{mapped, words_v4};

    const LOOPBACK_V6: [u32; 4] = [0, 0, 0, u32::from_ne_bytes([0, 0, 0, 1])];

    fn origin() -> SocketOrigin {
        SocketOrigin {
            address: address_v4([10, 96, 0, 10]),
            local: address_v4([10, 0, 0, 2]),
            rule: 7,
            port: 8000,
            listener_port: 4000,
            family: FAMILY_V4,
            socket_family: FAMILY_V4,
            ..SocketOrigin::default()
        }
    }

    fn connecting(peer: Endpoint) -> Connecting {
        Connecting { cookie: 42, source: Endpoint::v4([10, 0, 0, 2], 5555), peer, now_ns: 9 }
    }

    #[test]
    fn the_key_is_what_the_listener_sees_and_the_value_what_the_application_asked_for() {
        let (key, value) = publish(&connecting(Endpoint::v4([127, 0, 0, 1], 4000)), &origin()).unwrap();
        assert_eq!((key.cookie, key.source, key.source_port), (42, address_v4([10, 0, 0, 2]), 5555));
        assert_eq!((key.listener_port, key.family), (4000, FAMILY_V4));
        assert_eq!((value.address, value.port, value.family), (address_v4([10, 96, 0, 10]), 8000, FAMILY_V4));
        assert_eq!((value.rule, value.connected_ns), (7, 9));
    }

    #[test]
    fn a_mapped_socket_publishes_its_v4_source() {
        let mut connecting = connecting(Endpoint::v6(mapped(&words_v4([127, 0, 0, 1])), 4000));
        connecting.source = Endpoint::v6(mapped(&words_v4([10, 0, 0, 2])), 5555);
        let (key, _) = publish(&connecting, &origin()).unwrap();
        assert_eq!((key.source, key.family), (address_v4([10, 0, 0, 2]), FAMILY_V4));
    }

    #[test]
    fn a_connection_that_goes_elsewhere_publishes_nothing() {
        assert!(publish(&connecting(Endpoint::v4([127, 0, 0, 1], 4001)), &origin()).is_none(), "another port");
        assert!(publish(&connecting(Endpoint::v4([10, 0, 0, 9], 4000)), &origin()).is_none(), "another address");
        assert!(publish(&connecting(Endpoint::v6(LOOPBACK_V6, 4000)), &origin()).is_none(), "another family");
    }

    #[test]
    fn a_listener_at_the_pods_address_is_a_listener() {
        let pod = "fd00::2".parse::<std::net::Ipv6Addr>().unwrap().octets();
        let origin = SocketOrigin { local: pod, family: FAMILY_V6, socket_family: FAMILY_V6, ..origin() };
        assert!(is_listener(&Endpoint::v6(words(&pod), 4000), &origin));
        assert!(is_listener(&Endpoint::v6(LOOPBACK_V6, 4000), &origin));
        let unknown = SocketOrigin { local: [0; 16], ..origin };
        assert!(!is_listener(&Endpoint::v6(words(&pod), 4000), &unknown));
    }
}
