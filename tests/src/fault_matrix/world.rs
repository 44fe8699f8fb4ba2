//! Where the faults happen: one client, a v1 that is always well, and a v2 that has every fault at once, each behind a Service of its own.
//!
//! A fault comes into force by pointing the rule's mirror at its Service, so each has connections of its own and none inherits another's.

use std::{
    fmt::Write as _,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::Command,
};

use anyhow::Result;

use super::fault::Fault;
use crate::{
    agent::Agent,
    load::{self, Load, Manner, Report, Running, Server},
    manifests::{self, Manifests},
    metrics::MetricsView,
    needs::{self, Need},
    netns,
    node::Node,
    pod::Pod,
    theatre::{PORT, VIP, rules, service, subsets, whole},
};

/// What this world needs.
pub const NEEDS: &[Need] = &[Need::Root, Need::NetTools, Need::Cgroup2, Need::Btf, Need::Agent];

/// Limits of shadows while a fault is in force.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Timeout of shadows that end by it, seconds.
    pub timeout: u32,
    /// Shadows under way at once.
    pub max_concurrent: u32,
}

/// The world.
#[derive(Debug)]
pub struct World {
    /// The agent.
    pub agent: Agent,
    /// The enrolled client.
    pub client: Pod,
    /// v1's server.
    pub v1: Server,
    /// v2's servers, by the fault that each plays.
    pub v2: Vec<(Fault, Server)>,
    manifests: Manifests,
    /// Where v1 runs.
    pub v1_pod: Pod,
    /// Where v2 runs.
    pub v2_pod: Pod,
    /// The node.
    pub node: Node,
}

/// A fault's port at v2.
fn port(fault: Fault) -> u16 {
    8100 + fault as u16
}

/// Where the rule's mirror leads for a fault.
fn mirror(fault: Fault) -> String {
    match fault {
        Fault::NoEndpoint => "{host: httpbin, subset: empty}".to_owned(),
        Fault::UnknownSubset => "{host: httpbin, subset: unheard-of}".to_owned(),
        _ => format!("{{host: v2-{}}}", fault as u8),
    }
}

impl World {
    /// Lays it and starts the agent with these further arguments. v2 is healthy.
    ///
    /// # Errors
    /// When something is missing, or the agent does not become ready.
    pub fn start(args: &[&str], limits: Limits) -> Result<Self> {
        let node = Node::new()?;
        let client = node.pod("client").label("app", "client").start()?;
        let v1_pod = node.pod("httpbin-v1").label("app", "httpbin").label("version", "v1").start()?;
        let v2_pod = node.pod("httpbin-v2").label("app", "httpbin").label("version", "v2").start()?;
        let any = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let v1 = Server::start(v1_pod.netns(), any(PORT), "v1", Manner::Answers)?;
        let mut v2 = Vec::new();
        for (fault, _) in Fault::ALL {
            if let Some(manner) = fault.manner() {
                v2.push((fault, Server::start(v2_pod.netns(), any(port(fault)), "v2", manner)?));
            }
        }
        drop_packets(&v2_pod, port(Fault::Blackholed))?;
        node.cluster_ip(VIP, &[(v1_pod.v4(), PORT).into()])?;
        let mut objects = vec![
            manifests::namespace("mirror"),
            service("httpbin", VIP, Some("http"), PORT),
            subsets("httpbin"),
            manifests::pod(&client, "mirror", true),
            manifests::pod(&v1_pod, "mirror", false),
            manifests::pod(&v2_pod, "mirror", false),
        ];
        for (fault, _) in Fault::ALL {
            let vip = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 96, 1, fault as u8)), 80);
            let service = service(&format!("v2-{}", fault as u8), vip, Some("http"), port(fault));
            objects.push(service.replace("selector: {app: httpbin}", "selector: {version: v2}"));
        }
        let manifests = Manifests::new(&node)?;
        manifests.apply("world.yaml", &manifests::documents(&objects))?;
        manifests.apply(RULE, &rule(Fault::Healthy, limits))?;
        let agent = Agent::builder(&node).config(manifests.path()).args(args).start()?;
        Ok(Self { agent, client, v1, v2, manifests, v1_pod, v2_pod, node })
    }

    /// Points the mirror at a fault and waits until that is in force.
    ///
    /// # Errors
    /// When it never is.
    pub fn set(&self, fault: Fault, limits: Limits) -> Result<()> {
        let file = self.manifests.path().join(RULE);
        if fs::read_to_string(&file)? == rule(fault, limits) {
            return Ok(());
        }
        self.agent.changed(|| self.switch(fault, limits))
    }

    /// Points the mirror at a fault and does not wait.
    ///
    /// # Errors
    /// When the manifests cannot be written.
    pub fn switch(&self, fault: Fault, limits: Limits) -> Result<()> {
        self.manifests.apply(RULE, &rule(fault, limits))
    }

    /// Starts a load from the client to the ruled service.
    ///
    /// # Errors
    /// As [`load::client::start`].
    pub fn start_load(&self, load: &Load) -> Result<Running> {
        load::client::start(&self.client, VIP, load)
    }

    /// Sends a load and waits for its end.
    ///
    /// # Errors
    /// As [`Running::finish`].
    pub fn load(&self, load: &Load) -> Result<Report> {
        self.start_load(load)?.finish()
    }

    /// The server that plays a fault.
    #[must_use]
    pub fn server(&self, fault: Fault) -> Option<&Server> {
        self.v2.iter().find(|(playing, _)| *playing == fault).map(|(_, server)| server)
    }

    /// v2 resets every connection that it holds, and goes on as before.
    pub fn release(&self) {
        for (fault, server) in &self.v2 {
            if let Some(manner) = fault.manner() {
                server.behave(manner);
            }
        }
    }
}

