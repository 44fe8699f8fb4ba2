//! The listeners of a pod: where the connect hook sends its connections.
//!
//! They are on loopback, where nothing outside the pod reaches them. Ports are the kernel's choice, so nothing of the pod's is taken.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use tokio::time::timeout;

use super::{Class, Family, NetError, Netns, SocketFactory};

/// Patience with a handshake that never leaves the kernel.
const PROBE: Duration = Duration::from_millis(500);

/// Open, marked, non-blocking listeners of one pod; at least one.
#[derive(Debug)]
pub struct Listeners {
    /// At `127.0.0.1`.
    pub v4: Option<TcpListener>,
    /// At `::1`, or at the pod's own address where that is missing.
    pub v6: Option<TcpListener>,
}

impl Listeners {
    /// Opens what the pod's namespace has room for. A pod without IPv6, or with IPv6 switched off (be it on `lo` alone), gets the IPv4 one
    /// only, and the other way round.
    ///
    /// # Errors
    /// If none can be opened and reached, or one fails for another reason than a missing family or address.
    pub async fn open(factory: &SocketFactory, netns: &Arc<Netns>, ips: &[IpAddr]) -> Result<Self, NetError> {
        let loopback = |ip: IpAddr| SocketAddr::new(ip, 0);
        let v4 = factory.listener(netns, loopback(Ipv4Addr::LOCALHOST.into())).await;
        let mut v6 = factory.listener(netns, loopback(Ipv6Addr::LOCALHOST.into())).await;
        if let Err(error) = &v6
            && is_absent(error)
            && let Some(ip) = ips.iter().find(|ip| ip.is_ipv6())
        {
            v6 = factory.listener(netns, loopback(*ip)).await;
        }
        let v4 = reached(factory, netns, v4).await;
        let v6 = reached(factory, netns, v6).await;
        match (v4, v6) {
            (Ok(v4), Ok(v6)) => Ok(Self { v4: Some(v4), v6: Some(v6) }),
            (Ok(v4), Err(error)) if is_absent(&error) => Ok(Self { v4: Some(v4), v6: None }),
            (Err(error), Ok(v6)) if is_absent(&error) => Ok(Self { v4: None, v6: Some(v6) }),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    /// Where they are.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn addresses(&self) -> io::Result<Addresses> {
        let of = |listener: &Option<TcpListener>| listener.as_ref().map(TcpListener::local_addr).transpose();
        Ok(Addresses { v4: of(&self.v4)?, v6: of(&self.v6)? })
    }
}

/// The listener, if the pod itself can connect to it. It may bind and still be out of reach, for instance with
/// `net.ipv6.conf.lo.disable_ipv6`, which drops what the pod sends to its own addresses: redirected connections would hang.
async fn reached(
    factory: &SocketFactory,
    netns: &Arc<Netns>,
    listener: Result<TcpListener, NetError>,
) -> Result<TcpListener, NetError> {
    let listener = listener?;
    let failed = |source| NetError::Socket { doing: "reach our own listener", path: netns.path().to_owned(), source };
    let address = listener.local_addr().map_err(failed)?;
    let probe = factory.stream(netns, Family::of(&address), Class::Primary).await?;
    match timeout(PROBE, probe.connect(address)).await {
        Ok(Ok(_)) => {
            // Ours; whoever serves the listener would count it as a stranger's.
            let _ = listener.accept();
            Ok(listener)
        }
        Ok(Err(_)) | Err(_) => {
            tracing::warn!(netns = %netns.path().display(), %address, "the pod cannot reach this address of its own: this family is not captured");
            Err(failed(io::Error::from_raw_os_error(libc::EADDRNOTAVAIL)))
        }
    }
}

/// Where a pod's listeners are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Of the IPv4 one.
    pub v4: Option<SocketAddr>,
    /// Of the IPv6 one.
    pub v6: Option<SocketAddr>,
}

/// The namespace has no such address or no such family.
fn is_absent(error: &NetError) -> bool {
    matches!(error.os_error(), Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT))
}
