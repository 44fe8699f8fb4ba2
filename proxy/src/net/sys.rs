//! System calls that no crate of ours wraps. Comes in: descriptors. Goes out: plain values. Never: policy.

use std::{
    io,
    mem::size_of,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

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

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn sockets_of_one_namespace_have_one_cookie() {
        let sockets = [UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap()];
        let [first, second] = sockets.map(|socket| netns_cookie(&socket).unwrap());
        assert_eq!(first, second);
        assert_ne!(first, 0);
    }
}
