//! The cast of the mirroring task, on two nodes: a client and a version of httpbin on each, the service, and the rule that mirrors.
//!
//! httpbin has threads here, so that a slow download does not stop it, an access log with the Host, and probes of every kind.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{CAPTURE, Cluster, Kubectl, Namespace, Node, agents, install::PATIENCE};
use crate::{
    access_log::{self, Line},
    wait,
};

/// Its namespace.
pub const NAMESPACE: &str = "understudy-e2e";
/// The client on the first node.
pub const NEAR: &str = "client-near";
/// The client on the second node.
pub const FAR: &str = "client-far";
/// The service with the rule.
pub const HOST: &str = "httpbin:8000";
/// What a probe's path has and no other.
pub const PROBE: &str = "kubelet-probe";
/// Pods of the cast: clients and servers.
pub const PODS: usize = 4;
const RULES: &str = include_str!("../../fixtures/cluster/rules.yaml");
static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// The running cast.
#[derive(Debug)]
pub struct Cast {
    kubectl: Kubectl,
    _namespace: Namespace,
}

impl Cast {
    /// Makes it and waits until its pods are ready; no rule yet.
    ///
    /// # Errors
    /// When they do not get ready.
    pub fn start(cluster: &Cluster) -> Result<Self> {
        let (kubectl, [near, far]) = (&cluster.kubectl, &cluster.nodes);
        let namespace = Namespace::create(kubectl, NAMESPACE, &[&format!("{CAPTURE}=enabled")])?;
        let (httpbin, client) = (&cluster.images.httpbin, &cluster.images.client);
        let objects = [
            server("httpbin-v1", near, httpbin, &json!({"app": "httpbin", "version": "v1"})),
            server("httpbin-v2", far, httpbin, &json!({"app": "httpbin", "version": "v2"})),
            service("httpbin", "httpbin", None),
            self::client(NEAR, near, client, &json!({"app": "client"})),
            self::client(FAR, far, client, &json!({"app": "client"})),
        ];
        kubectl.apply(NAMESPACE, &list(&objects))?;
        pods_ready(kubectl, NAMESPACE, "app")?;
        Ok(Self { kubectl: kubectl.clone(), _namespace: namespace })
    }

    /// One request from a pod, over a connection of its own; its answer must be 200.
    ///
    /// # Errors
    /// With what curl says.
    pub fn ask(&self, pod: &str, url: &str) -> Result<String> {
        let words = ["curl", "-sSf", "--max-time", "10", "-H", "Connection: close", url];
        self.kubectl.exec(NAMESPACE, pod, &words)
    }

