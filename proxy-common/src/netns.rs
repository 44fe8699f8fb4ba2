//! `NETNS`: which network namespaces are enrolled and where their listener is.

use crate::Address;

/// The pod has an IPv4 address, and a listener at `127.0.0.1:port4`.
pub const HAS_V4: u32 = 1;
/// The pod has an IPv6 address, and a listener at `[listen6]:port6`.
pub const HAS_V6: u32 = 1 << 1;
/// Bind redirected IPv4 sockets to `ip4`, so that `getsockname` answers the pod's address.
pub const BIND_V4: u32 = 1 << 2;
/// Bind redirected IPv6 sockets to `ip6`.
pub const BIND_V6: u32 = 1 << 3;

/// Value of `NETNS`; the key is the namespace's cookie (`SO_NETNS_COOKIE`), a `u64` in host byte order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetnsEntry {
    /// Pod address for IPv6.
    pub ip6: Address,
    /// Where the IPv6 listener is: `::1`, or the pod's address where `::1` is missing.
    pub listen6: Address,
    /// Pod address for IPv4, network byte order.
    pub ip4: [u8; 4],
    /// `HAS_*` and `BIND_*`.
    pub flags: u32,
    /// Port of the IPv4 listener, network byte order.
    pub port4: u16,
    /// Port of the IPv6 listener, network byte order.
    pub port6: u16,
    /// Counts enrolments of this process, to tell a new entry from an old one of the same namespace.
    pub generation: u32,
}
