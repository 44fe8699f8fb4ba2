//! `SKORIG`: what the application asked for, kept at its socket.

use core::ptr::{from_ref, null_mut};

use aya_ebpf::{
    bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    helpers::generated::{bpf_sk_storage_delete, bpf_sk_storage_get},
};
use proxy_common::flow::SocketOrigin;

use crate::maps::SKORIG;

// The safe methods of `SkStorage` take a `SockAddrContext` only; `sock_ops` needs the same of its own socket.
#[inline(always)]
fn storage(socket: *mut bpf_sock, value: *mut SocketOrigin, flags: u64) -> *mut SocketOrigin {
    let map = from_ref(&SKORIG).cast_mut().cast();
    // SAFETY: a map, a socket that the context gave, and a value of the map's type or null.
    unsafe { bpf_sk_storage_get(map, socket.cast(), value.cast(), flags) }.cast()
}

/// The entry, if the socket was redirected.
#[inline(always)]
pub(crate) fn get<'a>(socket: *mut bpf_sock) -> Option<&'a SocketOrigin> {
    // SAFETY: null or a value that lives as long as the socket; only a connect of this same socket, under its lock, writes it.
    unsafe { storage(socket, null_mut(), 0).as_ref() }
}

/// Sets the entry; false if the kernel has no memory for it.
#[inline(always)]
pub(crate) fn set(socket: *mut bpf_sock, origin: &SocketOrigin) -> bool {
    // The kernel takes the value for a new entry only.
    delete(socket);
    !storage(socket, from_ref(origin).cast_mut(), u64::from(BPF_SK_STORAGE_GET_F_CREATE)).is_null()
}

/// Deletes the entry, if there is one.
#[inline(always)]
pub(crate) fn delete(socket: *mut bpf_sock) {
    let map = from_ref(&SKORIG).cast_mut().cast();
    // SAFETY: a map and a socket that the context gave; "no entry" is an answer like another.
    let _ = unsafe { bpf_sk_storage_delete(map, socket.cast()) };
}
