//! Which VirtualService rules which Service.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    Findings,
    domains::suffixes,
    world::{Name, World},
};
use crate::control::{
    diagnostic::Reason,
    model::{HostRef, Service, VirtualService},
    validate::names::full_host,
};

/// A Service and the VirtualService that rules it: one that names it before one that covers it by a wildcard, a longer wildcard before a
/// shorter one, and among equals the oldest (Istio's `sortMergedVirtualServicesByCreationTime` and `dedupeDomains`). In the order of the
/// Services' names.
pub(super) fn claims<'a>(
    world: &World<'a>,
    cluster_domain: &str,
    findings: &mut Findings,
) -> Vec<(&'a Service, &'a VirtualService)> {
    let mut claimed: BTreeMap<Name<'a>, &'a VirtualService> = BTreeMap::new();
    let mut wildcards: HashMap<&'a str, (&'a VirtualService, &'a HostRef)> = HashMap::new();
    for &rules in world.virtual_services.iter().filter(|rules| rules.mesh) {
        for host in &rules.hosts {
            if let Some(suffix) = host.name.strip_prefix('*') {
                match wildcards.get(suffix) {
                    Some((first, _)) => already_ruled(rules, host, first, findings),
                    None => _ = wildcards.insert(suffix, (rules, host)),
                }
                continue;
            }
            let service = service_name(&host.name, cluster_domain).and_then(|name| world.services.get_key_value(&name));
            match service {
                None => no_service(world, rules, host, cluster_domain, findings),
                Some((name, _)) => match claimed.get(name) {
                    Some(first) => already_ruled(rules, host, first, findings),
                    None => _ = claimed.insert(*name, rules),
                },
            }
        }
    }
    if !wildcards.is_empty() {
        claim_by_wildcard(world, &wildcards, cluster_domain, &mut claimed, findings);
    }
    claimed.into_iter().filter_map(|(name, rules)| Some((*world.services.get(&name)?, rules))).collect()
}

fn claim_by_wildcard<'a>(
    world: &World<'a>,
    wildcards: &HashMap<&'a str, (&'a VirtualService, &'a HostRef)>,
    cluster_domain: &str,
    claimed: &mut BTreeMap<Name<'a>, &'a VirtualService>,
    findings: &mut Findings,
) {
    let mut used = HashSet::new();
    for (name, service) in &world.services {
        let full = full_name(service, cluster_domain);
        let Some(suffix) = suffixes(&full).find(|suffix| wildcards.contains_key(suffix)) else { continue };
        let Some((key, (rules, _))) = wildcards.get_key_value(suffix) else { continue };
        used.insert(*key);
        claimed.entry(*name).or_insert(rules);
    }
    let mut unused: Vec<_> =
        wildcards.iter().filter(|(suffix, _)| !used.contains(*suffix)).map(|(_, found)| found).collect();
    unused.sort_by_key(|(_, host)| &host.location);
    for (rules, host) in unused {
        findings.broken(
            Reason::NotFound,
            &host.location,
            &object(rules),
            format!("the host `{}` covers no Service", host.name),
            "",
        );
    }
}

/// Namespace and name in a full host name.
pub(super) fn service_name<'h>(host: &'h str, cluster_domain: &str) -> Option<Name<'h>> {
    let name = host.strip_suffix(cluster_domain)?.strip_suffix(".svc.")?;
    let (name, namespace) = name.split_once('.')?;
    (!namespace.contains('.')).then_some((namespace, name))
}

/// The full name of a Service.
pub(super) fn full_name(service: &Service, cluster_domain: &str) -> String {
    full_host(&service.name, &service.namespace, cluster_domain)
}

/// The full name that was probably meant by `name.namespace` or `name.namespace.svc`, if there is such a Service.
pub(super) fn meant(world: &World<'_>, host: &str, cluster_domain: &str) -> Option<String> {
    let short = host.strip_suffix('.').unwrap_or(host);
    let short = short.strip_suffix(cluster_domain).map_or(short, |rest| rest.trim_end_matches('.'));
    let (name, namespace) = short.strip_suffix(".svc").unwrap_or(short).split_once('.')?;
    world.services.get(&(namespace, name)).map(|service| full_name(service, cluster_domain))
}

/// `VirtualService mirror/httpbin`.
pub(super) fn object(rules: &VirtualService) -> String {
    format!("VirtualService {}/{}", rules.namespace, rules.name)
}

fn already_ruled(rules: &VirtualService, host: &HostRef, first: &VirtualService, findings: &mut Findings) {
    let message = format!(
        "`{}` is already ruled by {}, which counts because it is older or earlier by name",
        host.name,
        object(first)
    );
    findings.broken(
        Reason::Conflict,
        &host.location,
        &object(rules),
        message,
        "put all rules of a host into one object",
    );
}

fn no_service(
    world: &World<'_>,
    rules: &VirtualService,
    host: &HostRef,
    cluster_domain: &str,
    findings: &mut Findings,
) {
    let remedy = match meant(world, &host.name, cluster_domain) {
        Some(full) => format!("a name with a dot must be full: write `{full}`"),
        None => "its rules wait until there is one".to_owned(),
    };
    findings.broken(
        Reason::NotFound,
        &host.location,
        &object(rules),
        format!("there is no Service `{}`", host.name),
        &remedy,
    );
}
