//! The node under test: a toy node whose pods are real namespaces with real cgroups, as a kubelet would have made them.
//!
//! Comes in: an API server with our definitions and rights. Goes out: pods in it that the agent finds on the node by their UIDs, two services
//! with a v1 and a v2, and agents. The folder that the agents take for the node's `/proc` has the processes of this world alone.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::symlink,
    path::PathBuf,
    process::Command,
};

use anyhow::{Context as _, Result};
use integration::{
    Agent, Node, Pod, Process,
    agent::AgentBuilder,
    cgroups::{self, PodCgroup},
    needs, paths,
};
use nix::unistd::Pid;
use serde_json::Value;

use crate::{
    api::{Api, Ask},
    control_plane::ControlPlane,
    objects::{self, PORT, PodOf},
    population::Size,
    traffic::Server,
};

/// Name of the node under test.
pub(crate) const NODE: &str = "node-under-test";
/// The service that no rule names at first.
pub(crate) const SERVICE: &str = "httpbin";
/// Namespace of the node's pods.
pub(crate) const ALONE: &str = "mirror";
/// The service's address in [`ALONE`], where no other rule is.
pub(crate) const VIP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10)), PORT);
/// Its address in a namespace in which there are other rules.
pub(crate) const BESIDE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 11)), PORT);

/// The node and what is on it. What lives in a cgroup is dropped before the cgroup.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) v2: Server,
    _v1: Server,
    pods: Vec<Pod>,
    _cgroups: Vec<PodCgroup>,
    proc: PathBuf,
    init: Process,
}

impl Stage {
    /// Lays it.
    ///
    /// # Errors
    /// When the API server refuses an object, or the machine a namespace.
    pub(crate) fn lay(node: &Node, api: &Api, size: &Size) -> Result<Self> {
        let proc = node.dir().join("proc");
        fs::create_dir_all(&proc)?;
        fs::create_dir_all(node.dir().join("netns"))?;
        let show = |pid: Pid, name: &str| symlink(format!("/proc/{pid}"), proc.join(name));
        let mut sleep = Command::new(needs::program("sleep"));
        let init = Process::start(node.netns(), "init", sleep.arg("infinity"), &node.dir().join("init.log"))?;
        show(init.pid(), "1")?;

        api.ask(Ask::create("/api/v1/namespaces", &objects::namespace(ALONE, true)))?;
        let root = cgroups::root()?;
        let (mut pods, mut made) = (Vec::new(), Vec::new());
        for number in 0..size.node_pods.max(3) {
            let name = match number {
                0 => "client".to_owned(),
                1 | 2 => format!("{SERVICE}-v{number}"),
                _ => format!("other-{number}"),
            };
            let pod = node.pod(&name).start()?;
            let object = of(&name, ALONE, NODE);
            let answer = api.ask(Ask::create(&objects::pods(ALONE), &object.object()))?;
            let answer: Value = serde_json::from_str(&answer)?;
            let uid = answer["metadata"]["uid"].as_str().context("a pod without a UID")?;
            let cgroup = PodCgroup::create(&root, node.id(), uid)?;
            cgroup.take(pod.pid())?;
            made.push(cgroup);
            show(pod.pid(), &pod.pid().to_string())?;
            let path = format!("{}/{name}/status", objects::pods(ALONE));
            api.ask(Ask::patch(&path, &object.running(&pod.v4().to_string())))?;
            pods.push(pod);
        }
        let (v1, v2) = (Server::start(&pods[1], PORT)?, Server::start(&pods[2], PORT)?);
        let stage = Self { v2, _v1: v1, pods, _cgroups: made, proc, init };
        stage.service(api, ALONE, VIP)?;
        // The same pods once more under the eyes of a cluster: as pods of another namespace and node.
        let beside = size.namespace(0);
        for pod in &stage.pods[1..3] {
            let object = of(pod.name(), &beside, "node-0");
            api.ask(Ask::create(&objects::pods(&beside), &object.object()))?;
            let path = format!("{}/{}/status", objects::pods(&beside), pod.name());
            api.ask(Ask::patch(&path, &object.running(&pod.v4().to_string())))?;
        }
        stage.service(api, &beside, BESIDE)?;
        for vip in [VIP, BESIDE] {
            node.cluster_ip(vip, &[(stage.pods[1].v4(), PORT).into()])?;
        }
        Ok(stage)
    }

    /// The service with its endpoints and subsets.
    fn service(&self, api: &Api, namespace: &str, vip: SocketAddr) -> Result<()> {
        let service = objects::service(namespace, SERVICE, Some(&vip.ip().to_string()));
        let endpoints: Vec<_> =
            self.pods[1..3].iter().map(|pod| of(pod.name(), namespace, NODE).endpoint(&pod.v4().to_string())).collect();
        let slice = objects::slice(namespace, SERVICE, &endpoints);
        let subsets = objects::destination_rule(namespace, SERVICE);
        api.ask(Ask::create(&objects::services(namespace), &service))?;
        api.ask(Ask::create(&objects::slices(namespace), &slice))?;
        api.ask(Ask::create(&objects::destination_rules(namespace), &subsets))?;
        Ok(())
    }

    /// Whose connections are captured.
    pub(crate) fn client(&self) -> &Pod {
        &self.pods[0]
    }

    /// A process in the node's namespace, while there is no agent.
    pub(crate) fn init(&self) -> Pid {
        self.init.pid()
    }

    /// How many pods are enrolled.
    pub(crate) fn pods(&self) -> usize {
        self.pods.len()
    }

    /// An agent of a node, as its DaemonSet starts it.
    pub(crate) fn agent<'a>(&self, node: &'a Node, plane: &ControlPlane, name: &str) -> AgentBuilder<'a> {
        let path = |path: PathBuf| path.display().to_string();
        Agent::builder(node).of_cluster(name, &plane.agent()).args(&[
            "--proc",
            &path(self.proc.clone()),
            "--netns-dir",
            &path(node.dir().join("netns")),
            "--state-dir",
            &path(node.dir().join("state").join(name)),
        ])
    }
}

/// A pod of the stage as the cluster knows it.
fn of<'a>(name: &'a str, namespace: &'a str, node: &'a str) -> PodOf<'a> {
    let app = if name.starts_with(SERVICE) { SERVICE } else { "other" };
    let version = if name.ends_with("-v2") { "v2" } else { "v1" };
    PodOf { namespace, name, app, version, node }
}

/// Our kinds and our rights, as `kubectl apply -k deploy/` brings them.
///
/// # Errors
/// When the API server refuses one, or does not serve the kinds afterwards.
pub(crate) fn install(api: &Api) -> Result<()> {
    let deploy = paths::workspace().join("deploy");
    for file in [
        "base/namespace.yaml",
        "base/rbac.yaml",
        "crds/istio/virtualservices.yaml",
        "crds/istio/destinationrules.yaml",
        "crds/shadow-policy/shadowpolicies.yaml",
    ] {
        api.apply_file(&deploy.join(file))?;
    }
    for collection in [
        "/apis/networking.istio.io/v1/virtualservices",
        "/apis/networking.istio.io/v1/destinationrules",
        "/apis/understudy.dev/v1alpha1/shadowpolicies",
    ] {
        integration::wait::until(collection, || Ok(api.get(collection).ok()))?;
    }
    Ok(())
}
