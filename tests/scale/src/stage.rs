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
/// Namespace of the node's pods, in which there is no rule.
pub(crate) const NAMESPACE: &str = "mirror";
/// As many services as there is room for: of the cluster's addresses, these are not given away unasked.
pub(crate) const MOST_SERVICES: usize = 200;

/// A service whose v1 and v2 are on the stage.
#[derive(Clone, Debug)]
pub(crate) struct Played {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) vip: SocketAddr,
}

impl Played {
    /// One of [`MOST_SERVICES`].
    pub(crate) fn new(namespace: &str, number: usize) -> Self {
        let octet = 20 + u8::try_from(number).unwrap_or_default();
        let vip = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 96, 0, octet)), PORT);
        Self { namespace: namespace.to_owned(), name: format!("httpbin-{number}"), vip }
    }
}

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

        api.ask(Ask::create("/api/v1/namespaces", &objects::namespace(NAMESPACE, true)))?;
        let root = cgroups::root()?;
        let (mut pods, mut made) = (Vec::new(), Vec::new());
        for number in 0..size.node_pods.max(3) {
            let name = match number {
                0 => "client".to_owned(),
                1 | 2 => format!("v{number}"),
                _ => format!("other-{number}"),
            };
            let pod = node.pod(&name).start()?;
            let object = PodOf { namespace: NAMESPACE, name: &name, app: "app", version: "v1", node: NODE };
            let answer = api.ask(Ask::create(&objects::pods(NAMESPACE), &object.object()))?;
            let answer: Value = serde_json::from_str(&answer)?;
            let uid = answer["metadata"]["uid"].as_str().context("a pod without a UID")?;
            let cgroup = PodCgroup::create(&root, node.id(), uid)?;
            cgroup.take(pod.pid())?;
            made.push(cgroup);
            show(pod.pid(), &pod.pid().to_string())?;
            let path = format!("{}/{name}/status", objects::pods(NAMESPACE));
            api.ask(Ask::patch(&path, &object.running(&pod.v4().to_string())))?;
            pods.push(pod);
        }
        let (v1, v2) = (Server::start(&pods[1], PORT)?, Server::start(&pods[2], PORT)?);
        Ok(Self { v2, _v1: v1, pods, _cgroups: made, proc, init })
    }

    /// Makes a service with subsets and endpoints, which the cluster knows as pods of the service's namespace on other nodes.
    ///
    /// # Errors
    /// When the API server refuses an object.
    pub(crate) fn play(&self, node: &Node, api: &Api, played: &Played) -> Result<()> {
        let Played { namespace, name, vip } = played;
        let mut endpoints = Vec::new();
        for (pod, version) in self.pods[1..].iter().zip(["v1", "v2"]) {
            let (known_as, address) = (format!("{name}-{version}"), pod.v4().to_string());
            let object = PodOf { namespace, name: &known_as, app: name, version, node: "node-0" };
            api.ask(Ask::create(&objects::pods(namespace), &object.object()))?;
            let status = format!("{}/{known_as}/status", objects::pods(namespace));
            api.ask(Ask::patch(&status, &object.running(&address)))?;
            endpoints.push(object.endpoint(&address));
        }
        let service = objects::service(namespace, name, Some(&vip.ip().to_string()));
        api.ask(Ask::create(&objects::services(namespace), &service))?;
        api.ask(Ask::create(&objects::slices(namespace), &objects::slice(namespace, name, &endpoints)))?;
        api.ask(Ask::create(&objects::destination_rules(namespace), &objects::destination_rule(namespace, name)))?;
        node.cluster_ip(*vip, &[(self.pods[1].v4(), PORT).into()])
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
