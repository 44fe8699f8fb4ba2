//! `cgroup/connect4|6`: answers the questions of `decide` from maps and helpers, and does what it says.

use core::{mem::size_of, ptr::addr_of_mut};

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_F_CURRENT_NETNS, bpf_sock_tuple, sockaddr},
    helpers::{bpf_bind, bpf_get_netns_cookie, bpf_ktime_get_ns, bpf_sk_lookup_tcp, bpf_sk_release},
    programs::SockAddrContext,
};
use aya_log_ebpf::debug;
use proxy_common::{
    FAMILY_V4, FAMILY_V6, config::CaptureConfig, event::Event, netns::NetnsEntry, rule::RuleEntry, stats::Counter,
};
use proxy_ebpf::{
    address::{Endpoint, Words, from_words},
    decide::{self, Found, Kernel, Redirect, Source, Verdict, connect, listener, rule_key},
};

use crate::{
    context::{self, SockAddr},
    count,
    maps::{CFG, HEARTBEAT, NETNS, RULES},
    origin,
};

/// What a hook returns to let the connect go on.
const ALLOW: i32 = 1;
/// What it returns for `EPERM`.
const REFUSE: i32 = 0;

/// The kernel, for one connect.
struct Attempt<'a> {
    context: &'a SockAddrContext,
    address: SockAddr,
    to: Endpoint,
    cookie: u64,
}

#[inline(always)]
pub(crate) fn v4(context: &SockAddrContext) -> i32 {
    let address = SockAddr(context.sock_addr);
    if !address.is_tcp() {
        return ALLOW;
    }
    run::<false>(context, address, address.v4())
}

#[inline(always)]
pub(crate) fn v6(context: &SockAddrContext) -> i32 {
    let address = SockAddr(context.sock_addr);
    if !address.is_tcp() {
        return ALLOW;
    }
    run::<true>(context, address, address.v6())
}

#[inline(always)]
fn run<const V6: bool>(context: &SockAddrContext, address: SockAddr, to: Endpoint) -> i32 {
    // SAFETY: the context of this program; the cookie is that of the socket's namespace (a null context would mean the first one).
    let cookie = unsafe { bpf_get_netns_cookie(context.as_ptr()) };
    match connect(&Attempt { context, address, to, cookie }, &to) {
        Verdict::Pass => ALLOW,
        Verdict::Deny => {
            debug!(context, "netns {}: connect refused", cookie);
            REFUSE
        }
        Verdict::Redirect(redirect) => {
            go::<V6>(context, address, &to, &redirect);
            debug!(context, "netns {}: connect redirected", cookie);
            ALLOW
        }
    }
}

/// Binds and rewrites. This and the other functions that are not inlined share the hook's 512 bytes of stack one after the other.
#[inline(never)]
fn go<const V6: bool>(context: &SockAddrContext, address: SockAddr, to: &Endpoint, redirect: &Redirect<'_>) {
    if redirect.bind && !bind::<V6>(context, &redirect.source(to)) {
        count::count(Counter::BindFailed);
    }
    let (listener, port) = redirect.destination(to);
    address.set::<V6>(&listener);
    address.set_port(port);
}

/// `struct sockaddr_in6`; its head is a `sockaddr_in`, whose address lies where the flow information is.
#[repr(C)]
struct SocketAddress {
    family: u16,
    port: u16,
    flow_or_v4: u32,
    v6: [u32; 4],
    scope: u32,
}

/// Binds to an address and no port: the kernel picks the port at connect, as it would have done.
#[inline(always)]
fn bind<const V6: bool>(context: &SockAddrContext, source: &Words) -> bool {
    const V4_SIZE: i32 = 16;
    let mut name = if V6 {
        SocketAddress { family: u16::from(FAMILY_V6), port: 0, flow_or_v4: 0, v6: *source, scope: 0 }
    } else {
        SocketAddress { family: u16::from(FAMILY_V4), port: 0, flow_or_v4: source[0], v6: [0; 4], scope: 0 }
    };
    let size = if V6 { size_of::<SocketAddress>() as i32 } else { V4_SIZE };
    // SAFETY: the context of this program and a socket address of that size on the stack.
    unsafe { bpf_bind(context.sock_addr, addr_of_mut!(name).cast::<sockaddr>(), size) == 0 }
}

