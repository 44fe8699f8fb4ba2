//! The agents of the DaemonSet, as anybody sees them who may read pods: through the API server.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail, ensure};
use nix::unistd::Pid;
use serde_json::Value;

use super::{Cluster, Kubectl, Node};
use crate::{MetricsView, descriptors, in_kernel::InKernel, wait};

/// The namespace of the installation.
pub const NAMESPACE: &str = "understudy-system";
/// Selects the agents' pods.
pub const SELECTOR: &str = "app.kubernetes.io/name=understudy";
const METRICS_PORT: u16 = 15090;

/// A pod of the DaemonSet that is not on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// The pod's name.
    pub pod: String,
    /// Its UID.
    pub uid: String,
    /// Its node.
    pub node: String,
    /// How often its container was started again.
    pub restarts: u64,
    /// Whether the cluster calls it ready.
    pub ready: bool,
}

impl Agent {
    fn of(pod: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let meta = &pod["metadata"];
        if meta.get("deletionTimestamp").is_some() {
            return None;
        }
        let container = &pod["status"]["containerStatuses"][0];
        Some(Self {
            pod: text(&meta["name"])?,
            uid: text(&meta["uid"])?,
            node: text(&pod["spec"]["nodeName"])?,
            restarts: container["restartCount"].as_u64().unwrap_or(0),
            ready: container["ready"] == true,
        })
    }

    /// A page of its metrics address, through the API server's pod proxy.
    ///
    /// # Errors
    /// When it is not answered with 2xx.
    pub fn page(&self, kubectl: &Kubectl, page: &str) -> Result<String> {
        kubectl.raw(&format!("/api/v1/namespaces/{NAMESPACE}/pods/{}:{METRICS_PORT}/proxy/{page}", self.pod))
    }

    /// Its metrics now.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn metrics(&self, kubectl: &Kubectl) -> Result<MetricsView> {
        Ok(MetricsView::parse(&self.page(kubectl, "metrics")?))
    }

    /// Pods that it should have and has enrolled.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn enrolled(&self, kubectl: &Kubectl) -> Result<(f64, f64)> {
        let metrics = self.metrics(kubectl)?;
        let value = |name: &str| metrics.sum(&format!("understudy_enrolled_{name}"), &[]);
        Ok((value("desired"), value("actual")))
    }

    /// What it holds in the kernel.
    ///
    /// # Errors
    /// When it runs on another machine.
    pub fn in_kernel(&self) -> Result<InKernel> {
        InKernel::of(self.pid()?)
    }

    /// Descriptors that it holds, less its own connections.
    ///
    /// # Errors
    /// When it runs on another machine.
    pub fn descriptors(&self) -> Result<usize> {
        descriptors::kept(self.pid()?)
    }

    fn pid(&self) -> Result<Pid> {
        let pid = super::node::agent_on_this_machine(&self.uid)?;
        pid.with_context(|| format!("{} does not run on this machine", self.pod))
    }

    /// Lines of its log since a time ago (`30s`).
    ///
    /// # Errors
    /// When there is no such pod.
    pub fn log(&self, kubectl: &Kubectl, since: &str) -> Result<String> {
        kubectl.run(&["logs", "-n", NAMESPACE, &self.pod, &format!("--since={since}")])
    }
}

/// All agents that are not on their way out, those that do not run yet included.
///
/// # Errors
/// When the cluster does not answer.
pub fn all(kubectl: &Kubectl) -> Result<Vec<Agent>> {
    let pods = kubectl.json(&["get", "pods", "-n", NAMESPACE, "-l", SELECTOR])?;
    Ok(pods["items"].as_array().into_iter().flatten().filter_map(Agent::of).collect())
}

/// The agent of a node.
///
/// # Errors
/// When there is none, or more than one.
pub fn on(kubectl: &Kubectl, node: &Node) -> Result<Agent> {
    let mut agents = all(kubectl)?;
    agents.retain(|agent| agent.node == node.name);
    ensure!(agents.len() == 1, "{} agents on {}, not one", agents.len(), node.name);
    agents.pop().context("no agent")
}

