//! The folder of manifests that an agent watches, in the shapes that a cluster's API would give.

use std::{
    fmt::Write as _,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{node::Node, pod::Pod};

/// The rule of Istio's mirroring task that sends everything to v1.
pub const DEFAULT_ROUTE: &str = include_str!("../fixtures/mirror/default-route.yaml");
/// The task's rule with the mirror.
pub const MIRROR: &str = include_str!("../fixtures/mirror/mirror.yaml");
/// The task's subsets.
pub const DESTINATION_RULE: &str = include_str!("../fixtures/mirror/destination-rule.yaml");

/// A folder of manifests.
#[derive(Debug)]
pub struct Manifests {
    dir: PathBuf,
}

impl Manifests {
    /// An empty folder in the node's own.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(node: &Node) -> Result<Self> {
        let dir = node.dir().join("manifests");
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Self { dir })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// `kubectl apply`: puts a file in place in one step, so that no reader sees half of it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn apply(&self, name: &str, text: &str) -> Result<()> {
        let (new, file) = (self.dir.with_extension("new"), self.dir.join(name));
        fs::write(&new, text).with_context(|| format!("cannot write {}", new.display()))?;
        fs::rename(&new, &file).with_context(|| format!("cannot write {}", file.display()))
    }

    /// `kubectl delete`.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn delete(&self, name: &str) -> Result<()> {
        let file = self.dir.join(name);
        fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))
    }
}

/// A Namespace whose pods are enrolled.
#[must_use]
pub fn namespace(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{understudy.dev/capture: enabled}}}}\n"
    )
}

/// A Service with one port named `http`.
#[must_use]
pub fn service(name: &str, namespace: &str, cluster_ips: &[IpAddr], port: u16, target: u16) -> String {
    let ips: Vec<_> = cluster_ips.iter().map(|ip| format!("\"{ip}\"")).collect();
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}}}}}\nspec:\n\
         \x20 clusterIP: {}\n  clusterIPs: [{}]\n\
         \x20 ports: [{{name: http, port: {port}, targetPort: {target}, protocol: TCP}}]\n\
         \x20 selector: {{app: {name}}}\n",
        ips.first().map_or("None", String::as_str),
        ips.join(", "),
    )
}

/// A Pod as it is: its labels and addresses, and its namespace in the lab if it is to be enrolled.
#[must_use]
pub fn pod(pod: &Pod, namespace: &str, enrolled: bool) -> String {
    let mut labels: Vec<_> = pod.labels().iter().map(|(k, v)| format!("{k}: {v}")).collect();
    let mut annotations = String::new();
    if enrolled {
        annotations = format!("  annotations: {{understudy.dev/netns: {}}}\n", pod.netns().name());
    } else {
        labels.push("understudy.dev/capture: disabled".to_owned());
    }
    let ips: Vec<_> = pod.ips().iter().map(|ip| format!("{{ip: \"{ip}\"}}")).collect();
    // A uid that stays the same for the same namespace: it is all the agent sees of a pod's identity over time.
    let last = pod.v4().octets();
    let mut text = format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: {}\n  namespace: {namespace}\n", pod.name());
    let _ = writeln!(text, "  uid: 6d0e9b1e-0000-4000-8000-00000000{:02x}{:02x}", last[2], last[3]);
    let _ = write!(text, "  labels: {{{}}}\n{annotations}", labels.join(", "));
    let _ = writeln!(text, "status: {{podIP: {}, podIPs: [{}]}}", pod.v4(), ips.join(", "));
    text
}

/// Several objects in one file.
#[must_use]
pub fn documents(objects: &[String]) -> String {
    objects.join("---\n")
}