/// Writes `SKORIG`.
#[inline(never)]
fn store(address: SockAddr, netns: &NetnsEntry, to: &Endpoint, rule: &RuleEntry, source: Source) -> bool {
    origin::set(address.socket(), &decide::origin(netns, to, rule, source))
}

/// The TCP socket that a connection from the same namespace would reach.
#[inline(never)]
fn look_up(context: &SockAddrContext, netns: &NetnsEntry, family: u8) -> Option<Found> {
    let at = listener(netns, family);
    // The layouts of `bpf_sock_tuple`: source, destination, source port, destination port, as an arriving packet has them.
    let mut tuple = [0_u32; 9];
    let port = {
        let [a, b] = at.port.to_ne_bytes();
        u32::from_ne_bytes([0, 0, a, b])
    };
    let words = at.address;
    let size = if at.family == FAMILY_V4 {
        tuple[1] = words[0];
        tuple[2] = port;
        12
    } else {
        tuple[4] = words[0];
        tuple[5] = words[1];
        tuple[6] = words[2];
        tuple[7] = words[3];
        tuple[8] = port;
        36
    };
    // SAFETY: the context of this program and a tuple of that size on the stack. The socket is null or released below.
    unsafe {
        let found = bpf_sk_lookup_tcp(
            context.as_ptr(),
            addr_of_mut!(tuple).cast::<bpf_sock_tuple>(),
            size,
            BPF_F_CURRENT_NETNS as u64,
            0,
        );
        if found.is_null() {
            return None;
        }
        let answer = Found { state: context::state(found), mark: context::mark(found) };
        bpf_sk_release(found.cast());
        Some(answer)
    }
}

impl Kernel for Attempt<'_> {
    #[inline(always)]
    fn config(&self) -> Option<&CaptureConfig> {
        CFG.get(0)
    }

    #[inline(always)]
    fn netns(&self) -> Option<&NetnsEntry> {
        // SAFETY: an update replaces the whole entry; one that is deleted meanwhile stays readable until we return.
        unsafe { NETNS.get(self.cookie) }
    }

    #[inline(always)]
    fn marks(&self) -> (u32, u32) {
        let socket = self.address.socket();
        (context::mark(socket), context::bound_device(socket))
    }

    #[inline(always)]
    fn source(&self) -> Source {
        Source::of(&context::source(self.address.socket(), self.to.socket_family == FAMILY_V6))
    }

    #[inline(always)]
    fn rule(&self, to: &Endpoint) -> Option<&RuleEntry> {
        // SAFETY: as for `netns`.
        unsafe { RULES.get(rule_key(to)) }
    }

    #[inline(always)]
    fn heartbeat_age(&self) -> u64 {
        // SAFETY: a pointer into the map; the user side writes all eight bytes at once.
        let beat = HEARTBEAT.get_ptr(0).map_or(0, |beat| unsafe { beat.read_volatile() });
        if beat == 0 {
            return u64::MAX;
        }
        // SAFETY: a helper without arguments.
        unsafe { bpf_ktime_get_ns() }.saturating_sub(beat)
    }

    #[inline(always)]
    fn listener(&self, netns: &NetnsEntry, family: u8) -> Option<Found> {
        look_up(self.context, netns, family)
    }

    #[inline(always)]
    fn remember(&self, netns: &NetnsEntry, to: &Endpoint, rule: &RuleEntry, source: Source) -> bool {
        store(self.address, netns, to, rule, source)
    }

    #[inline(always)]
    fn forget(&self) {
        origin::delete(self.address.socket());
    }

    #[inline(always)]
    fn count(&self, counter: Counter) {
        count::count(counter);
    }

    #[inline(always)]
    fn report(&self, counter: Counter, rule: u32, denied: bool) {
        count::report(&Event {
            cookie: self.cookie,
            address: from_words(self.to.address),
            counter: counter as u32,
            rule,
            port: self.to.port,
            family: self.to.family,
            denied: u8::from(denied),
            padding: 0,
        });
    }
}
