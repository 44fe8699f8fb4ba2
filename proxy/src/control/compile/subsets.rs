//! Subsets of DestinationRules, by the Service they divide. Only rules of the Service's own namespace count so far.

use std::collections::{BTreeSet, HashMap};

use super::{Findings, claims, domains::suffixes, world::World};
use crate::control::{
    diagnostic::Reason,
    model::{DestinationRule, Service, Subset},
};
use crate::route::Labels;

/// Subsets by name, for one host in one namespace.
type Named<'a> = HashMap<&'a str, &'a Subset>;

/// Every subset. Several DestinationRules for one host in one namespace are one: the oldest definition of a subset counts
/// (Istio's `mergeDestinationRule`).
#[derive(Debug, Default)]
pub(super) struct Subsets<'a> {
    exact: HashMap<(&'a str, &'a str), Named<'a>>,
    /// By namespace and what follows the `*`.
    wildcard: HashMap<(&'a str, &'a str), Named<'a>>,
}

impl<'a> Subsets<'a> {
    pub(super) fn new(world: &World<'a>, cluster_domain: &str, findings: &mut Findings) -> Self {
        let mut subsets = Self::default();
        warn_elsewhere(world, cluster_domain, findings);
        for rule in &world.destination_rules {
            subsets.add(rule, findings);
        }
        subsets
    }

    fn add(&mut self, rule: &'a DestinationRule, findings: &mut Findings) {
        let (map, host) = match rule.host.name.strip_prefix('*') {
            Some(suffix) => (&mut self.wildcard, suffix),
            None => (&mut self.exact, &*rule.host.name),
        };
        let named = map.entry((&rule.namespace, host)).or_default();
        for subset in &rule.subsets {
            if let Some(first) = named.get(&*subset.name) {
                let message = format!(
                    "the subset `{}` of `{}` is already defined at {}",
                    subset.name, rule.host.name, first.location
                );
                let object = format!("DestinationRule {}/{}", rule.namespace, rule.name);
                findings.broken(
                    Reason::Conflict,
                    &subset.location,
                    &object,
                    message,
                    "keep one of them; the older one counts",
                );
            } else {
                named.insert(&subset.name, subset);
            }
        }
    }

    /// Labels of a subset of the Service with that full name. One rule decides, the most specific one: if it lacks the subset, a wildcard
    /// that has it does not help (Istio's `MostSpecificHostMatch`).
    pub(super) fn labels(&self, service: &Service, host: &str, subset: &str) -> Option<&'a Labels> {
        let namespace = &*service.namespace;
        let by_wildcard = || suffixes(host).find_map(|suffix| self.wildcard.get(&(namespace, suffix)));
        let rule = self.exact.get(&(namespace, host)).or_else(by_wildcard)?;
        rule.get(subset).map(|subset| &subset.labels)
    }
}

/// Istio looks in the client's namespace first, then in the Service's. We look only in the Service's: a rule that is elsewhere says so.
fn warn_elsewhere(world: &World<'_>, cluster_domain: &str, findings: &mut Findings) {
    let namespaces: BTreeSet<&str> = world.services.keys().map(|(namespace, _)| *namespace).collect();
    let endings: Vec<_> = namespaces.iter().map(|name| (*name, format!(".{name}.svc.{cluster_domain}"))).collect();
    for rule in &world.destination_rules {
        let meant = match rule.host.name.strip_prefix('*') {
            None => claims::service_name(&rule.host.name, cluster_domain)
                .filter(|name| world.services.contains_key(name))
                .map(|(namespace, _)| namespace),
            Some(suffix) => {
                let mut covered = endings.iter().filter(|(_, ending)| ending.ends_with(suffix)).map(|(name, _)| *name);
                let own = covered.clone().any(|name| *name == *rule.namespace);
                if own { None } else { covered.next() }
            }
        };
        if let Some(namespace) = meant.filter(|namespace| **namespace != *rule.namespace) {
            let message = format!(
                "a DestinationRule outside of its Service's namespace has no effect yet: `{}` is of `{namespace}`",
                rule.host.name
            );
            let object = format!("DestinationRule {}/{}", rule.namespace, rule.name);
            let remedy = format!("put it in the namespace `{namespace}`");
            findings.broken(Reason::NoEffect, &rule.host.location, &object, message, &remedy);
        }
    }
}