const RULE: &str = "rule.yaml";

/// The rule and its policy: one file, so that both come into force at once.
fn rule(fault: Fault, limits: Limits) -> String {
    let http = format!("  - route: [{{destination: {{host: httpbin, subset: v1}}}}]\n    mirror: {}\n", mirror(fault));
    let mut text = rules("httpbin", &http);
    let timeout = if fault.ends_by_timeout() { limits.timeout } else { 60 };
    let _ = write!(
        text,
        "---\napiVersion: understudy.dev/v1alpha1\nkind: ShadowPolicy\nmetadata: {{name: httpbin, namespace: mirror}}\nspec:\n\
         \x20 targetRefs: [{{group: networking.istio.io, kind: VirtualService, name: httpbin}}]\n\
         \x20 timeout: {timeout}s\n  maxConcurrent: {}\n",
        limits.max_concurrent
    );
    text
}

/// From now on the pod's kernel drops what comes for the port without a word.
fn drop_packets(pod: &Pod, port: u16) -> Result<()> {
    pod.run(|| {
        let rules = format!(
            "add table inet blackhole; add chain inet blackhole input {{ type filter hook input priority filter; }}; \
             add rule inet blackhole input tcp dport {port} drop"
        );
        netns::run(Command::new(needs::program("nft")).arg(rules))
    })
}

/// Outcomes that were counted between two scrapes, without those of which there was none; answers with the class of their status.
#[must_use]
pub fn outcomes_between(before: &MetricsView, after: &MetricsView) -> Vec<(&'static str, u64)> {
    OUTCOMES
        .into_iter()
        .map(|name| {
            let (outcome, code) = name.split_once(' ').unwrap_or((name, ""));
            let labels = [("outcome", outcome), ("code", code)];
            let total = |view: &MetricsView| whole(view.sum("understudy_shadow_requests_total", &labels)) as u64;
            (name, total(after) - total(before))
        })
        .filter(|(_, count)| *count > 0)
        .collect()
}

const OUTCOMES: [&str; 20] = [
    "answered 1xx",
    "answered 2xx",
    "answered 3xx",
    "answered 4xx",
    "answered 5xx",
    "timeout",
    "connect_failed",
    "reset",
    "no_endpoint",
    "unknown_destination",
    "shed_concurrency",
    "shed_memory",
    "shed_overload",
    "too_slow",
    "cancelled",
    "sampled_out",
    "method_excluded",
    "not_mirrorable",
    "loop",
    "draining",
];
