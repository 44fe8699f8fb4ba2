//! From a Service's port to the pods behind it.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::{Findings, world::World};
use crate::{
    control::model::{Pod, Service, ServicePort, TargetPort},
    net::addr::EndpointAddr,
    route::{Endpoint, Labels},
};

/// Endpoints by address. It is kept from one generation to the next, so that an endpoint keeps its load.
#[derive(Debug, Default)]
pub struct Interner {
    known: HashMap<SocketAddr, Arc<Endpoint>>,
}

impl Interner {
    /// The endpoint at an address, or a new one if the address has never been seen or belongs to another pod now.
    fn get(&self, address: SocketAddr, pod: &str, fresh: &mut Self) -> Arc<Endpoint> {
        let make = || match self.known.get(&address) {
            Some(known) if *known.pod == *pod => Arc::clone(known),
            _ => Arc::new(Endpoint::new(EndpointAddr(address), pod.into())),
        };
        Arc::clone(fresh.known.entry(address).or_insert_with(make))
    }
}

/// One endpoint with what subsets ask for.
#[derive(Clone, Debug)]
pub(super) struct Resolved<'a> {
    pub(super) endpoint: Arc<Endpoint>,
    /// `None` if the pod is not known: only subsets without labels have it.
    pub(super) labels: Option<&'a Labels>,
    /// Its name under a headless Service.
    pub(super) hostname: Option<&'a str>,
}

/// Resolves each Service port once per generation.
#[derive(Debug)]
pub(super) struct Resolver<'a> {
    world: &'a World<'a>,
    before: &'a Interner,
    fresh: Interner,
    /// A Service without slices has the pods that its selector finds. In a cluster a controller makes slices, and of most pods we know the labels only.
    from_pods: bool,
    cache: HashMap<(*const Service, u16), Arc<[Resolved<'a>]>>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(world: &'a World<'a>, before: &'a Interner, from_pods: bool) -> Self {
        Self { world, before, fresh: Interner::default(), from_pods, cache: HashMap::new() }
    }

    /// The endpoints of this generation, to be the next one's `before`.
    pub(super) fn finish(self) -> Interner {
        self.fresh
    }

    /// The endpoints of a Service's TCP port, by address.
    pub(super) fn endpoints(
        &mut self,
        service: &'a Service,
        port: &'a ServicePort,
        findings: &mut Findings,
    ) -> Arc<[Resolved<'a>]> {
        let key = (std::ptr::from_ref(service), port.port);
        if let Some(known) = self.cache.get(&key) {
            return Arc::clone(known);
        }
        let mut found = match self.world.slices.get(&(&*service.namespace, &*service.name)) {
            Some(_) => self.in_slices(service, port),
            None if self.from_pods => self.among_pods(service, port, findings),
            None => Vec::new(),
        };
        found.sort_by_key(|resolved| resolved.endpoint.address);
        found.dedup_by_key(|resolved| resolved.endpoint.address);
        let found: Arc<[_]> = found.into();
        self.cache.insert(key, Arc::clone(&found));
        found
    }

    fn in_slices(&mut self, service: &'a Service, port: &ServicePort) -> Vec<Resolved<'a>> {
        let mut found = Vec::new();
        for slice in self.world.slices.get(&(&*service.namespace, &*service.name)).into_iter().flatten() {
            // The slice's ports are the pods' ports, under the name of the Service's port.
            let Some((_, target)) = slice.ports.iter().find(|(name, _)| *name == port.name) else { continue };
            for endpoint in &slice.endpoints {
                for &ip in &endpoint.addresses {
                    let pod = self.world.pod_of(&slice.namespace, endpoint.pod.as_ref(), ip);
                    let name = pod.map(|pod| &pod.name).or(endpoint.pod.as_ref());
                    let name = name.map(|name| format!("{}/{name}", slice.namespace)).unwrap_or_default();
                    found.push(Resolved {
                        endpoint: self.before.get(SocketAddr::new(ip, *target), &name, &mut self.fresh),
                        labels: pod.map(|pod| &pod.labels),
                        hostname: endpoint.hostname.as_deref(),
                    });
                }
            }
        }
        found
    }

    fn among_pods(&mut self, service: &'a Service, port: &ServicePort, findings: &mut Findings) -> Vec<Resolved<'a>> {
        let mut found = Vec::new();
        let pods = self.world.selected(service);
        if let TargetPort::Name(name) = &port.target
            && !pods.is_empty()
            && pods.iter().all(|pod| target_port(pod, &port.target).is_none())
        {
            let object = format!("Service {}/{}", service.namespace, service.name);
            let message =
                format!("no pod of the Service has a TCP port named `{name}`, the target of port {}", port.port);
            findings.warning(&service.location, &object, message, "name a container's port so, or write its number");
        }
        for pod in pods {
            if pod.gone || !(pod.ready || service.publish_not_ready) {
                continue;
            }
            let Some(target) = target_port(pod, &port.target) else { continue };
            let name = format!("{}/{}", pod.namespace, pod.name);
            let hostname = pod
                .dns_name
                .as_ref()
                .filter(|(_, subdomain)| **subdomain == *service.name)
                .map(|(hostname, _)| &**hostname);
            for ip in addresses(pod, service.families) {
                let endpoint = self.before.get(SocketAddr::new(ip, target), &name, &mut self.fresh);
                found.push(Resolved { endpoint, labels: Some(&pod.labels), hostname });
            }
        }
        found
    }
}

fn target_port(pod: &Pod, target: &TargetPort) -> Option<u16> {
    match target {
        TargetPort::Number(number) => Some(*number),
        TargetPort::Name(name) => pod.named_ports.iter().find(|(known, _)| known == name).map(|(_, number)| *number),
    }
}

/// A pod's addresses of the Service's families; of a Service that does not say, the family of the pod's first address.
fn addresses(pod: &Pod, families: Option<(bool, bool)>) -> impl Iterator<Item = IpAddr> {
    let first = pod.ips.first().map(|ip| (ip.is_ipv4(), ip.is_ipv6()));
    let (v4, v6) = families.or(first).unwrap_or_default();
    pod.ips.iter().copied().filter(move |ip| if ip.is_ipv4() { v4 } else { v6 })
}
