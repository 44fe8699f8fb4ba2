//! What the kernel side and the user side of Understudy both know: the keys and values of the BPF maps, the
//! meaning of their flags, the order of the counters.
//!
//! Comes in: nothing. Goes out: plain `repr(C)` data without implicit padding, in the byte order that its name or
//! its field's documentation says. It never contains behaviour beyond construction and comparison, never allocates and
//! depends on nothing (aya's `Pod` marker comes with feature `user`).
//!
//! | module | map | written by | read by |
//! | --- | --- | --- | --- |
//! | [`netns`] | `NETNS` | user side | kernel side |
//! | [`rule`] | `RULES` | user side | kernel side |
//! | [`flow`] | `SKORIG`, `ORIG` | kernel side | both |
//! | [`config`] | `CFG`, `HEARTBEAT` | user side | kernel side |
//! | [`stats`] | `STATS` | kernel side | user side |
//! | [`event`] | `EVENTS` | kernel side | user side |
#![no_std]
#![forbid(unsafe_op_in_unsafe_fn)]

pub mod config;
pub mod event;
pub mod flow;
mod layout;
pub mod netns;
mod pod;
pub mod rule;
pub mod stats;

/// Version of the map layouts. It names the directory of pins in bpffs, so that processes of different layouts never
/// share a map.
pub const ABI: u32 = 1;

/// `AF_INET` as the maps store it.
pub const FAMILY_V4: u8 = 2;
/// `AF_INET6` as the maps store it.
pub const FAMILY_V6: u8 = 10;
/// `IPPROTO_TCP` as the maps store it.
pub const PROTO_TCP: u8 = 6;

/// An IPv4 or IPv6 address in 16 bytes, network byte order. IPv4 fills the first four and leaves the rest zero; the
/// family stands beside it.
pub type Address = [u8; 16];

/// The 16-byte form of an IPv4 address.
#[must_use]
pub const fn address_v4(octets: [u8; 4]) -> Address {
    let [a, b, c, d] = octets;
    [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}
