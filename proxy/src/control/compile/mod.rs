//! From objects to a configuration: the table, the capture plan and the pods to enrol.
//!
//! Comes in: every object in force. Goes out: a [`Compiled`], and findings about references that lead nowhere. A wrong reference never
//! stops anything: its destination becomes [`crate::route::Unroutable`], the rest works. Never: sockets, aya, text.

mod claims;
mod domains;
pub mod endpoints;
mod pods;
mod policies;
mod protocol;
mod rules;
mod subsets;
mod virtual_hosts;
mod world;

use std::{collections::HashSet, sync::Arc};

use self::{
    endpoints::{Interner, Resolver},
    policies::Policies,
    rules::Rules,
    subsets::Subsets,
    virtual_hosts::VirtualHosts,
    world::World,
};
use super::{
    Settings,
    diagnostic::{Diagnostic, Location, Severity},
    objects::Objects,
    plan::{CapturePlan, PodPlan},
};
use crate::{observe::metrics::Metrics, route::Table};

/// A whole configuration.
#[derive(Debug)]
pub struct Compiled {
    /// For the data path.
    pub table: Table,
    /// For the kernel's map.
    pub capture: CapturePlan,
    /// For enrolment.
    pub pods: Vec<PodPlan>,
    /// Endpoints of this generation, to be handed to the next compilation.
    pub endpoints: Interner,
    /// What there is to say about references.
    pub findings: Vec<Diagnostic>,
}

/// Compiles a generation. `before` are the endpoints of the previous one.
#[must_use]
pub fn compile(
    objects: &Objects,
    generation: u64,
    settings: &Settings,
    before: &Interner,
    metrics: &Metrics,
) -> Compiled {
    let world = World::new(objects);
    let mut findings = Findings::default();
    let subsets = Subsets::new(&world, &settings.cluster_domain, &mut findings);
    let policies = Policies::new(&world, &settings.shadow, &mut findings);
    let claims = claims::claims(&world, &settings.cluster_domain, &mut findings);
    let mut resolver = Resolver::new(&world, before, settings.node.is_none());
    let mut hosts = VirtualHosts::new(&settings.cluster_domain);
    for (service, rules) in claims {
        let ports = virtual_hosts::captured_ports(service, rules, &settings.cluster_domain, &mut findings);
        for (port, protocol) in ports {
            let mut compiler = Rules {
                world: &world,
                subsets: &subsets,
                policies: &policies,
                metrics,
                cluster_domain: &settings.cluster_domain,
                resolver: &mut resolver,
                findings: &mut findings,
            };
            let host = compiler.virtual_host(service, port, rules);
            let endpoints =
                if service.headless { resolver.endpoints(service, port, &mut findings) } else { Arc::default() };
            hosts.add(service, port, protocol, rules.closed, Arc::new(host), &endpoints, &mut findings);
        }
    }
    let pods = pods::pods(&world, settings.node.as_deref(), &mut findings);
    let (mut table, capture) = hosts.finish(generation);
    table.clients = pods::clients(&world, &pods);
    Compiled { table, capture, pods, endpoints: resolver.finish(), findings: findings.list }
}

/// Findings, each once: a rule of a Service with two ports is compiled twice.
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Diagnostic>,
    seen: HashSet<(Location, String)>,
}

impl Findings {
    fn warning(&mut self, location: &Location, object: &str, message: impl Into<String>, remedy: &str) {
        self.add(Severity::Warning, location, object, message.into(), remedy);
    }

    fn note(&mut self, location: &Location, object: &str, message: impl Into<String>, remedy: &str) {
        self.add(Severity::Note, location, object, message.into(), remedy);
    }

    fn add(&mut self, severity: Severity, location: &Location, object: &str, message: String, remedy: &str) {
        if self.seen.insert((location.clone(), message.clone())) {
            self.list.push(Diagnostic::new(severity, location.clone(), message).about(&object.into()).remedy(remedy));
        }
    }
}

#[cfg(test)]
mod tests;
