//! Entry points of the BPF object, one per hook. All attach to the cgroup2 root of the node; what they decide is in the library.
//!
//! | program | hook | does |
//! | --- | --- | --- |
//! | `connect4`, `connect6` | before a connect picks its route | sends connections with a rule to the pod's listener |
//! | `getpeername4|6`, `getsockname4|6` | the calls of that name | answer as if the connection had not been sent there |
//! | `publish` | `sock_ops`, before the SYN | publishes where the connection wanted to go |
// For the host this is an empty program, so that clippy and the workspace's builds can look at it.
#![cfg_attr(target_arch = "bpf", no_std)]
#![cfg_attr(target_arch = "bpf", no_main)]

mod connect;
mod context;
mod count;
mod maps;
mod naming;
mod origin;
mod publishing;

use aya_ebpf::{
    macros::{cgroup_sock_addr, sock_ops},
    programs::{SockAddrContext, SockOpsContext},
};

/// Answer of a hook that lets the call go on.
const GO_ON: i32 = 1;

#[cgroup_sock_addr(connect4)]
fn connect4(context: SockAddrContext) -> i32 {
    connect::v4(&context)
}

#[cgroup_sock_addr(connect6)]
fn connect6(context: SockAddrContext) -> i32 {
    connect::v6(&context)
}

#[cgroup_sock_addr(getpeername4)]
fn getpeername4(context: SockAddrContext) -> i32 {
    naming::peer::<false>(&context);
    GO_ON
}

#[cgroup_sock_addr(getpeername6)]
fn getpeername6(context: SockAddrContext) -> i32 {
    naming::peer::<true>(&context);
    GO_ON
}

#[cgroup_sock_addr(getsockname4)]
fn getsockname4(context: SockAddrContext) -> i32 {
    naming::local::<false>(&context);
    GO_ON
}

#[cgroup_sock_addr(getsockname6)]
fn getsockname6(context: SockAddrContext) -> i32 {
    naming::local::<true>(&context);
    GO_ON
}

#[sock_ops]
fn publish(context: SockOpsContext) -> u32 {
    publishing::on(&context);
    GO_ON as u32
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Some helpers are for programs with a licence that the kernel takes for the GPL's.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(target_arch = "bpf"))]
fn main() {}
