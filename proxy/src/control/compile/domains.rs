//! The names under which clients ask for a Service (Istio's `generateVirtualHostDomains`, without ports: the connection's port counts).

use crate::control::model::Service;

/// Names that every client may use, in lower case: the full name with and without the final dot, the shorter ones with the namespace,
/// and the Service's addresses.
pub(super) fn everywhere(service: &Service, cluster_domain: &str) -> Vec<String> {
    let mut names = of(&format!("{}.{}", service.name, service.namespace), cluster_domain);
    names.extend(service.cluster_ips.iter().chain(&service.other_ips).map(ToString::to_string));
    names
}

/// Names of one pod of a headless Service.
pub(super) fn of_pod(hostname: &str, service: &Service, cluster_domain: &str) -> Vec<String> {
    of(&format!("{}.{}.{}", hostname.to_ascii_lowercase(), service.name, service.namespace), cluster_domain)
}

fn of(name: &str, cluster_domain: &str) -> Vec<String> {
    let full = format!("{name}.svc.{cluster_domain}");
    vec![format!("{full}."), full, format!("{name}.svc"), name.to_owned()]
}

/// `.b.c`, `.c` of `a.b.c`: what wildcards that cover a host leave of it, the longest first, and the empty rest of `*`.
pub(super) fn suffixes(host: &str) -> impl Iterator<Item = &str> {
    host.char_indices().filter(|(_, c)| *c == '.').map(|(at, _)| &host[at..]).chain([""])
}
