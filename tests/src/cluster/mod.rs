//! A real cluster: kubectl, kind, the nodes as containers, the agents of the DaemonSet, and the cast of the mirroring task in it.
//!
//! Comes in: a cluster that answers, and the names of images. Goes out: what the scenarios of `cargo xtask e2e` act on and look at.
//! It reaches pods only as a user can (exec, logs, the API server's pod proxy), and nodes only through the engine that kind uses. What it
//! makes is removed when its guard is dropped, and at SIGINT and SIGTERM; what a SIGKILL leaves, the next run removes by its label.

pub mod agents;
pub mod cast;
pub mod definitions;
pub mod download;
pub mod install;
pub mod kind;
pub mod kubectl;
pub mod load;
pub mod namespace;
pub mod node;
pub mod object;
pub mod options;
pub mod task;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

pub use agents::Agent;
pub use cast::Cast;
pub use definitions::Definitions;
pub use download::Download;
pub use install::Installation;
pub use kubectl::Kubectl;
pub use load::{Load, Tally};
pub use namespace::Namespace;
pub use node::Node;
pub use object::Object;
pub use options::Options;

/// Label of everything that a run makes and the next one may remove.
pub const LABEL: &str = "understudy.dev/e2e";
/// Label by which pods are enrolled.
pub const CAPTURE: &str = "understudy.dev/capture";
/// Images as they are called where nobody can pull.
const LOCAL: [&str; 2] = ["httpbin:local", "client:local"];
/// Images as everybody can pull them: the task's own server, and a curl with a shell.
const PUBLIC: [&str; 2] = ["docker.io/kennethreitz/httpbin", "docker.io/curlimages/curl:8.10.1"];

/// Images of the applications.
#[derive(Clone, Debug)]
pub struct Images {
    /// httpbin under gunicorn.
    pub httpbin: String,
    /// curl and a shell.
    pub client: String,
}

/// A cluster with two nodes that carry pods.
#[derive(Debug)]
pub struct Cluster {
    /// How it is spoken to.
    pub kubectl: Kubectl,
    /// The first two nodes that carry pods, a worker first.
    pub nodes: [Node; 2],
    /// What the pods run.
    pub images: Images,
}

impl Cluster {
    /// Looks at the cluster behind a kubectl. Images that are not named are the local ones if every node has them, else public ones.
    ///
    /// # Errors
    /// When it does not answer, or when fewer than two of its nodes take pods.
    pub fn open(kubectl: Kubectl, httpbin: Option<String>, client: Option<String>) -> Result<Self> {
        let nodes = kubectl.json(&["get", "nodes"]).context("the cluster does not answer")?;
        let all = nodes["items"].as_array().cloned().unwrap_or_default();
        let mut carrying: Vec<&Value> = all.iter().filter(|node| carries_pods(node)).collect();
        // The control plane last: what is done to the first node should not be done to the API server's.
        carrying.sort_by_key(|node| node["metadata"]["labels"].get("node-role.kubernetes.io/control-plane").is_some());
        let names: Vec<_> = carrying.iter().filter_map(|node| node["metadata"]["name"].as_str()).collect();
        ensure!(
            names.len() >= 2,
            "two nodes that take pods are needed, but there are {}: {names:?} (a taint of the control plane is removed by \
             `kubectl taint nodes NAME node-role.kubernetes.io/control-plane-`)",
            names.len()
        );
        let local = |image: &str| {
            let full = format!("docker.io/library/{image}");
            // A kubelet tells of a new image some time later.
            let has = |node: &&Value| {
                let name = node["metadata"]["name"].as_str().unwrap_or_default();
                node["status"]["images"].to_string().contains(&format!("\"{full}\""))
                    || Node::find(name).has_image(&full)
            };
            carrying.iter().all(has)
        };
        let pick = |given: Option<String>, at: usize| {
            given.unwrap_or_else(|| (if local(LOCAL[at]) { LOCAL[at] } else { PUBLIC[at] }).to_owned())
        };
        let images = Images { httpbin: pick(httpbin, 0), client: pick(client, 1) };
        let nodes = [Node::find(names[0]), Node::find(names[1])];
        Ok(Self { kubectl, nodes, images })
    }

    /// Removes what a killed run left, by its label: namespaces, and definitions of Istio's kinds.
    ///
    /// # Errors
    /// When the cluster refuses.
    pub fn remove_stale(&self) -> Result<()> {
        self.kubectl.run(&["delete", "namespace,crd", "-l", LABEL, "--ignore-not-found", "--timeout=180s"])?;
        Ok(())
    }
}

fn carries_pods(node: &Value) -> bool {
    let tainted = node["spec"]["taints"].as_array().is_some_and(|taints| {
        taints.iter().any(|taint| taint["effect"] == "NoSchedule" || taint["effect"] == "NoExecute")
    });
    !tainted && node["spec"]["unschedulable"] != true
}
