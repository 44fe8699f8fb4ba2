//! Puts the rules of each Service port under the names and addresses by which clients reach it.

use std::{
    collections::{BTreeSet, hash_map::Entry},
    net::SocketAddr,
    sync::Arc,
};

use super::{Findings, claims, domains, endpoints::Resolved, protocol};
use crate::{
    control::{
        diagnostic::Reason,
        model::{Service, ServicePort, VirtualService},
        plan::{CapturePlan, CapturedPort},
    },
    route::{PortProtocol, Table, VirtualHost, table::Names},
};

/// The ports of a ruled Service that carry HTTP, or may.
pub(super) fn captured_ports<'a>(
    service: &'a Service,
    rules: &VirtualService,
    cluster_domain: &str,
    findings: &mut Findings,
) -> Vec<(&'a ServicePort, PortProtocol)> {
    let object = format!("Service {}/{}", service.namespace, service.name);
    let full = claims::full_name(service, cluster_domain);
    let host = rules.hosts.iter().find(|host| *host.name == *full).map_or(&service.location, |host| &host.location);
    if !service.headless && service.cluster_ips.is_empty() && service.other_ips.is_empty() {
        let message = "the Service has a rule, but no address that clients could be seen to use".to_owned();
        findings.broken(
            Reason::NotCapturable,
            host,
            &object,
            message,
            "give it a `clusterIP`; an ExternalName Service cannot have rules",
        );
    }
    let ports: Vec<_> = service.ports.iter().filter_map(|port| Some((port, protocol::declared(port)?))).collect();
    if ports.is_empty() {
        let message = "the Service has a rule, but none of its ports carries HTTP".to_owned();
        findings.broken(
            Reason::NotCapturable,
            host,
            &object,
            message,
            "name the port `http` or `http-…`, or set its `appProtocol`",
        );
    }
    ports
}

/// A table and a capture plan in the making.
#[derive(Debug)]
pub(super) struct VirtualHosts<'c> {
    cluster_domain: &'c str,
    table: Table,
    capture: CapturePlan,
    /// Number of the next Service port.
    rule: u32,
}

impl<'c> VirtualHosts<'c> {
    pub(super) fn new(cluster_domain: &'c str) -> Self {
        Self { cluster_domain, table: Table::default(), capture: CapturePlan::default(), rule: 0 }
    }

    /// Adds the rules of one port. `endpoints` are those of a headless Service, whose clients connect to them directly.
    #[expect(clippy::too_many_arguments, reason = "one caller; the arguments are what a Service port is made of")]
    pub(super) fn add(
        &mut self,
        service: &Service,
        port: &ServicePort,
        protocol: PortProtocol,
        closed: bool,
        host: Arc<VirtualHost>,
        endpoints: &[Resolved<'_>],
        findings: &mut Findings,
    ) {
        let rule = self.rule;
        self.rule += 1;
        let object = format!("Service {}/{}", service.namespace, service.name);
        let owner = &host.virtual_service;
        let vips = service.cluster_ips.iter().chain(&service.other_ips).map(|ip| SocketAddr::new(*ip, port.port));
        for address in vips.chain(endpoints.iter().map(|resolved| resolved.endpoint.address.0)) {
            let taken = self.capture.ports.get(&address);
            if let Some(taken) = taken.filter(|taken| taken.rule != rule) {
                let message = format!("{address} already belongs to the rules of {}, which count", taken.owner);
                findings.warning(&service.location, &object, message, "");
                continue;
            }
            self.capture.ports.insert(address, CapturedPort { rule, closed, owner: Arc::clone(owner) });
            self.table.ports.insert(address, protocol);
        }

        // A connection to a headless Service's endpoint bears the pod's port.
        let ports: BTreeSet<u16> =
            endpoints.iter().map(|resolved| resolved.endpoint.address.0.port()).chain([port.port]).collect();
        let mut names = domains::everywhere(service, self.cluster_domain);
        let mut short = vec![service.name.to_string()];
        let hostnames: BTreeSet<&str> = endpoints.iter().filter_map(|resolved| resolved.hostname).collect();
        for hostname in hostnames {
            names.extend(domains::of_pod(hostname, service, self.cluster_domain));
            short.push(format!("{}.{}", hostname.to_ascii_lowercase(), service.name));
        }
        for port in ports {
            let hosts = self.table.hosts.entry(port).or_default();
            for name in &names {
                insert(hosts, name, &host, port, &service.location, &object, findings);
            }
            let of_namespace =
                self.table.short_hosts.entry(port).or_default().entry((&*service.namespace).into()).or_default();
            for name in &short {
                insert(of_namespace, name, &host, port, &service.location, &object, findings);
            }
        }
    }

    pub(super) fn finish(self, generation: u64) -> (Table, CapturePlan) {
        (Table { generation, ..self.table }, self.capture)
    }
}

fn insert(
    names: &mut Names,
    name: &str,
    host: &Arc<VirtualHost>,
    port: u16,
    location: &crate::control::diagnostic::Location,
    object: &str,
    findings: &mut Findings,
) {
    match names.entry(name.into()) {
        Entry::Vacant(free) => _ = free.insert(Arc::clone(host)),
        Entry::Occupied(taken) if Arc::ptr_eq(taken.get(), host) => {}
        Entry::Occupied(taken) => {
            let other = taken.get();
            let message = format!(
                "`{name}` on port {port} already leads to Service {}/{}, which counts",
                other.namespace, other.service
            );
            findings.warning(location, object, message, "");
        }
    }
}
