//! Least request of two choices: Istio's default (`LEAST_REQUEST`, `cluster_traffic_policy.go`; Envoy draws two as well).

use std::sync::Arc;

use crate::{
    net::addr::{EndpointAddr, OriginalDst},
    route::Endpoint,
};

/// The endpoints of the family of `original`, or all if there is none of it: a client that came over IPv6 is sent on over IPv6 where that
/// can be. They are ordered by address, IPv4 first, as `control` leaves them.
#[must_use]
pub fn of_family<'a>(endpoints: &'a [Arc<Endpoint>], original: &OriginalDst) -> &'a [Arc<Endpoint>] {
    let (v4, v6) = endpoints.split_at(endpoints.partition_point(|endpoint| endpoint.address.0.is_ipv4()));
    let same = if original.0.ip().to_canonical().is_ipv4() { v4 } else { v6 };
    if same.is_empty() { endpoints } else { same }
}

/// Draws two endpoints and takes the one with fewer requests under way. `None` if there are none.
#[must_use]
pub fn least_request(endpoints: &[Arc<Endpoint>], random: u64) -> Option<&Arc<Endpoint>> {
    let count = endpoints.len() as u64;
    match count {
        0 => None,
        1 => endpoints.first(),
        _ => {
            let first = random % count;
            // Any of the others: the high half is independent enough of the low half.
            let second = (first + 1 + (random >> 32) % (count - 1)) % count;
            let (a, b) = (&endpoints[first as usize], &endpoints[second as usize]);
            Some(if b.in_flight() < a.in_flight() { b } else { a })
        }
    }
}

/// An endpoint that was not asked yet; else any but the last of `asked`, if there is one.
#[must_use]
pub fn another<'a>(endpoints: &'a [Arc<Endpoint>], asked: &[EndpointAddr], random: u64) -> Option<&'a Arc<Endpoint>> {
    let count = endpoints.len();
    let start = random as usize % count.max(1);
    let mut others = endpoints.iter().cycle().skip(start).take(count);
    let fresh = others.clone().find(|endpoint| !asked.contains(&endpoint.address));
    fresh.or_else(|| others.find(|endpoint| Some(&endpoint.address) != asked.last()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(count: u8) -> Vec<Arc<Endpoint>> {
        let address = |last| EndpointAddr(([10, 0, 0, last], 80).into());
        (0..count).map(|last| Arc::new(Endpoint::new(address(last), "".into()))).collect()
    }

    #[test]
    fn the_less_busy_of_two_is_taken_whatever_the_draw() {
        let endpoints = endpoints(2);
        let _busy = endpoints[0].begin();
        for random in 0..8 {
            assert_eq!(least_request(&endpoints, random).unwrap().address, endpoints[1].address);
        }
    }

    #[test]
    fn the_two_choices_are_different_endpoints() {
        let endpoints = endpoints(3);
        let _busy: Vec<_> = endpoints[..2].iter().map(Endpoint::begin).collect();
        // Whenever the idle one is among the two choices it is taken; so over all draws it must be taken more often than one in three.
        let taken = (0..3)
            .flat_map(|low| (0..2).map(move |high| (high << 32) | low))
            .filter(|random| least_request(&endpoints, *random).unwrap().address == endpoints[2].address)
            .count();
        assert_eq!(taken, 4);
    }

    #[test]
    fn the_clients_family_is_kept_where_an_endpoint_has_it() {
        let endpoint = |text: &str| Arc::new(Endpoint::new(EndpointAddr(text.parse().unwrap()), "".into()));
        let both = ["10.0.0.1:80", "10.0.0.2:80", "[fd00::1]:80"].map(endpoint);
        let original = |text: &str| OriginalDst(text.parse().unwrap());
        let chosen = |endpoints: &[Arc<Endpoint>], to: &str| of_family(endpoints, &original(to)).len();
        assert_eq!((chosen(&both, "10.96.0.10:8000"), chosen(&both, "[fd00:10:96::10]:8000")), (2, 1));
        assert_eq!(chosen(&both, "[::ffff:10.96.0.10]:8000"), 2, "a mapped address is IPv4");
        assert_eq!((chosen(&both[..2], "[fd00::9]:8000"), chosen(&both[2..], "10.96.0.10:8000")), (2, 1), "else any");
    }

    #[test]
    fn nobody_is_asked_twice_in_vain() {
        let endpoints = endpoints(3);
        let asked: Vec<_> = endpoints.iter().map(|endpoint| endpoint.address).collect();
        for random in 0..3 {
            assert_eq!(another(&endpoints, &asked[..2], random).unwrap().address, asked[2]);
            assert_ne!(another(&endpoints, &asked, random).unwrap().address, asked[2]);
        }
        assert!(another(&endpoints[..1], &asked[..1], 5).is_none());
        assert!(least_request(&[], 1).is_none());
    }
}
