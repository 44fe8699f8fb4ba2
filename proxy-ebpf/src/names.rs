//! What `getpeername` and `getsockname` answer for a redirected socket: what they would without us.

use proxy_common::{Address, FAMILY_V4, FAMILY_V6, flow::SocketOrigin};

use crate::{
    address::{Endpoint, Words, is_zero, mapped, words},
    publish::is_listener,
};

/// A name to answer instead of the present one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// As the socket's family writes it.
    pub address: Words,
    /// Network byte order; none = leave as it is.
    pub port: Option<u16>,
}

/// The original destination, but only while the peer is our listener: the socket may have been connected anew.
#[inline(always)]
#[must_use]
pub fn peer(present: &Endpoint, origin: &SocketOrigin) -> Option<Name> {
    is_listener(present, origin).then(|| Name { address: written(&origin.address, origin), port: Some(origin.port) })
}

/// The pod's address where the socket would show loopback: a socket that the application bound to any address with a port of its own
/// cannot be bound again by the connect hook.
#[inline(always)]
#[must_use]
pub fn local(present: &Endpoint, peer_port: u16, origin: &SocketOrigin) -> Option<Name> {
    let ours = peer_port == origin.listener_port && present.family == origin.family;
    (ours && present.is_loopback() && !is_zero(&words(&origin.local)))
        .then(|| Name { address: written(&origin.local, origin), port: None })
}

#[inline(always)]
fn written(address: &Address, origin: &SocketOrigin) -> Words {
    let address = words(address);
    if origin.family == FAMILY_V4 && origin.socket_family == FAMILY_V6 { mapped(&address) } else { address }
}

#[cfg(test)]
mod tests {
    use proxy_common::address_v4;

    use super::*;
    use crate::address::words_v4;

    const LISTENER: u16 = 4000;

    fn origin(socket_family: u8) -> SocketOrigin {
        SocketOrigin {
            address: address_v4([10, 96, 0, 10]),
            local: address_v4([10, 0, 0, 2]),
            port: 8000,
            listener_port: LISTENER,
            family: FAMILY_V4,
            socket_family,
            ..SocketOrigin::default()
        }
    }

    #[test]
    fn the_peer_of_a_redirected_socket_is_its_original_destination() {
        let name = peer(&Endpoint::v4([127, 0, 0, 1], LISTENER), &origin(FAMILY_V4)).unwrap();
        assert_eq!(name, Name { address: words_v4([10, 96, 0, 10]), port: Some(8000) });
    }

    #[test]
    fn a_mapped_socket_sees_a_mapped_name() {
        let present = Endpoint::v6(mapped(&words_v4([127, 0, 0, 1])), LISTENER);
        let name = peer(&present, &origin(FAMILY_V6)).unwrap();
        assert_eq!(name.address, mapped(&words_v4([10, 96, 0, 10])));
        let name = local(&present, LISTENER, &origin(FAMILY_V6)).unwrap();
        assert_eq!(name.address, mapped(&words_v4([10, 0, 0, 2])));
    }

    #[test]
    fn a_socket_that_was_connected_anew_keeps_its_real_names() {
        assert!(peer(&Endpoint::v4([10, 0, 0, 9], 80), &origin(FAMILY_V4)).is_none());
        assert!(peer(&Endpoint::v4([127, 0, 0, 1], 80), &origin(FAMILY_V4)).is_none());
        assert!(local(&Endpoint::v4([127, 0, 0, 1], 5555), 80, &origin(FAMILY_V4)).is_none());
    }

    #[test]
    fn the_local_name_changes_only_where_it_would_be_loopback_and_keeps_its_port() {
        let name = local(&Endpoint::v4([127, 0, 0, 1], 5555), LISTENER, &origin(FAMILY_V4)).unwrap();
        assert_eq!(name, Name { address: words_v4([10, 0, 0, 2]), port: None });
        assert!(local(&Endpoint::v4([10, 0, 0, 2], 5555), LISTENER, &origin(FAMILY_V4)).is_none());
    }

    #[test]
    fn without_a_known_pod_address_the_local_name_stays() {
        let unknown = SocketOrigin { local: [0; 16], ..origin(FAMILY_V4) };
        assert!(local(&Endpoint::v4([127, 0, 0, 1], 5555), LISTENER, &unknown).is_none());
    }
}
