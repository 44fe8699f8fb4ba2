//! `sock_ops`: publishes the original destination before the SYN leaves, so that the proxy finds it when it accepts.

use aya_ebpf::{
    EbpfContext,
    bindings::BPF_SOCK_OPS_TCP_CONNECT_CB,
    helpers::{bpf_get_netns_cookie, bpf_ktime_get_ns},
    programs::SockOpsContext,
};
use aya_log_ebpf::debug;
use proxy_common::{FAMILY_V4, event::Event, stats::Counter};
use proxy_ebpf::publish::{Connecting, publish};

use crate::{context::SockOps, count, maps::ORIG, origin};

#[inline(always)]
pub(crate) fn on(context: &SockOpsContext) {
    let ops = SockOps(context.ops);
    if ops.op() != BPF_SOCK_OPS_TCP_CONNECT_CB {
        return;
    }
    let socket = ops.socket();
    if socket.is_null() {
        return;
    }
    let Some(origin) = origin::get(socket) else { return };
    let v4 = origin.family == FAMILY_V4;
    // SAFETY: the context of this program.
    let cookie = unsafe { bpf_get_netns_cookie(context.as_ptr()) };
    // SAFETY: a helper without arguments.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    let connecting = Connecting { cookie, source: ops.source(v4), peer: ops.peer(v4), now_ns };
    let Some((key, value)) = publish(&connecting, origin) else { return };
    if ORIG.insert(key, value, 0).is_err() {
        debug!(context, "netns {}: no room for an original destination", cookie);
        count::count(Counter::PublishFailed);
        count::report(&Event {
            cookie,
            address: origin.address,
            counter: Counter::PublishFailed as u32,
            rule: origin.rule,
            port: origin.port,
            family: origin.family,
            denied: 0,
            padding: 0,
        });
    }
}
