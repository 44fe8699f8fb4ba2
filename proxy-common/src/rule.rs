//! `RULES`: the destinations that have a rule.

use crate::{Address, FAMILY_V4, FAMILY_V6, PROTO_TCP, address_v4};

/// While the proxy cannot take the connection, `connect` fails with `EPERM` instead of going on untouched.
pub const CLOSED: u32 = 1;

/// Key of `RULES`: a destination as the application names it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleKey {
    /// Destination address.
    pub address: Address,
    /// Destination port, network byte order.
    pub port: u16,
    /// [`FAMILY_V4`] or [`FAMILY_V6`].
    pub family: u8,
    /// [`PROTO_TCP`].
    pub protocol: u8,
}

impl RuleKey {
    /// The key of an IPv4 destination; `port` in network byte order.
    #[must_use]
    pub const fn v4(octets: [u8; 4], port: u16) -> Self {
        Self { address: address_v4(octets), port, family: FAMILY_V4, protocol: PROTO_TCP }
    }

    /// The key of an IPv6 destination; `port` in network byte order.
    #[must_use]
    pub const fn v6(octets: Address, port: u16) -> Self {
        Self { address: octets, port, family: FAMILY_V6, protocol: PROTO_TCP }
    }
}

/// Value of `RULES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleEntry {
    /// Number of the rule's Service port in the table of this generation; for counters and events, never for routing.
    pub rule: u32,
    /// [`CLOSED`] or nothing.
    pub flags: u32,
    /// Low half of the generation of the table that wrote the entry; an entry that a reload does not change keeps it.
    pub generation: u32,
}
