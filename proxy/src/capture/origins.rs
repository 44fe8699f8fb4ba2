//! Where an accepted connection wanted to go.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Mutex, PoisonError},
};

use aya::maps::{HashMap, Map, MapData};
use proxy_common::{
    Address, FAMILY_V4, FAMILY_V6, address_v4,
    flow::{FlowKey, FlowOrigin},
};

use super::{
    CaptureError,
    maps::{failed, is_missing},
};
use crate::net::{
    NetnsCookie,
    addr::{ClientAddr, OriginalDst},
};

/// What the hook wrote down when the application connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Where the application asked to go.
    pub destination: OriginalDst,
    /// Number of the rule, for logs.
    pub rule: u32,
}

/// A handle on `ORIG`, one for each worker.
pub struct Origins(Option<Mutex<HashMap<MapData, FlowKey, FlowOrigin>>>);

impl fmt::Debug for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Origins")
    }
}

impl Origins {
    pub(super) fn new(map: MapData) -> Result<Self, CaptureError> {
        let map = HashMap::try_from(Map::LruHashMap(map)).map_err(|error| failed("open it", "ORIG", &error))?;
        Ok(Self(Some(Mutex::new(map))))
    }

    /// Where there is no hook: it knows nobody. For workers whose connections are adopted ([`crate::accept::adopt`]).
    #[must_use]
    pub fn of_nobody() -> Self {
        Self(None)
    }

    /// Takes out the entry of an accepted connection. None: nobody sent this connection to us, somebody came by himself.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn take(&self, key: &FlowKey) -> Result<Option<FlowOrigin>, CaptureError> {
        let Some(map) = &self.0 else { return Ok(None) };
        // One handle for each worker: the lock is never waited for.
        let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
        let origin = match map.get(key, 0) {
            Ok(origin) => origin,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(failed("look up a connection", "ORIG", &error)),
        };
        match map.remove(key) {
            Err(error) if !is_missing(&error) => Err(failed("take out a connection", "ORIG", &error)),
            _ => Ok(Some(origin)),
        }
    }

    /// [`Origins::take`] for what `accept` knows: the pod, its peer's address and the listener's port.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn of(
        &self,
        pod: NetnsCookie,
        client: ClientAddr,
        listener: SocketAddr,
    ) -> Result<Option<Origin>, CaptureError> {
        Ok(self
            .take(&flow_key(pod, client, listener))?
            .map(|origin| Origin { destination: OriginalDst(destination(&origin)), rule: origin.rule }))
    }
}

/// The key under which the kernel side publishes this connection.
#[must_use]
pub fn flow_key(pod: NetnsCookie, ClientAddr(client): ClientAddr, listener: SocketAddr) -> FlowKey {
    let (source, family) = to_address(client.ip());
    FlowKey {
        cookie: pod.0,
        source,
        source_port: client.port().to_be(),
        listener_port: listener.port().to_be(),
        family,
        padding: [0; 3],
    }
}

/// The destination that an entry names.
#[must_use]
pub fn destination(origin: &FlowOrigin) -> SocketAddr {
    SocketAddr::new(from_address(&origin.address, origin.family), u16::from_be(origin.port))
}

/// An address as the maps store it.
#[must_use]
pub fn to_address(ip: IpAddr) -> (Address, u8) {
    match ip {
        IpAddr::V4(v4) => (address_v4(v4.octets()), FAMILY_V4),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => (address_v4(v4.octets()), FAMILY_V4),
            None => (v6.octets(), FAMILY_V6),
        },
    }
}

/// An address out of a map.
#[must_use]
pub fn from_address(address: &Address, family: u8) -> IpAddr {
    if family == FAMILY_V4 {
        let [a, b, c, d, ..] = *address;
        Ipv4Addr::new(a, b, c, d).into()
    } else {
        Ipv6Addr::from(*address).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_go_into_the_maps_and_come_back() {
        for text in ["10.96.0.10", "fd96::10", "0.0.0.0", "::1"] {
            let ip: IpAddr = text.parse().unwrap();
            let (address, family) = to_address(ip);
            assert_eq!(from_address(&address, family), ip);
        }
        let mapped: IpAddr = "::ffff:10.96.0.10".parse().unwrap();
        assert_eq!(
            to_address(mapped),
            to_address("10.96.0.10".parse().unwrap()),
            "mapped addresses are IPv4 in the maps"
        );
    }

    #[test]
    fn without_a_hook_nobody_is_known() {
        let key =
            flow_key(NetnsCookie(1), ClientAddr("10.0.0.2:5555".parse().unwrap()), "127.0.0.1:4000".parse().unwrap());
        assert!(Origins::of_nobody().take(&key).unwrap().is_none());
    }

    #[test]
    fn ports_are_in_network_byte_order() {
        let client = ClientAddr("10.0.0.2:5555".parse().unwrap());
        let key = flow_key(NetnsCookie(42), client, "127.0.0.1:4000".parse().unwrap());
        assert_eq!(key.source_port.to_ne_bytes(), 5555_u16.to_be_bytes());
        assert_eq!(key.listener_port.to_ne_bytes(), 4000_u16.to_be_bytes());
        assert_eq!((key.cookie, key.family), (42, FAMILY_V4));
        let origin = FlowOrigin {
            address: address_v4([10, 96, 0, 10]),
            port: 8000_u16.to_be(),
            family: FAMILY_V4,
            ..FlowOrigin::default()
        };
        assert_eq!(destination(&origin), "10.96.0.10:8000".parse().unwrap());
    }
}
