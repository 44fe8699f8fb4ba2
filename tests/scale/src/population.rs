//! The cluster around the node: namespaces, services with their endpoints, pods on other nodes, rules. Objects only.
//!
//! Comes in: how many of each. Goes out: objects in the API server, the same in each run; which one is where follows from its number.

use std::fmt;

use anyhow::Result;
use serde_json::json;

use crate::{
    api::{Api, Ask},
    objects::{self, PodOf},
};

/// How large the cluster is.
#[derive(Clone, Debug, clap::Args, serde::Serialize)]
pub(crate) struct Size {
    /// Services of the cluster
    #[arg(long, default_value_t = 5_000)]
    pub(crate) services: usize,
    /// Pods on other nodes
    #[arg(long, default_value_t = 20_000)]
    pub(crate) pods: usize,
    /// VirtualServices, each with a DestinationRule and a mirror
    #[arg(long, default_value_t = 500)]
    pub(crate) rules: usize,
    /// Namespaces that the services, and the ruled ones among them, are spread over
    #[arg(long, default_value_t = 50)]
    pub(crate) namespaces: usize,
    /// Other nodes
    #[arg(long, default_value_t = 500)]
    pub(crate) nodes: usize,
    /// Pods of the node under test: real namespaces, all of them enrolled
    #[arg(long, default_value_t = 40)]
    pub(crate) node_pods: usize,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { services, pods, rules, namespaces, nodes, node_pods } = self;
        write!(
            f,
            "{services} services and {pods} pods in {namespaces} namespaces on {nodes} nodes, {rules} rules, {node_pods} pods on the node under test"
        )
    }
}

/// A pod of another node, by its number.
#[derive(Clone, Debug)]
pub(crate) struct Resident {
    pub(crate) namespace: String,
    pub(crate) name: String,
    app: String,
    version: &'static str,
    node: String,
    pub(crate) address: String,
}

impl Resident {
    fn of(&self) -> PodOf<'_> {
        PodOf { namespace: &self.namespace, name: &self.name, app: &self.app, version: self.version, node: &self.node }
    }

    /// Makes it.
    pub(crate) fn create(&self) -> Ask {
        Ask::create(&objects::pods(&self.namespace), &self.of().object())
    }

    /// It runs.
    pub(crate) fn run(&self) -> Ask {
        Ask::patch(&format!("{}/status", self.path()), &self.of().running(&self.address))
    }

    /// It is gone.
    pub(crate) fn delete(&self) -> Ask {
        Ask::delete(&self.path())
    }

    fn path(&self) -> String {
        format!("{}/{}", objects::pods(&self.namespace), self.name)
    }

    /// The same pod made anew: another name and address.
    pub(crate) fn successor(&self, size: &Size, number: usize) -> Self {
        Self { name: format!("{}-next", self.name), address: address(size.pods + number), ..self.clone() }
    }
}

/// Numbers of the cluster's parts.
impl Size {
    /// The name of a namespace.
    pub(crate) fn namespace(&self, number: usize) -> String {
        format!("team-{}", number % self.namespaces)
    }

    /// The name of another node.
    pub(crate) fn node(&self, number: usize) -> String {
        format!("node-{}", number % self.nodes)
    }

    /// A service's namespace and name. The first ones are the ruled ones.
    pub(crate) fn service(&self, number: usize) -> (String, String) {
        (self.namespace(number), format!("service-{number}"))
    }

    /// A pod of another node: one of each service in turn, first their v1, then their v2, and so on.
    pub(crate) fn resident(&self, number: usize) -> Resident {
        let (namespace, app) = self.service(number % self.services);
        let turn = number / self.services;
        Resident {
            namespace,
            name: format!("{app}-7c5ddbdf54-{turn}"),
            app,
            version: if turn.is_multiple_of(2) { "v1" } else { "v2" },
            node: self.node(number),
            address: address(number),
        }
    }

    /// The pods of a service.
    pub(crate) fn residents_of(&self, service: usize) -> Vec<Resident> {
        (service..self.pods).step_by(self.services).map(|number| self.resident(number)).collect()
    }

