//! What is compared: a product, and what it is asked to do with a request. A variant is both.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

/// Who carries the request from the client to v1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Product {
    /// Nobody: the node translates the Service's address, and that is all.
    Direct,
    Understudy,
    Envoy,
    Haproxy,
    Nginx,
}

impl Product {
    pub(crate) const ALL: [Self; 5] = [Self::Direct, Self::Understudy, Self::Envoy, Self::Haproxy, Self::Nginx];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Understudy => "understudy",
            Self::Envoy => "envoy",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
        }
    }
}

/// What happens to a request beside being answered by v1. Each is a Service of its own, so a client chooses by the Host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Flavour {
    Plain,
    /// All of them have a shadow at v2.
    Mirrored,
    /// One in ten has.
    Tenth,
    /// All have one, at a pod where nobody listens.
    Dead,
    /// All have one, at a server that reads it and never answers.
    Hung,
    /// All have one, at a server that reads a byte a second.
    Slow,
    /// None has; another pod asks v2 as often meanwhile. What v2 does to a primary on the same machine if there is no mirror.
    Beside,
}

impl Flavour {
    pub(crate) const ALL: [Self; 7] =
        [Self::Plain, Self::Mirrored, Self::Tenth, Self::Dead, Self::Hung, Self::Slow, Self::Beside];

    /// The Service's name, which is the request's Host.
    pub(crate) fn host(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Mirrored => "mirrored",
            Self::Tenth => "tenth",
            Self::Dead => "dead",
            Self::Hung => "hung",
            Self::Slow => "slow",
            Self::Beside => "beside",
        }
    }

    /// The subset that its shadows go to.
    pub(crate) fn subset(self) -> Option<&'static str> {
        match self {
            Self::Plain | Self::Beside => None,
            Self::Mirrored | Self::Tenth => Some("v2"),
            Self::Dead | Self::Hung | Self::Slow => Some(self.host()),
        }
    }

    /// How many requests in a hundred have a shadow.
    pub(crate) fn percentage(self) -> u32 {
        match self {
            Self::Plain | Self::Beside => 0,
            Self::Tenth => 10,
            _ => 100,
        }
    }

    /// The Service's address.
    pub(crate) fn vip(self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10 + self as u8))
    }

    /// The Service's address with the port of a protocol.
    pub(crate) fn address(self, protocol: Protocol) -> SocketAddr {
        (self.vip(), protocol.port()).into()
    }
}

/// How the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    /// With prior knowledge, without TLS.
    Http2,
}

impl Protocol {
    pub(crate) const ALL: [Self; 2] = [Self::Http1, Self::Http2];

    /// The Service's port.
    pub(crate) fn port(self) -> u16 {
        match self {
            Self::Http1 => 8000,
            Self::Http2 => 8001,
        }
    }

    /// The port of the pods behind it.
    pub(crate) fn target(self) -> u16 {
        self.port() + 80
    }

    /// Where a sidecar listens for it.
    pub(crate) fn sidecar(self) -> u16 {
        self.port() + 7001
    }
}

/// One row of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Variant {
    pub(crate) product: Product,
    pub(crate) flavour: Flavour,
}

impl Variant {
    pub(crate) const fn new(product: Product, flavour: Flavour) -> Self {
        Self { product, flavour }
    }

    /// False for what a product does not do: HAProxy has no mirror (its SPOE agent for it is a program of its own), nginx has no percentage.
    pub(crate) fn exists(self) -> bool {
        match self.product {
            Product::Understudy => true,
            Product::Envoy => self.flavour != Flavour::Beside,
            Product::Direct | Product::Haproxy => self.flavour == Flavour::Plain,
            Product::Nginx => matches!(self.flavour, Flavour::Plain | Flavour::Mirrored),
        }
    }

    /// What its costs are divided by: ours, doing the same.
    pub(crate) fn ours(self) -> Self {
        Self::new(Product::Understudy, self.flavour)
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.product {
            Product::Direct => f.pad("direct"),
            product => f.pad(&format!("{} {}", product.name(), self.flavour.host())),
        }
    }
}
