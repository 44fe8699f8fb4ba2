//! Makes sockets inside pods' namespaces. One thread of its own does all of it, because `setns` moves a thread, and a thread of the
//! runtime that came back to the wrong namespace would give one pod's traffic to another.
//!
//! Comes in: a namespace and what to make. Goes out: sockets that carry our mark and stay in that namespace for life. Never: a
//! connection attempt, a wait for the network.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    os::fd::AsRawFd as _,
    process,
    sync::{Arc, mpsc},
    thread,
};

use nix::{
    ifaddrs::getifaddrs,
    sched::{CloneFlags, setns},
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::TcpSocket, sync::oneshot};

use super::{Dscp, Mark, NetError, Netns, NetnsCookie, sys};

/// Address family of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// `AF_INET`.
    V4,
    /// `AF_INET6`, IPv6 only.
    V6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub fn of(address: &SocketAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    fn domain(self) -> Domain {
        match self {
            Self::V4 => Domain::IPV4,
            Self::V6 => Domain::IPV6,
        }
    }
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Carries a primary: left as the kernel makes it.
    Primary,
    /// Carries shadows: it yields on the wire and in memory. Its packets have this code point, so that a network can drop them first, and its
    /// buffers are small.
    Shadow(Dscp),
}

/// What the kernel may hold of a shadow in each direction; it counts its own bookkeeping as well and doubles the number for that (socket(7)).
const SHADOW_BUFFER: usize = 128 << 10;
/// Unsent bytes of a shadow above which its socket takes no more: they wait where they are counted, and can be given up.
const SHADOW_UNSENT: u32 = 16 << 10;

/// A handle to the factory's thread; clones share it. The thread ends with the last handle.
#[derive(Clone, Debug)]
pub struct SocketFactory {
    jobs: mpsc::Sender<(Arc<Netns>, Work)>,
    mark: Mark,
    shadow_descriptors: u32,
}

/// What to do inside a namespace, told whether it could be entered.
struct Work(Box<dyn FnOnce(Result<(), NetError>) + Send>);

impl SocketFactory {
    /// Starts the thread; every socket will carry `mark`. A shadow gets none while more than `shadow_descriptors` are open in this process.
    ///
    /// # Errors
    /// If the own namespace cannot be opened or the thread cannot be started.
    pub fn start(mark: Mark, shadow_descriptors: u32) -> Result<Self, NetError> {
        let home = Netns::open("/proc/self/ns/net")?;
        let (jobs, queue) = mpsc::channel::<(Arc<Netns>, Work)>();
        thread::Builder::new()
            .name("socket-factory".to_owned())
            .spawn(move || {
                for (netns, work) in queue {
                    visit(&home, &netns, work);
                }
            })
            .map_err(|source| NetError::Socket {
                doing: "start the socket factory's thread",
                path: "/proc/self/ns/net".into(),
                source,
            })?;
        Ok(Self { jobs, mark, shadow_descriptors })
    }