/// Waits until every node has one agent, and all are ready; those of the cluster's nodes come first.
///
/// # Errors
/// When they do not get there.
pub fn ready(cluster: &Cluster) -> Result<[Agent; 2]> {
    let mut seen = String::new();
    let done = wait::until_or("every node has a ready agent", super::install::PATIENCE, || {
        // The API server may be on its way back.
        let Ok(agents) = all(&cluster.kubectl) else { return Ok(None) };
        seen = format!("{agents:?}");
        let of = |node: &Node| {
            let mut there = agents.iter().filter(|agent| agent.node == node.name);
            there.next().filter(|agent| agent.ready && there.next().is_none()).cloned()
        };
        let [a, b] = &cluster.nodes;
        Ok(of(a).zip(of(b)).filter(|_| agents.iter().all(|agent| agent.ready)).map(|(a, b)| [a, b]))
    });
    done.with_context(|| format!("there are: {seen}"))
}

/// Waits until the agents have enrolled that many pods together, and want no other number.
///
/// # Errors
/// When they do not get there.
pub fn enrolled(cluster: &Cluster, number: usize) -> Result<()> {
    let mut seen = (0.0, 0.0);
    let done = wait::until_or("the agents have enrolled the pods", super::install::PATIENCE, || {
        seen = (0.0, 0.0);
        for agent in all(&cluster.kubectl)? {
            let Ok((desired, actual)) = agent.enrolled(&cluster.kubectl) else { return Ok(None) };
            seen = (seen.0 + desired, seen.1 + actual);
        }
        #[expect(clippy::cast_precision_loss, reason = "a few hundred pods at most")]
        let wanted = number as f64;
        Ok((seen == (wanted, wanted)).then_some(()))
    });
    done.with_context(|| format!("wanted {number}, there are desired {} and actual {}", seen.0, seen.1))
}

/// Everything that explains a failure: pods, events, and of each agent its log, `/status`, `/readyz` and metrics that are not zero.
#[must_use]
pub fn dump(kubectl: &Kubectl) -> String {
    let mut text = String::new();
    let mut show = |title: &str, what: Result<String>| {
        let _ = writeln!(text, "---- {title}\n{}", what.unwrap_or_else(|error| format!("{error:#}")).trim_end());
    };
    show("pods", kubectl.run(&["get", "pods", "-A", "-o", "wide", "--request-timeout=10s"]));
    let events =
        kubectl.run(&["get", "events", "-n", NAMESPACE, "--sort-by=.lastTimestamp", "--request-timeout=10s"]).map(last);
    show("events of the installation", events);
    for Agent { pod, restarts, .. } in all(kubectl).unwrap_or_default() {
        let log = |more: &[&str]| {
            kubectl.run(&[&["logs", "-n", NAMESPACE, &pod, "--tail=60", "--request-timeout=10s"], more].concat())
        };
        show(&format!("{pod}: log"), log(&[]));
        if restarts > 0 {
            show(&format!("{pod}: log of the process before"), log(&["--previous"]));
        }
    }
    for agent in all(kubectl).unwrap_or_default() {
        for page in ["status", "readyz"] {
            show(&format!("{}: /{page}", agent.pod), agent.page(kubectl, page));
        }
        let metrics = agent.metrics(kubectl).map(|metrics| metrics.lines("understudy_").join("\n"));
        show(&format!("{}: metrics", agent.pod), metrics);
    }
    text
}

fn last(text: String) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// Checks that on both agents every shadow that began has ended in one outcome, once nothing is under way any more.
///
/// # Errors
/// With the mirror whose numbers differ.
pub fn settled(cluster: &Cluster) -> Result<f64> {
    let mut candidates = 0.0;
    for agent in all(&cluster.kubectl)? {
        let mut why = None;
        let done = wait::until("every shadow has ended", || {
            let metrics = agent.metrics(&cluster.kubectl)?;
            why = metrics.identity().err();
            Ok(why.is_none().then(|| metrics.candidates()))
        });
        match (done, why) {
            (Ok(counted), _) => candidates += counted,
            (Err(_), Some(why)) => return Err(why.context(format!("{}: candidates and outcomes differ", agent.pod))),
            (Err(error), None) => bail!(error),
        }
    }
    Ok(candidates)
}
