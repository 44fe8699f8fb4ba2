//! Fields of the hooks' contexts. The verifier allows them at constant offsets and in their own width only, so each is one volatile
//! read or write that the compiler may neither merge nor split.

use core::ptr::{addr_of, addr_of_mut, read_volatile, write_volatile};

use aya_ebpf::bindings::{bpf_sock, bpf_sock_addr, bpf_sock_ops};
use proxy_ebpf::{
    address::{Endpoint, Words},
    names::Name,
};

macro_rules! read {
    ($pointer:expr, $($field:tt)+) => {
        // SAFETY: the kernel hands out a valid pointer (for sockets: after a null check), and the verifier proves the access.
        unsafe { read_volatile(addr_of!((*$pointer).$($field)+)) }
    };
}

macro_rules! write {
    ($pointer:expr, $field:ident $([$index:literal])?, $value:expr) => {
        // SAFETY: as for reading; the verifier knows which fields a hook may write.
        unsafe { write_volatile(addr_of_mut!((*$pointer).$field $([$index])?), $value) }
    };
}

macro_rules! read_words {
    ($pointer:expr, $field:ident) => {
        [read!($pointer, $field[0]), read!($pointer, $field[1]), read!($pointer, $field[2]), read!($pointer, $field[3])]
    };
}

/// A 16-bit port in the low bytes (memory order) of a 32-bit field.
#[inline(always)]
fn low_port(field: u32) -> u16 {
    let [a, b, _, _] = field.to_ne_bytes();
    u16::from_ne_bytes([a, b])
}

/// The context of a `cgroup_sock_addr` program: an address that the hook may change, and the socket.
#[derive(Clone, Copy)]
pub(crate) struct SockAddr(pub(crate) *mut bpf_sock_addr);

impl SockAddr {
    /// The address as an IPv4 hook sees it.
    #[inline(always)]
    pub(crate) fn v4(self) -> Endpoint {
        let octets: u32 = read!(self.0, user_ip4);
        Endpoint::v4(octets.to_ne_bytes(), low_port(read!(self.0, user_port)))
    }

    /// The address as an IPv6 hook sees it.
    #[inline(always)]
    pub(crate) fn v6(self) -> Endpoint {
        Endpoint::v6(read_words!(self.0, user_ip6), low_port(read!(self.0, user_port)))
    }

    /// `SOCK_STREAM` over TCP. An MPTCP socket connects through a plain TCP subflow.
    #[inline(always)]
    pub(crate) fn is_tcp(self) -> bool {
        const SOCK_STREAM: u32 = 1;
        const IPPROTO_TCP: u32 = 6;
        let (kind, protocol): (u32, u32) = (read!(self.0, type_), read!(self.0, protocol));
        kind == SOCK_STREAM && protocol == IPPROTO_TCP
    }

    /// The socket; never null in these hooks.
    #[inline(always)]
    pub(crate) fn socket(self) -> *mut bpf_sock {
        read!(self.0, __bindgen_anon_1.sk)
    }

    /// Writes the address. The family is known when the program is compiled: the verifier refuses an offset that is chosen later.
    #[inline(always)]
    pub(crate) fn set<const V6: bool>(self, words: &Words) {
        if V6 {
            write!(self.0, user_ip6[0], words[0]);
            write!(self.0, user_ip6[1], words[1]);
            write!(self.0, user_ip6[2], words[2]);
            write!(self.0, user_ip6[3], words[3]);
        } else {
            write!(self.0, user_ip4, words[0]);
        }
    }

    #[inline(always)]
    pub(crate) fn set_port(self, port: u16) {
        let [a, b] = port.to_ne_bytes();
        write!(self.0, user_port, u32::from_ne_bytes([a, b, 0, 0]));
    }

    /// Answers another name.
    #[inline(always)]
    pub(crate) fn set_name<const V6: bool>(self, name: &Name) {
        self.set::<V6>(&name.address);
        if let Some(port) = name.port {
            self.set_port(port);
        }
    }
}

/// `SO_MARK`.
#[inline(always)]
pub(crate) fn mark(socket: *mut bpf_sock) -> u32 {
    read!(socket, mark)
}

/// `SO_BINDTODEVICE`.
#[inline(always)]
pub(crate) fn bound_device(socket: *mut bpf_sock) -> u32 {
    read!(socket, bound_dev_if)
}

/// `TCP_*` state.
#[inline(always)]
pub(crate) fn state(socket: *mut bpf_sock) -> u32 {
    read!(socket, state)
}

/// The address that the socket is bound to; its port is in host byte order, good for a comparison with zero only.
#[inline(always)]
pub(crate) fn source(socket: *mut bpf_sock, v6: bool) -> Endpoint {
    let port: u32 = read!(socket, src_port);
    if v6 {
        return Endpoint::v6(read_words!(socket, src_ip6), port as u16);
    }
    let octets: u32 = read!(socket, src_ip4);
    Endpoint::v4(octets.to_ne_bytes(), port as u16)
}

/// The peer's port, network byte order.
#[inline(always)]
pub(crate) fn peer_port(socket: *mut bpf_sock) -> u16 {
    read!(socket, dst_port)
}

/// The context of a `sock_ops` program.
#[derive(Clone, Copy)]
pub(crate) struct SockOps(pub(crate) *mut bpf_sock_ops);

impl SockOps {
    #[inline(always)]
    pub(crate) fn op(self) -> u32 {
        read!(self.0, op)
    }

    /// The socket; null while it is not a full one.
    #[inline(always)]
    pub(crate) fn socket(self) -> *mut bpf_sock {
        read!(self.0, __bindgen_anon_2.sk)
    }

    /// The connection's own end, in the family that goes over the wire.
    #[inline(always)]
    pub(crate) fn source(self, v4: bool) -> Endpoint {
        // The kernel gives this one in host byte order.
        let port = (read!(self.0, local_port) as u16).to_be();
        if v4 {
            let octets: u32 = read!(self.0, local_ip4);
            return Endpoint::v4(octets.to_ne_bytes(), port);
        }
        Endpoint::v6(read_words!(self.0, local_ip6), port)
    }

    /// The connection's other end, likewise.
    #[inline(always)]
    pub(crate) fn peer(self, v4: bool) -> Endpoint {
        // Sixteen bits in network byte order, at the end of the field in memory order (net/core/filter.c shifts them there).
        let [_, _, a, b] = u32::to_ne_bytes(read!(self.0, remote_port));
        let port = u16::from_ne_bytes([a, b]);
        if v4 {
            let octets: u32 = read!(self.0, remote_ip4);
            return Endpoint::v4(octets.to_ne_bytes(), port);
        }
        Endpoint::v6(read_words!(self.0, remote_ip6), port)
    }
}