    /// Everything but rules.
    ///
    /// # Errors
    /// When the API server refuses something.
    pub(crate) fn fill(&self, api: &Api) -> Result<()> {
        api.all(
            (0..self.namespaces)
                .map(|n| Ask::create("/api/v1/namespaces", &objects::namespace(&self.namespace(n), false))),
        )?;
        api.all((0..self.services).map(|number| {
            let (namespace, name) = self.service(number);
            Ask::create(&objects::services(&namespace), &objects::service(&namespace, &name, None))
        }))?;
        api.all((0..self.services).map(|number| {
            let (namespace, name) = self.service(number);
            let slice = slice(&namespace, &name, &self.residents_of(number));
            Ask::create(&objects::slices(&namespace), &slice)
        }))?;
        api.all((0..self.pods).map(|number| self.resident(number).create()))?;
        api.all((0..self.pods).map(|number| self.resident(number).run()))
    }

    /// The rules of the first services.
    ///
    /// # Errors
    /// When the API server refuses one.
    pub(crate) fn rule(&self, api: &Api) -> Result<()> {
        api.all((0..self.rules).flat_map(|number| {
            let (namespace, name) = self.service(number);
            [
                Ask::create(&objects::destination_rules(&namespace), &objects::destination_rule(&namespace, &name)),
                Ask::create(&objects::virtual_services(&namespace), &objects::virtual_service(&namespace, &name, 100)),
            ]
        }))
    }

    /// Another share of shadows in one of the rules.
    pub(crate) fn edit(&self, rule: usize, percent: u32) -> Ask {
        let (namespace, name) = self.service(rule);
        let object = objects::virtual_service(&namespace, &name, percent);
        let path = format!("{}/{name}", objects::virtual_services(&namespace));
        Ask::patch(&path, &json!({"spec": object["spec"]}))
    }
}

fn slice(namespace: &str, service: &str, residents: &[Resident]) -> serde_json::Value {
    let endpoints: Vec<_> = residents.iter().map(|resident| resident.of().endpoint(&resident.address)).collect();
    objects::slice(namespace, service, &endpoints)
}

/// Other endpoints of a service.
pub(crate) fn endpoints(namespace: &str, service: &str, residents: &[Resident]) -> Ask {
    let object = slice(namespace, service, residents);
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    Ask::patch(&format!("{}/{name}", objects::slices(namespace)), &json!({"endpoints": object["endpoints"]}))
}

/// An address outside of the toy world's own.
fn address(number: usize) -> String {
    format!("10.{}.{}.{}", 128 + (number >> 16), (number >> 8) & 255, number & 255)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size() -> Size {
        Size { services: 10, pods: 40, rules: 4, namespaces: 5, nodes: 8, node_pods: 3 }
    }

    /// Fails if a service's slice names other pods than those that carry its label.
    #[test]
    fn the_pods_of_a_service_are_those_that_carry_its_name() {
        let all: Vec<_> = (0..40).map(|number| size().resident(number)).collect();
        for service in 0..10 {
            let (namespace, name) = size().service(service);
            let mut labelled: Vec<_> = all.iter().filter(|pod| pod.app == name).map(|pod| &*pod.name).collect();
            labelled.sort_unstable();
            let of = size().residents_of(service);
            assert!(of.iter().all(|pod| pod.namespace == namespace));
            assert_eq!(of.iter().map(|pod| &*pod.name).collect::<Vec<_>>(), labelled);
            assert_eq!(of.iter().map(|pod| pod.version).collect::<Vec<_>>(), ["v1", "v2", "v1", "v2"]);
        }
    }

    #[test]
    fn no_two_pods_share_a_name_or_an_address() {
        let all: Vec<_> = (0..40).map(|number| size().resident(number)).collect();
        let names: std::collections::BTreeSet<_> = all.iter().map(|pod| (&pod.namespace, &pod.name)).collect();
        let addresses: std::collections::BTreeSet<_> = (0..70_000).map(address).collect();
        assert_eq!((names.len(), addresses.len()), (40, 70_000));
    }
}