    /// [`Self::ask`] for a path that no other request has; returns what is special in it.
    ///
    /// # Errors
    /// With what curl says.
    pub fn ask_tagged(&self, pod: &str) -> Result<String> {
        let tag = format!("tag-{}-", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.ask(pod, &format!("http://{HOST}/status/200?{tag}"))?;
        Ok(tag)
    }

    /// Asks until a request is mirrored; returns how long that took.
    ///
    /// # Errors
    /// When none is.
    pub fn captured(&self, pod: &str) -> Result<Duration> {
        let start = Instant::now();
        wait::until_or(&format!("requests of {pod} are mirrored"), PATIENCE, || {
            let tag = self.ask_tagged(pod)?;
            let arrived = wait::until_or("a shadow", Duration::from_secs(2), || {
                Ok((!self.shadows(&tag)?.is_empty()).then(|| start.elapsed()))
            });
            Ok(arrived.ok())
        })
    }

    /// Applies the rule, and waits until every pod of the cast is enrolled and both clients are mirrored.
    ///
    /// # Errors
    /// When they are not.
    pub fn on_stage(&self, cluster: &Cluster) -> Result<()> {
        self.on_stage_with(cluster, 0)
    }

    /// [`Self::on_stage`] where that many pods more are enrolled.
    ///
    /// # Errors
    /// When they are not.
    pub fn on_stage_with(&self, cluster: &Cluster, more: usize) -> Result<()> {
        // They go with their definitions when the installation is removed.
        self.kubectl.apply(NAMESPACE, RULES)?;
        agents::enrolled(cluster, PODS + more)?;
        self.captured(NEAR)?;
        self.captured(FAR).map(drop)
    }

    /// All that a server has logged.
    ///
    /// # Errors
    /// When there is no such pod.
    pub fn log(&self, pod: &str) -> Result<Vec<Line>> {
        Ok(access_log::lines(&self.kubectl.run(&["logs", "-n", NAMESPACE, pod])?))
    }

    /// v2's log, each line with the moment at which the node wrote it down.
    ///
    /// # Errors
    /// When there is no such pod.
    pub fn stamped_shadows(&self, tag: &str) -> Result<Vec<String>> {
        let log = self.kubectl.run(&["logs", "-n", NAMESPACE, "httpbin-v2", "--timestamps"])?;
        let is_shadow = |line: &&str| line.contains(tag) && line.contains("-shadow");
        Ok(log.lines().filter(is_shadow).filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
    }

    /// Shadows at v2 of requests with a tag.
    ///
    /// # Errors
    /// When v2 cannot be asked.
    pub fn shadows(&self, tag: &str) -> Result<Vec<Line>> {
        let mut lines = self.log("httpbin-v2")?;
        lines.retain(|line| line.request.contains(tag) && line.host.contains("-shadow"));
        Ok(lines)
    }

    /// Requests with a tag that a server answered as they are, no shadows.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn primaries(&self, server: &str, tag: &str) -> Result<usize> {
        let own = |line: &&Line| line.request.contains(tag) && !line.host.contains("-shadow");
        Ok(self.log(server)?.iter().filter(own).count())
    }

    /// Checks that no pod of the cast was started again.
    ///
    /// # Errors
    /// With the pods that were.
    pub fn untouched(&self) -> Result<()> {
        let words = [
            "get",
            "pods",
            "-n",
            NAMESPACE,
            "-o",
            "jsonpath={range .items[*]}{.metadata.name} \
                     {.status.containerStatuses[0].restartCount}{\"\\n\"}{end}",
        ];
        let text = self.kubectl.run(&words)?;
        let again: Vec<_> = text.lines().filter(|line| !line.ends_with(" 0")).collect();
        ensure!(again.is_empty(), "pods were started again: {again:?}");
        Ok(())
    }

    /// Sockets that listen on a pod's loopback: what an enrolled pod has one of.
    ///
    /// # Errors
    /// When the pod cannot be asked.
    pub fn listeners(&self, pod: &str) -> Result<usize> {
        let table = self.kubectl.exec(NAMESPACE, pod, &["cat", "/proc/net/tcp"])?;
        Ok(table.lines().filter(|line| line.contains(" 0100007F:") && line.contains(" 00000000:0000 0A ")).count())
    }
}

/// Waits until all pods of a namespace that have a label are ready.
///
/// # Errors
/// When they are not in time.
pub fn pods_ready(kubectl: &Kubectl, namespace: &str, label: &str) -> Result<()> {
    let seconds = format!("--timeout={}s", PATIENCE.as_secs());
    kubectl.run(&["wait", "pod", "-n", namespace, "-l", label, "--for=condition=Ready", &seconds]).map(drop)
}

/// Objects as one manifest.
#[must_use]
pub fn list(objects: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}

/// A pod on a node.
#[must_use]
pub fn pod(name: &str, node: &Node, labels: &Value, container: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": node.name},
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
        },
    })
}

/// A pod that sleeps, with curl in it.
#[must_use]
pub fn client(name: &str, node: &Node, image: &str, labels: &Value) -> Value {
    let container = json!({
        "name": "client", "image": image, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "infinity"],
    });
    pod(name, node, labels, &container)
}

/// httpbin, with probes by HTTP, by TCP and by a program.
#[must_use]
pub fn server(name: &str, node: &Node, image: &str, labels: &Value) -> Value {
    let probe =
        |what: &str, how: Value| json!({what: how, "periodSeconds": 2, "failureThreshold": 30, "timeoutSeconds": 5});
    let container = json!({
        "name": "httpbin", "image": image, "imagePullPolicy": "IfNotPresent",
        "command": ["gunicorn", "-k", "gthread", "--threads", "16", "--access-logfile", "-", "--access-logformat",
                    access_log::FORMAT, "-b", "0.0.0.0:80", "httpbin:app"],
        "ports": [{"containerPort": 80}],
        "startupProbe": probe("exec", json!({"command": ["true"]})),
        "readinessProbe": probe("httpGet", json!({"path": format!("/status/200?{PROBE}"), "port": 80})),
        "livenessProbe": probe("tcpSocket", json!({"port": 80})),
    });
    pod(name, node, labels, &container)
}

/// A Service for pods with an `app` label, from port 8000 to 80, with an address of its own choice or none.
#[must_use]
pub fn service(name: &str, app: &str, address: Option<&str>) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": {"app": app}},
        "spec": {
            "clusterIP": address,
            "ports": [{"name": "http", "port": 8000, "targetPort": 80}],
            "selector": {"app": app},
        },
    })
}
