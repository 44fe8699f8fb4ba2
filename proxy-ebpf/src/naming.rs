//! `cgroup/getpeername4|6` and `cgroup/getsockname4|6`: the application sees the names that it would see without us.

use aya_ebpf::programs::SockAddrContext;
use proxy_ebpf::{address::Endpoint, names};

use crate::{
    context::{self, SockAddr},
    origin,
};

#[inline(always)]
fn present<const V6: bool>(address: SockAddr) -> Endpoint {
    if V6 { address.v6() } else { address.v4() }
}

#[inline(always)]
pub(crate) fn peer<const V6: bool>(context: &SockAddrContext) {
    let address = SockAddr(context.sock_addr);
    let Some(origin) = origin::get(address.socket()) else { return };
    if let Some(name) = names::peer(&present::<V6>(address), origin) {
        address.set_name::<V6>(&name);
    }
}

#[inline(always)]
pub(crate) fn local<const V6: bool>(context: &SockAddrContext) {
    let address = SockAddr(context.sock_addr);
    let socket = address.socket();
    let Some(origin) = origin::get(socket) else { return };
    if let Some(name) = names::local(&present::<V6>(address), context::peer_port(socket), origin) {
        address.set_name::<V6>(&name);
    }
}
