//! Calls of the system and of the allocator that no crate of ours wraps. Comes in: descriptors, paths. Goes out: plain values. Never: policy.

use std::{
    ffi::CString,
    io,
    mem::size_of,
    os::{
        fd::{AsFd, AsRawFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    ptr::null_mut,
};

use tikv_jemalloc_sys::mallctl;
use tokio::io::{Interest, unix::AsyncFd};

/// `SO_NETNS_COOKIE` of a socket (Linux 5.14): the number that `bpf_get_netns_cookie` sees.
///
/// # Errors
/// `ENOPROTOOPT` on an older kernel.
pub(super) fn netns_cookie(socket: &impl AsFd) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut size = size_of::<u64>() as libc::socklen_t;
    // SAFETY: an open descriptor, and a buffer of the size that `size` says.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut size,
        )
    };
    if answer == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

/// Lets the runtime wait until a descriptor has something to read.
///
/// # Errors
/// If it is of a kind that cannot be waited for.
///
/// # Panics
/// Outside a tokio runtime.
pub(crate) fn watch_readable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the `AsyncFd` owns the descriptor, so it stays open and the same for as long as it is registered.
    unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }.map_err(io::Error::from)
}

/// Commands of `bpf(2)` (`enum bpf_cmd`).
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_LINK_DETACH: libc::c_int = 34;

/// The part of `union bpf_attr` for [`BPF_OBJ_GET`].
#[repr(C)]
#[derive(Default)]
struct ObjGet {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// Detaches a pinned BPF link: when this returns its program runs no more, whoever has the link (`BPF_LINK_DETACH`, Linux 5.9). Removing the last pin
/// alone leaves that to a work queue, which frees the link's number first.
///
/// # Errors
/// `EINVAL` if the pin is of something else; `EOPNOTSUPP` for a kind of link that cannot be detached.
pub(crate) fn detach_pinned_link(pin: &Path) -> io::Result<()> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let attributes = ObjGet { pathname: path.as_ptr() as u64, ..ObjGet::default() };
    // SAFETY: a path that ends in NUL and outlives the call, in attributes of the size that is said.
    let descriptor = unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_GET, &raw const attributes, size_of::<ObjGet>()) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just opened it for us.
    let link = unsafe { OwnedFd::from_raw_fd(descriptor as libc::c_int) };
    let number = link.as_raw_fd() as u32;
    // SAFETY: the attributes are the link's descriptor alone, which is open.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, BPF_LINK_DETACH, &raw const number, size_of::<u32>()) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives back to the machine, at once, what this thread's part of the allocator has free. By itself the allocator keeps it for ten seconds in
/// case that it is wanted again, which is right where requests come and go, and wrong after a burst that was the last one for long.
pub(crate) fn give_back_free_memory() {
    let mut arena: libc::c_uint = 0;
    let mut size = size_of::<libc::c_uint>();
    // SAFETY: a name that ends in NUL, and a buffer of the size that `size` says.
    let answer = unsafe { mallctl(c"thread.arena".as_ptr(), (&raw mut arena).cast(), &raw mut size, null_mut(), 0) };
    if answer == 0
        && let Ok(name) = CString::new(format!("arena.{arena}.purge"))
    {
        // SAFETY: a name that ends in NUL. It takes no value and gives none; only what is free is purged.
        unsafe { mallctl(name.as_ptr(), null_mut(), null_mut(), null_mut(), 0) };
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    /// Fails if what is in use is taken away with what is free.
    #[test]
    fn memory_in_use_stays() {
        let used = vec![7_u8; 1 << 20];
        drop(vec![1_u8; 1 << 20]);
        give_back_free_memory();
        assert!(used.iter().all(|byte| *byte == 7));
    }

    #[test]
    fn sockets_of_one_namespace_have_one_cookie() {
        let sockets = [UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap()];
        let [first, second] = sockets.map(|socket| netns_cookie(&socket).unwrap());
        assert_eq!(first, second);
        assert_ne!(first, 0);
    }
}
