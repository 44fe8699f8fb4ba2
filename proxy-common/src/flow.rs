//! `SKORIG` and `ORIG`: where a redirected connection wanted to go.
//!
//! `SKORIG` hangs at the application's socket (socket storage) and dies with it; `getpeername` and `sock_ops` read it.
//! `ORIG` is keyed by what the proxy sees after `accept`.

use crate::Address;

/// Value of `SKORIG`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOrigin {
    /// What the application asked for.
    pub address: Address,
    /// The address that the socket would have without us (the pod's), for `getsockname`; all zero = unknown.
    pub local: Address,
    /// Number of the rule.
    pub rule: u32,
    /// Generation of the rule.
    pub generation: u32,
    /// What the application asked for, network byte order.
    pub port: u16,
    /// Port of the listener that took it, network byte order.
    pub listener_port: u16,
    /// Family of `address` and `local`: [`crate::FAMILY_V4`] also for a `::ffff:a.b.c.d` destination.
    pub family: u8,
    /// Family of the application's socket.
    pub socket_family: u8,
    /// Zero.
    pub padding: [u8; 2],
}

/// Key of `ORIG`: the connection as its accepting side sees it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// Cookie of the pod's network namespace.
    pub cookie: u64,
    /// Peer address at the listener.
    pub source: Address,
    /// Peer port at the listener, network byte order.
    pub source_port: u16,
    /// The listener's own port, network byte order.
    pub listener_port: u16,
    /// Family of the connection between the application and the listener.
    pub family: u8,
    /// Zero.
    pub padding: [u8; 3],
}

/// Value of `ORIG`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowOrigin {
    /// What the application asked for.
    pub address: Address,
    /// `CLOCK_MONOTONIC` of the connect, nanoseconds.
    pub connected_ns: u64,
    /// Number of the rule.
    pub rule: u32,
    /// What the application asked for, network byte order.
    pub port: u16,
    /// Family of `address`.
    pub family: u8,
    /// Zero.
    pub padding: u8,
}