    /// A non-blocking TCP socket of the namespace, not connected. It carries our mark; a shadow's also its DSCP.
    ///
    /// # Errors
    /// If the namespace cannot be entered or the socket not made; `EMFILE` is one of the reasons. [`NetError::Reserved`] for a shadow that would
    /// take a descriptor that primaries may need.
    pub async fn stream(&self, netns: &Arc<Netns>, family: Family, class: Class) -> Result<TcpSocket, NetError> {
        let (mark, shadow_descriptors) = (self.mark, self.shadow_descriptors);
        let socket = self
            .inside(netns, "make a socket", move || {
                let socket = Socket::new(family.domain(), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
                socket.set_mark(mark.value)?;
                if let Class::Shadow(dscp) = class {
                    yields(&socket, dscp, family)?;
                }
                Ok(socket)
            })
            .await?;
        // The kernel gives the lowest number that is free (open(2)), so all below this one are in use: a count that costs nothing.
        let open = socket.as_raw_fd().unsigned_abs();
        if class != Class::Primary && open >= shadow_descriptors {
            return Err(NetError::Reserved { open });
        }
        Ok(TcpSocket::from_std_stream(socket.into()))
    }

    /// A non-blocking TCP listener of the namespace, with our mark.
    ///
    /// # Errors
    /// As for [`SocketFactory::stream`]; `EADDRNOTAVAIL` and `EAFNOSUPPORT` tell that the namespace has no such address or family.
    pub async fn listener(&self, netns: &Arc<Netns>, address: SocketAddr) -> Result<TcpListener, NetError> {
        let mark = self.mark;
        self.inside(netns, "open a listener", move || {
            let family = Family::of(&address);
            let socket = Socket::new(family.domain(), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
            socket.set_mark(mark.value)?;
            if family == Family::V6 {
                socket.set_only_v6(true)?;
            }
            socket.bind(&address.into())?;
            // The namespace's net.core.somaxconn limits it further.
            socket.listen(4096)?;
            Ok(socket.into())
        })
        .await
    }

    /// The namespace's identity in BPF maps.
    ///
    /// # Errors
    /// As for [`SocketFactory::stream`]; `ENOPROTOOPT` on kernels before 5.14.
    pub async fn cookie(&self, netns: &Arc<Netns>) -> Result<NetnsCookie, NetError> {
        self.inside(netns, "ask for the cookie", || {
            let socket = Socket::new(Domain::UNIX, Type::DGRAM.cloexec(), None)?;
            sys::netns_cookie(&socket).map(NetnsCookie)
        })
        .await
    }

    /// Every address of every interface of the namespace.
    ///
    /// # Errors
    /// As for [`SocketFactory::stream`].
    pub async fn addresses(&self, netns: &Arc<Netns>) -> Result<Vec<IpAddr>, NetError> {
        self.inside(netns, "list the addresses", || {
            let addresses = getifaddrs()?.filter_map(|interface| {
                let address = interface.address?;
                let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
                v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
            });
            Ok(addresses.collect())
        })
        .await
    }

    /// Runs a short piece of work on the factory's thread, inside the namespace.
    async fn inside<T, F>(&self, netns: &Arc<Netns>, doing: &'static str, work: F) -> Result<T, NetError>
    where
        T: Send + 'static,
        F: FnOnce() -> io::Result<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let path = netns.path().to_owned();
        let work = Work(Box::new(move |entered| {
            let result = entered.and_then(|()| work().map_err(|source| NetError::Socket { doing, path, source }));
            // Who asked may have given up: what was made is closed again.
            let _ = answer.send(result);
        }));
        self.jobs.send((Arc::clone(netns), work)).map_err(|_| NetError::Gone)?;
        answered.await.map_err(|_| NetError::Gone)?
    }
}

/// Makes a socket yield to others, on the wire and in memory.
fn yields(socket: &Socket, dscp: Dscp, family: Family) -> io::Result<()> {
    socket.set_send_buffer_size(SHADOW_BUFFER)?;
    socket.set_recv_buffer_size(SHADOW_BUFFER)?;
    socket.set_tcp_notsent_lowat(SHADOW_UNSENT)?;
    match (dscp, family) {
        (Dscp::UNCHANGED, _) => Ok(()),
        (dscp, Family::V4) => socket.set_tos_v4(dscp.field()),
        (dscp, Family::V6) => socket.set_tclass_v6(dscp.field()),
    }
}

/// Goes into a namespace, does the work, and comes back. A thread that cannot come back must not go on.
fn visit(home: &Netns, netns: &Netns, Work(work): Work) {
    if let Err(errno) = setns(netns, CloneFlags::CLONE_NEWNET) {
        work(Err(NetError::Enter { path: netns.path().to_owned(), source: errno.into() }));
        return;
    }
    work(Ok(()));
    if let Err(errno) = setns(home, CloneFlags::CLONE_NEWNET) {
        tracing::error!(%errno, "the socket factory cannot return to its own network namespace: aborting, so that no traffic goes to a wrong pod");
        process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails if the kernel is left to hold as much of a shadow as it likes: what it holds is what `too_slow` does not see.
    #[test]
    fn little_of_a_shadow_is_in_the_kernel() -> io::Result<()> {
        for family in [Family::V4, Family::V6] {
            let socket = Socket::new(family.domain(), Type::STREAM, Some(Protocol::TCP))?;
            yields(&socket, Dscp::UNCHANGED, family)?;
            assert_eq!(socket.tcp_notsent_lowat()?, SHADOW_UNSENT);
            // The kernel doubles what it is asked for (socket(7)).
            assert_eq!(
                (socket.send_buffer_size()?, socket.recv_buffer_size()?),
                (2 * SHADOW_BUFFER, 2 * SHADOW_BUFFER)
            );
        }
        Ok(())
    }
}
