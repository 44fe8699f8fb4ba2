//! Addresses as the hooks see them: which tables they belong to, and what never leaves the pod.
//!
//! All ports and addresses are in network byte order. IPv4 in its IPv6 clothes (`::ffff:a.b.c.d`, RFC 4291 2.5.5.2) belongs to the
//! IPv4 tables, whatever the family of the socket.

use proxy_common::{Address, FAMILY_V4, FAMILY_V6};

/// An address as the hooks handle it: four 32-bit words with the bytes in memory order. Sixteen single bytes would overflow the stack
/// of a BPF program.
pub type Words = [u32; 4];

/// `127.0.0.1`.
pub const LOOPBACK_V4: [u8; 4] = [127, 0, 0, 1];
const ONE: u32 = u32::from_ne_bytes([0, 0, 0, 1]);
const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

/// The four 32-bit words of an address, bytes in memory order.
#[inline(always)]
#[must_use]
pub fn words(address: &Address) -> Words {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *address;
    [
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
        u32::from_ne_bytes([i, j, k, l]),
        u32::from_ne_bytes([m, n, o, p]),
    ]
}

/// The address that these words spell.
#[inline(always)]
#[must_use]
pub fn from_words(words: Words) -> Address {
    let [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]] = words.map(u32::to_ne_bytes);
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

/// Equality, word by word: the BPF target has no cheap `memcmp`.
#[inline(always)]
#[must_use]
pub fn same(a: &Words, b: &Words) -> bool {
    a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3]
}

/// All zero: unspecified, or "not known".
#[inline(always)]
#[must_use]
pub fn is_zero(words: &Words) -> bool {
    words[0] | words[1] | words[2] | words[3] == 0
}

/// The words of an IPv4 address.
#[inline(always)]
#[must_use]
pub fn words_v4(octets: [u8; 4]) -> Words {
    [u32::from_ne_bytes(octets), 0, 0, 0]
}

/// One end of a connection, with the family of the tables that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// IPv4 in the first word, or IPv6.
    pub address: Words,
    /// Network byte order.
    pub port: u16,
    /// [`FAMILY_V4`] also for `::ffff:a.b.c.d`.
    pub family: u8,
    /// Family of the socket.
    pub socket_family: u8,
}

impl Endpoint {
    /// An address of an `AF_INET` socket.
    #[inline(always)]
    #[must_use]
    pub fn v4(octets: [u8; 4], port: u16) -> Self {
        Self { address: words_v4(octets), port, family: FAMILY_V4, socket_family: FAMILY_V4 }
    }

    /// An address of an `AF_INET6` socket, mapped IPv4 included.
    #[inline(always)]
    #[must_use]
    pub fn v6(address: Words, port: u16) -> Self {
        if address[0] == 0 && address[1] == 0 && address[2] == MAPPED {
            let address = [address[3], 0, 0, 0];
            return Self { address, port, family: FAMILY_V4, socket_family: FAMILY_V6 };
        }
        Self { address, port, family: FAMILY_V6, socket_family: FAMILY_V6 }
    }

    /// Loopback (127.0.0.0/8, `::1`).
    #[inline(always)]
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        if self.family == FAMILY_V4 {
            self.address[0].to_ne_bytes()[0] == 127
        } else {
            same(&self.address, &[0, 0, 0, ONE])
        }
    }

    /// The unspecified address (Linux connects it to loopback).
    #[inline(always)]
    #[must_use]
    pub fn is_unspecified(&self) -> bool {
        is_zero(&self.address)
    }
}

/// What an `AF_INET6` socket shows for an IPv4 address.
#[inline(always)]
#[must_use]
pub fn mapped(address: &Words) -> Words {
    [0, 0, MAPPED, address[0]]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip6(text: &str) -> Words {
        words(&text.parse::<std::net::Ipv6Addr>().unwrap().octets())
    }

    fn v6(text: &str) -> Endpoint {
        Endpoint::v6(ip6(text), 80)
    }

    #[test]
    fn words_and_back_is_the_same_address() {
        let address = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
        assert_eq!(from_words(words(&address)), address);
    }

    #[test]
    fn a_mapped_address_belongs_to_the_v4_tables_and_keeps_its_socket_family() {
        let endpoint = v6("::ffff:10.96.0.10");
        assert_eq!((endpoint.family, endpoint.socket_family), (FAMILY_V4, FAMILY_V6));
        assert_eq!(endpoint.address, words_v4([10, 96, 0, 10]));
        assert_eq!(mapped(&endpoint.address), ip6("::ffff:10.96.0.10"));
    }

    #[test]
    fn a_v4_compatible_or_translated_address_is_not_mapped() {
        for text in ["::10.96.0.10", "64:ff9b::10.96.0.10", "::ffff:0:10.96.0.10"] {
            assert_eq!(v6(text).family, FAMILY_V6, "{text}");
        }
    }

    #[test]
    fn loopback_is_all_of_127_and_colon_colon_one_in_every_form() {
        assert!(Endpoint::v4([127, 0, 0, 1], 1).is_loopback());
        assert!(Endpoint::v4([127, 255, 3, 4], 1).is_loopback());
        assert!(v6("::1").is_loopback());
        assert!(v6("::ffff:127.0.0.2").is_loopback());
        assert!(!v6("::2").is_loopback());
        assert!(!v6("7f00::1").is_loopback(), "the first byte decides for IPv4 only");
        assert!(!Endpoint::v4([128, 0, 0, 1], 1).is_loopback());
    }

    #[test]
    fn unspecified_is_zero_in_every_form() {
        assert!(Endpoint::v4([0; 4], 1).is_unspecified());
        assert!(v6("::").is_unspecified());
        assert!(v6("::ffff:0.0.0.0").is_unspecified());
        assert!(!v6("::1").is_unspecified());
    }
}
