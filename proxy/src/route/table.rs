//! The compiled configuration that the data path reads: one immutable value per generation.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use foldhash::fast::RandomState;
use http::request::Parts;

use super::{Client, Labels, Rule, matching::RequestMatch};
use crate::net::addr::OriginalDst;

/// What the Service declares of a port, by the prefix of its name or its `appProtocol` (Istio, "Protocol Selection").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortProtocol {
    /// `http`: what does not parse is refused.
    Http,
    /// `http2`, `grpc`, `grpc-web`.
    Http2,
    /// Nothing is declared: detect.
    Undeclared,
}

/// The rules of one Service port.
#[derive(Debug)]
pub struct VirtualHost {
    /// Namespace of the Service.
    pub namespace: Arc<str>,
    /// Name of the Service.
    pub service: Arc<str>,
    /// `namespace/name` of the VirtualService.
    pub virtual_service: Arc<str>,
    /// In order; the first match wins.
    pub rules: Vec<Rule>,
}

impl VirtualHost {
    /// The first rule that matches, and the condition that the request met; `None` is a 404 (Istio: a VirtualService whose rules do not match).
    #[must_use]
    pub fn select(&self, head: &Parts, client: Client<'_>) -> Option<(&Rule, Option<&RequestMatch>)> {
        self.rules.iter().find_map(|rule| Some((rule, rule.matches(head, client)?)))
    }
}

/// What is looked up with every request. Its keys are the operator's, and a client that looks for another adds none: the hasher may be a fast one.
pub type Lookup<K, V> = HashMap<K, V, RandomState>;

/// Rules by lower-case name.
pub type Names = Lookup<Box<str>, Arc<VirtualHost>>;

/// Rules by the names under which clients ask for a Service.
#[derive(Debug, Default)]
pub struct Table {
    /// Counts configurations of this process, from 1; 0 = none yet.
    pub generation: u64,
    /// Declared protocol of each captured destination.
    pub ports: HashMap<SocketAddr, PortProtocol>,
    /// By port and lower-case domain (`httpbin.mirror.svc.cluster.local`, `httpbin.mirror`, the cluster IPs, …).
    pub hosts: Lookup<u16, Names>,
    /// The same for bare names (`httpbin`), which only clients of the Service's own namespace may use: by port, then by
    /// `client namespace`, then by name.
    pub short_hosts: Lookup<u16, Lookup<Box<str>, Names>>,
    /// Labels of the pods that are enrolled, by address: some rules are for some clients only.
    pub clients: Lookup<IpAddr, Labels>,
}

impl Table {
    /// What is declared of the port that the client asked for.
    #[must_use]
    pub fn protocol(&self, original: OriginalDst) -> PortProtocol {
        self.ports.get(&original.0).copied().unwrap_or(PortProtocol::Undeclared)
    }

    /// The rules for a Host. `port` is that of the connection (a port in the Host does not count, Istio's
    /// ignore-port-in-host-matching); `host` comes without a port, in any case, IPv6 without brackets. `None` = not ours: the request
    /// goes on to the original destination.
    #[must_use]
    pub fn virtual_host(&self, client_namespace: &str, port: u16, host: &str) -> Option<&Arc<VirtualHost>> {
        let lower;
        let host = if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            lower = host.to_ascii_lowercase();
            &lower
        } else {
            host
        };
        let short = || self.short_hosts.get(&port)?.get(client_namespace)?.get(host);
        self.hosts.get(&port).and_then(|names| names.get(host)).or_else(short)
    }
}
