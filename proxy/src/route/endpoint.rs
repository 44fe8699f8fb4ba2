//! Where a rule's destination leads: the pods behind a Service's subset.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use crate::net::addr::EndpointAddr;

/// One pod behind a Service. It lives on through reloads as long as its address stays, so that its load is known.
#[derive(Debug)]
pub struct Endpoint {
    /// Where it listens.
    pub address: EndpointAddr,
    /// `namespace/name` of the pod, for logs; empty if an EndpointSlice does not say.
    pub pod: Arc<str>,
    in_flight: AtomicU32,
}

/// One request under way to an endpoint; counts until dropped.
#[derive(Debug)]
pub struct InFlight(Arc<Endpoint>);

impl Endpoint {
    /// An endpoint without load.
    #[must_use]
    pub fn new(address: EndpointAddr, pod: Arc<str>) -> Self {
        Self { address, pod, in_flight: AtomicU32::new(0) }
    }

    /// Requests under way, over all workers.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts a request until the answer is dropped.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a destination has no endpoints that could be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unroutable {
    /// No Service of that name (or without that port).
    UnknownService,
    /// No DestinationRule defines the subset.
    UnknownSubset,
}

/// What a `destination:` of a manifest became.
#[derive(Clone, Debug)]
pub struct Destination {
    /// `service.namespace` or `service.namespace/subset`, for metrics and logs.
    pub label: Arc<str>,
    /// The endpoints by address, IPv4 first (possibly none: "no healthy upstream"), or why the destination is unknown.
    pub endpoints: Result<Arc<[Arc<Endpoint>]>, Unroutable>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_counts_until_it_is_dropped() {
        let endpoint = Arc::new(Endpoint::new(EndpointAddr(([10, 0, 0, 1], 80).into()), "a/b".into()));
        let (first, second) = (endpoint.begin(), endpoint.begin());
        assert_eq!(endpoint.in_flight(), 2);
        drop(first);
        assert_eq!(endpoint.in_flight(), 1);
        drop(second);
        assert_eq!(endpoint.in_flight(), 0);
    }
}
