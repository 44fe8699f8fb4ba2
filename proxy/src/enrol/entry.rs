//! What the connect hook is told of a pod.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proxy_common::netns::{BIND_V4, BIND_V6, HAS_V4, HAS_V6, NetnsEntry};

use crate::net::listener::Addresses;

/// The entry for listeners at these addresses in a pod with these IPs. A listener counts only if the pod has an address of its family: what
/// cannot connect to an address family natively shall go on failing at once. Redirected sockets are bound to the pod's first address of their
/// family, so that `getsockname` and the peer of the proxy's upstream agree.
pub(super) fn build(listeners: &Addresses, ips: &[IpAddr], generation: u32) -> NetnsEntry {
    let v4 = ips.iter().find_map(|ip| if let IpAddr::V4(v4) = ip { Some(*v4) } else { None });
    let v6 = ips.iter().find_map(|ip| if let IpAddr::V6(v6) = ip { Some(*v6) } else { None });
    let port = |address: Option<SocketAddr>| address.map_or(0, |address| address.port().to_be());
    let listen6 = match listeners.v6 {
        Some(SocketAddr::V6(address)) => *address.ip(),
        _ => Ipv6Addr::UNSPECIFIED,
    };
    let flag = |set: bool, flag: u32| if set { flag } else { 0 };
    NetnsEntry {
        ip6: v6.unwrap_or(Ipv6Addr::UNSPECIFIED).octets(),
        listen6: listen6.octets(),
        ip4: v4.unwrap_or(Ipv4Addr::UNSPECIFIED).octets(),
        flags: flag(listeners.v4.is_some() && v4.is_some(), HAS_V4)
            | flag(listeners.v6.is_some() && v6.is_some(), HAS_V6)
            | flag(v4.is_some(), BIND_V4)
            | flag(v6.is_some(), BIND_V6),
        port4: port(listeners.v4),
        port6: port(listeners.v6),
        generation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_dual_stack_pod_has_both_listeners_and_both_addresses() {
        let listeners = Addresses { v4: "127.0.0.1:4004".parse().ok(), v6: "[::1]:4006".parse().ok() };
        let entry = build(&listeners, &ips(&["fd00::2", "10.0.0.2", "10.0.0.3"]), 9);
        assert_eq!((entry.ip4, entry.ip6), ([10, 0, 0, 2], "fd00::2".parse::<Ipv6Addr>().unwrap().octets()));
        assert_eq!(entry.listen6, Ipv6Addr::LOCALHOST.octets());
        assert_eq!(entry.flags, HAS_V4 | HAS_V6 | BIND_V4 | BIND_V6);
        assert_eq!(
            (entry.port4.to_ne_bytes(), entry.port6.to_ne_bytes()),
            (4004_u16.to_be_bytes(), 4006_u16.to_be_bytes())
        );
        assert_eq!(entry.generation, 9);
    }

    #[test]
    fn what_a_pod_does_not_have_is_not_claimed() {
        let listeners = Addresses { v4: "127.0.0.1:4004".parse().ok(), v6: None };
        let entry = build(&listeners, &ips(&["10.0.0.2"]), 1);
        assert_eq!(entry.flags, HAS_V4 | BIND_V4);
        assert_eq!((entry.port6, entry.listen6, entry.ip6), (0, [0; 16], [0; 16]));
    }

    /// Every namespace has `127.0.0.1` and mostly `::1`, so both listeners open in a pod of one family. Mutation that breaks it: asking for
    /// the listeners alone.
    #[test]
    fn a_listener_is_not_told_where_the_pod_has_no_address_of_its_family() {
        let listeners = Addresses { v4: "127.0.0.1:4004".parse().ok(), v6: "[::1]:4006".parse().ok() };
        assert_eq!(build(&listeners, &ips(&["10.0.0.2"]), 1).flags, HAS_V4 | BIND_V4);
        assert_eq!(build(&listeners, &ips(&["fd00::2"]), 1).flags, HAS_V6 | BIND_V6);
    }

    #[test]
    fn a_pod_without_loopback_for_ipv6_listens_at_its_own_address() {
        let listeners = Addresses { v4: None, v6: "[fd00::2]:4006".parse().ok() };
        let entry = build(&listeners, &ips(&["fd00::2"]), 1);
        assert_eq!(entry.flags, HAS_V6 | BIND_V6);
        assert_eq!(entry.listen6, entry.ip6);
    }
}
