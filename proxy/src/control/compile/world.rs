//! Objects by the names under which compiling asks for them. Everything is built in one pass and looked up by hash, so that the cost of
//! a generation grows with the number of objects, not with its square.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use crate::control::{
    model::{DestinationRule, EndpointSlice, Namespace, Object, Pod, Service, ShadowPolicy, VirtualService},
    objects::Objects,
};

/// Namespace and name.
pub(super) type Name<'a> = (&'a str, &'a str);

/// Every object, indexed.
#[derive(Debug, Default)]
pub(super) struct World<'a> {
    pub(super) namespaces: HashMap<&'a str, &'a Namespace>,
    /// In order, so that the numbers of rules are the same in every process.
    pub(super) services: BTreeMap<Name<'a>, &'a Service>,
    pub(super) pods: Vec<&'a Pod>,
    pub(super) slices: HashMap<Name<'a>, Vec<&'a EndpointSlice>>,
    /// Oldest first.
    pub(super) virtual_services: Vec<&'a VirtualService>,
    /// Oldest first.
    pub(super) destination_rules: Vec<&'a DestinationRule>,
    /// Oldest first.
    pub(super) policies: Vec<&'a ShadowPolicy>,
    pods_by_name: HashMap<Name<'a>, &'a Pod>,
    pods_by_ip: HashMap<IpAddr, &'a Pod>,
    /// By namespace, label and value.
    pods_by_label: HashMap<(&'a str, &'a str, &'a str), Vec<&'a Pod>>,
}

impl<'a> World<'a> {
    pub(super) fn new(objects: &'a Objects) -> Self {
        let mut world = Self::default();
        for (_, object) in objects.iter() {
            match object {
                Object::Namespace(namespace) => {
                    world.namespaces.insert(&namespace.name, namespace);
                }
                Object::Service(service) => {
                    world.services.insert((&service.namespace, &service.name), service);
                }
                Object::Pod(pod) => world.add_pod(pod),
                Object::EndpointSlice(slice) => {
                    world.slices.entry((&slice.namespace, &slice.service)).or_default().push(slice)
                }
                Object::VirtualService(rules) => world.virtual_services.push(rules),
                Object::DestinationRule(rule) => world.destination_rules.push(rule),
                Object::ShadowPolicy(policy) => world.policies.push(policy),
            }
        }
        // Stable: objects of one age stay in the order of their names. No age (files) counts as oldest, as in Istio.
        world.virtual_services.sort_by_key(|rules| &*rules.created);
        world.destination_rules.sort_by_key(|rule| &*rule.created);
        world.policies.sort_by_key(|policy| &*policy.created);
        world
    }

    fn add_pod(&mut self, pod: &'a Pod) {
        self.pods.push(pod);
        self.pods_by_name.insert((&pod.namespace, &pod.name), pod);
        if !pod.gone && !pod.host_network {
            self.pods_by_ip.extend(pod.ips.iter().map(|ip| (*ip, pod)));
        }
        for (label, value) in pod.labels.iter() {
            self.pods_by_label.entry((&pod.namespace, label, value)).or_default().push(pod);
        }
    }

    /// The pods of a Service by its selector, whatever their state.
    pub(super) fn selected(&self, service: &'a Service) -> Vec<&'a Pod> {
        let candidates =
            |(label, value): (&'a str, &'a str)| self.pods_by_label.get(&(&*service.namespace, label, value));
        // The rarest label first; a label that no pod has selects nothing.
        let mut rarest: Option<&Vec<&'a Pod>> = None;
        for term in service.selector.iter() {
            let Some(pods) = candidates(term) else { return Vec::new() };
            if rarest.is_none_or(|known| pods.len() < known.len()) {
                rarest = Some(pods);
            }
        }
        let fits = |pod: &&&'a Pod| pod.labels.include(&service.selector);
        rarest.into_iter().flatten().filter(fits).copied().collect()
    }

    /// The pod behind an endpoint of a slice.
    pub(super) fn pod_of(&self, namespace: &str, name: Option<&Arc<str>>, address: IpAddr) -> Option<&'a Pod> {
        match name {
            Some(name) => self.pods_by_name.get(&(namespace, &**name)).copied(),
            None => self.pods_by_ip.get(&address).copied().filter(|pod| *pod.namespace == *namespace),
        }
    }
}
