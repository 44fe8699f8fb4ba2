//! Which Services, endpoints and labels the rules need.
//!
//! Comes in: the hosts that rules name, and what is known of their Services. Goes out: the watches for them. Never: what a rule says
//! about a host.
//!
//! The API server's work grows with what stands here: a watch for each namespace with a ruled Service, not one for each Service, and
//! never one for what no rule names.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::watch::Watch;

/// Services that rules name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hosts {
    /// A wildcard covers every namespace.
    everywhere: bool,
    /// Namespaces of which a wildcard covers everything.
    whole: BTreeSet<Arc<str>>,
    /// Names by namespace.
    named: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
}

impl Hosts {
    /// Adds a full host name of a rule, in lower case; names that are no Service of the cluster are nobody's.
    pub(super) fn add(&mut self, host: &str, cluster_domain: &str) {
        let tail = format!(".svc.{cluster_domain}");
        if let Some(suffix) = host.strip_prefix('*') {
            match suffix.strip_suffix(&*tail).map(|rest| rest.strip_prefix('.').unwrap_or(rest)) {
                Some(namespace) if !namespace.is_empty() && !namespace.contains('.') => {
                    self.whole.insert(namespace.into());
                }
                // `*`, `*.local`, `*.svc.cluster.local`; of `*.b.ns.svc.…` there is no Service.
                Some("") | None if tail.ends_with(suffix) => self.everywhere = true,
                _ => {}
            }
            return;
        }
        let Some((name, namespace)) = host.strip_suffix(&*tail).and_then(|name| name.split_once('.')) else { return };
        if !namespace.contains('.') {
            self.named.entry(namespace.into()).or_default().insert(name.into());
        }
    }

    /// Whether a rule names this Service.
    pub(super) fn covers(&self, namespace: &str, name: &str) -> bool {
        let named = || self.named.get(namespace).is_some_and(|names| names.contains(name));
        self.everywhere || self.whole.contains(namespace) || named()
    }

    /// The watches for Services and slices.
    pub(super) fn watches(&self) -> BTreeSet<Watch> {
        if self.everywhere {
            let all = Watch::Slices { namespace: None, services: None };
            return [Watch::Services { namespace: None, only: None }, all].into();
        }
        let whole = self.whole.iter().flat_map(|namespace| {
            let namespace = || Some(Arc::clone(namespace));
            [
                Watch::Services { namespace: namespace(), only: None },
                Watch::Slices { namespace: namespace(), services: None },
            ]
        });
        let named = self.named.iter().filter(|(namespace, _)| !self.whole.contains(*namespace));
        let named = named.flat_map(|(namespace, names)| {
            let namespace = || Some(Arc::clone(namespace));
            // The API server selects one name or all of them; Services change rarely.
            let only = names.first().filter(|_| names.len() == 1).cloned();
            [
                Watch::Services { namespace: namespace(), only },
                Watch::Slices { namespace: namespace(), services: Some(names.clone()) },
            ]
        });
        whole.chain(named).collect()
    }
}

/// The watches for labels of pods: `selectors` are those of ruled Services with subsets, by namespace. Of a selector with several terms one
/// is asked for; what it shows too much does no harm.
pub(super) fn labels<'a>(
    selectors: impl Iterator<Item = (&'a Arc<str>, &'a BTreeMap<String, String>)>,
) -> BTreeSet<Watch> {
    /// Namespace and label.
    type Place = (Arc<str>, Arc<str>);
    let mut wanted: BTreeMap<Place, BTreeSet<Arc<str>>> = BTreeMap::new();
    for (namespace, selector) in selectors {
        let Some((key, value)) = selector.first_key_value() else { continue };
        let place = (Arc::clone(namespace), Arc::from(&**key));
        wanted.entry(place).or_default().insert(Arc::from(&**value));
    }
    wanted.into_iter().map(|((namespace, key), values)| Watch::Labels { namespace, key, values }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(hosts: &[&str]) -> Vec<String> {
        let mut all = Hosts::default();
        for host in hosts {
            all.add(host, "cluster.local");
        }
        let selected = |watch: &Watch| {
            let config = watch.selection();
            config.label_selector.or(config.field_selector).unwrap_or_else(|| "all".into())
        };
        all.watches().iter().map(|watch| format!("{watch}: {}", selected(watch))).collect()
    }

    #[test]
    fn one_service_costs_its_namespace_two_watches_and_a_second_one_none_more() {
        let one = ["services of namespace mirror: metadata.name=httpbin"];
        let seen = names(&["httpbin.mirror.svc.cluster.local"]);
        assert_eq!(seen[..1], one);
        assert_eq!(
            seen[1],
            "endpointslices.discovery.k8s.io of namespace mirror: kubernetes.io/service-name in (httpbin)"
        );
        let two = names(&["b.mirror.svc.cluster.local", "a.mirror.svc.cluster.local"]);
        assert_eq!(two.len(), 2);
        assert_eq!(two[0], "services of namespace mirror: all");
        assert_eq!(two[1], "endpointslices.discovery.k8s.io of namespace mirror: kubernetes.io/service-name in (a,b)");
    }

    #[test]
    fn what_is_no_service_of_the_cluster_is_not_asked_for() {
        assert!(names(&["example.com", "a.b.c.svc.cluster.local", "svc.cluster.local"]).is_empty());
    }

    #[test]
    fn a_wildcard_covers_its_namespace_or_all_of_them() {
        let whole = names(&["*.mirror.svc.cluster.local", "httpbin.mirror.svc.cluster.local"]);
        assert_eq!(whole.len(), 2, "{whole:?}");
        assert_eq!(whole[0], "services of namespace mirror: all");
        for host in ["*", "*.local", "*.svc.cluster.local"] {
            assert_eq!(names(&[host])[0], "services: all", "{host}");
        }
        assert!(names(&["*.example.com"]).is_empty());
        assert!(names(&["*.b.mirror.svc.cluster.local"]).is_empty());
    }

    /// Whose endpoints a subset tells apart is asked of these. Mutation that breaks it: leaving out what a wildcard covers.
    #[test]
    fn a_service_is_covered_by_its_name_or_by_a_wildcard() {
        let covers = |host: &str, namespace: &str, name: &str| {
            let mut all = Hosts::default();
            all.add(host, "cluster.local");
            all.covers(namespace, name)
        };
        assert!(covers("httpbin.mirror.svc.cluster.local", "mirror", "httpbin"));
        assert!(!covers("httpbin.mirror.svc.cluster.local", "mirror", "other"));
        assert!(covers("*.mirror.svc.cluster.local", "mirror", "other"));
        assert!(!covers("*.mirror.svc.cluster.local", "other", "httpbin"));
        assert!(covers("*", "other", "httpbin"));
    }

    #[test]
    fn labels_are_asked_for_by_a_term_of_the_selector_together_where_they_share_it() {
        let ns: Arc<str> = "mirror".into();
        let selector = |app: &str| BTreeMap::from([("app".to_owned(), app.to_owned())]);
        let (a, b, none) = (selector("a"), selector("b"), BTreeMap::new());
        let watches = labels([(&ns, &a), (&ns, &b), (&ns, &none)].into_iter());
        assert_eq!(watches.len(), 1);
        assert_eq!(watches.first().and_then(|watch| watch.selection().label_selector).as_deref(), Some("app in (a,b)"));
    }
}
