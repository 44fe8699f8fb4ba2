//! Addresses by role, so that two of them cannot change places.

use std::{fmt, net::SocketAddr};

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub SocketAddr);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

address!(
    /// Where the application asked to go, before the connect hook sent it to us.
    OriginalDst
);
address!(
    /// The application's end of a captured connection: the pod's address and its ephemeral port.
    ClientAddr
);
address!(
    /// One pod behind a Service: pod address and target port.
    EndpointAddr
);

/// Identity of a network namespace on this machine (`SO_NETNS_COOKIE`, Linux 5.14): never reused while the machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetnsCookie(pub u64);

impl fmt::Display for NetnsCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
