//! The rules of one Service port.

use std::sync::Arc;

use super::{Findings, claims, endpoints::Resolver, policies::Policies, subsets::Subsets, world::World};
use crate::{
    control::{
        diagnostic::Reason,
        model::{DestinationRef, HttpRule, RuleAction, RuleMatch, Service, ServicePort, Transport, VirtualService},
    },
    observe::metrics::{Metrics, MirrorLabels, RuleLabels},
    route::{
        Action, Destination, Forward, Mirror, Rule, Target, Unroutable, VirtualHost,
        action::{self, FURTHER_TRIES, OwnAnswer},
        weight::Weighted,
    },
};

/// What compiling a rule needs.
#[derive(Debug)]
pub(super) struct Rules<'c, 'a> {
    pub(super) world: &'c World<'a>,
    pub(super) subsets: &'c Subsets<'a>,
    pub(super) policies: &'c Policies<'a>,
    pub(super) metrics: &'c Metrics,
    pub(super) cluster_domain: &'c str,
    pub(super) resolver: &'c mut Resolver<'a>,
    pub(super) findings: &'c mut Findings,
}

impl<'a> Rules<'_, 'a> {
    /// The rules of a VirtualService for one port of one of its Services.
    pub(super) fn virtual_host(
        &mut self,
        service: &'a Service,
        port: &ServicePort,
        rules: &'a VirtualService,
    ) -> VirtualHost {
        let mut compiled = Vec::with_capacity(rules.rules.len());
        for (index, rule) in rules.rules.iter().enumerate() {
            let name: Arc<str> = match &rule.name {
                Some(name) => (&**name).into(),
                None => format!("{}/{}[{index}]", rules.namespace, rules.name).into(),
            };
            let on_port = |m: &&RuleMatch| !m.gateways_only && m.port.is_none_or(|wanted| wanted == port.port);
            let matches: Vec<_> = rule.matches.iter().filter(on_port).map(|m| m.request.clone()).collect();
            if matches.is_empty() && !rule.matches.is_empty() {
                // None of its conditions is for this port, or for pods at all.
                continue;
            }
            // Validation has seen to it that there is a destination with a weight.
            let Some(action) = self.action(rule, port.port, rules) else { continue };
            let settings = self.policies.settings(rules, rule.name.as_deref(), (&service.namespace, &service.name));
            let labels = RuleLabels {
                namespace: Arc::clone(&service.namespace),
                service: Arc::clone(&service.name),
                rule: Arc::clone(&name),
            };
            let mut mirrors = Vec::new();
            for (mirror, number) in rule.mirrors.iter().zip(0..).filter(|(mirror, _)| mirror.sample_ppm > 0) {
                let destination =
                    self.destination(&mirror.destination, port.port, rules, "its shadows are dropped and counted");
                let labels = MirrorLabels { rule: labels.clone(), mirror: number };
                let metrics = self.metrics.mirror(&labels, &destination.label);
                mirrors.push(Arc::new(Mirror {
                    index: number,
                    destination,
                    sample_ppm: mirror.sample_ppm,
                    settings: settings.clone(),
                    metrics,
                }));
            }
            compiled.push(Rule { name, matches, action, mirrors, metrics: self.metrics.rule(&labels) });
        }
        VirtualHost {
            namespace: Arc::clone(&service.namespace),
            service: Arc::clone(&service.name),
            virtual_service: format!("{}/{}", rules.namespace, rules.name).into(),
            rules: compiled,
        }
    }

    fn action(&mut self, rule: &HttpRule, port: u16, rules: &VirtualService) -> Option<Action> {
        match &rule.action {
            RuleAction::Answer(answer) => Some(Action::Answer(Box::new(OwnAnswer {
                status: answer.status,
                content: Arc::clone(&answer.content),
                response: rule.edits.response.clone(),
            }))),
            RuleAction::Forward { route, path, authority, timeout, attempts } => {
                // Istio: `rewrite` before the rule's `headers`, and those before the destination's.
                let of_rule = authority.as_deref().or(rule.edits.authority.as_deref());
                let only = route.len() == 1;
                let targets = route.iter().map(|(weight, to, edits)| {
                    let target = Target {
                        destination: self.destination(to, port, rules, "503 answers its requests"),
                        authority: of_rule.or(edits.authority.as_deref()).map(Into::into),
                        request: action::in_order(&rule.edits.request, &edits.request, only),
                        response: action::in_order(&rule.edits.response, &edits.response, only),
                    };
                    (*weight, target)
                });
                Some(Action::Forward(Forward {
                    targets: Weighted::new(targets.collect())?,
                    path: path.clone(),
                    timeout: *timeout,
                    further_tries: attempts.unwrap_or(FURTHER_TRIES),
                }))
            }
        }
    }

    /// Where a `destination:` leads. `consequence` says what happens if that is nowhere.
    fn destination(
        &mut self,
        to: &DestinationRef,
        connection_port: u16,
        rules: &VirtualService,
        consequence: &str,
    ) -> Destination {
        let object = claims::object(rules);
        let name = claims::service_name(&to.host.name, self.cluster_domain);
        let service = name.and_then(|name| self.world.services.get(&name).copied());
        let place = service
            .map_or_else(|| to.host.name.to_string(), |service| format!("{}.{}", service.name, service.namespace));
        let label: Arc<str> = match &to.subset {
            Some(subset) => format!("{place}/{}", subset.name).into(),
            None => place.into(),
        };
        let unroutable = |reason| Destination { label: Arc::clone(&label), endpoints: Err(reason) };
        let Some(service) = service else {
            let remedy = match claims::meant(self.world, &to.host.name, self.cluster_domain) {
                Some(full) => format!("a name with a dot must be full: write `{full}`"),
                None => "create it, or mend the name".to_owned(),
            };
            let message = format!("there is no Service `{}`: {consequence}", to.host.name);
            self.findings.broken(Reason::NotFound, &to.host.location, &object, message, &remedy);
            return unroutable(Unroutable::UnknownService);
        };
        let Some(port) = destination_port(service, to.port, connection_port) else {
            let wanted = to.port.unwrap_or(connection_port);
            let message = format!("the Service `{label}` has no TCP port {wanted}: {consequence}");
            self.findings.broken(
                Reason::UnknownPort,
                &to.host.location,
                &object,
                message,
                "name one of its ports by `port: {number: …}`",
            );
            return unroutable(Unroutable::UnknownService);
        };
        let labels = match &to.subset {
            None => None,
            Some(subset) => {
                let found = self.subsets.labels(service, &to.host.name, &subset.name);
                if found.is_none() {
                    let message = format!(
                        "no DestinationRule defines the subset `{}` of `{}`: {consequence}",
                        subset.name, to.host.name
                    );
                    self.findings.broken(
                        Reason::UnknownSubset,
                        &subset.location,
                        &object,
                        message,
                        "define it, or mend the name",
                    );
                    return unroutable(Unroutable::UnknownSubset);
                }
                found
            }
        };
        let endpoints = self.resolver.endpoints(service, port, self.findings);
        let endpoints = endpoints.iter().filter(|endpoint| match (labels, endpoint.labels) {
            (None, _) => true,
            (Some(wanted), None) => wanted.is_empty(),
            (Some(wanted), Some(has)) => has.include(wanted),
        });
        let endpoints: Arc<[_]> = endpoints.map(|resolved| Arc::clone(&resolved.endpoint)).collect();
        if endpoints.is_empty() {
            let location = to.subset.as_ref().map_or(&to.host.location, |subset| &subset.location);
            self.findings.broken(
                Reason::NoEndpoints,
                location,
                &object,
                format!("`{label}` has no ready endpoint: {consequence}"),
                "",
            );
        }
        Destination { label, endpoints: Ok(endpoints) }
    }
}

/// The port of a destination: the one that it names, else the Service's only one, else that of the client's connection
/// (Istio's `GetDestinationCluster`).
fn destination_port(service: &Service, named: Option<u16>, connection: u16) -> Option<&ServicePort> {
    let mut tcp = service.ports.iter().filter(|port| port.transport == Transport::Tcp);
    if named.is_none()
        && let (Some(only), None) = (tcp.clone().next(), tcp.clone().nth(1))
    {
        return Some(only);
    }
    tcp.find(|port| port.port == named.unwrap_or(connection))
}
