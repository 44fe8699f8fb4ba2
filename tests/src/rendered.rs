//! `deploy/` as kustomize and Helm render it (`tests/render`), as JSON.

use std::{
    collections::BTreeMap,
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::paths;

/// Namespace of the agent.
pub const NAMESPACE: &str = "understudy-system";

/// What Helm's conventions add to each object.
const OF_HELM: [&str; 5] = [
    "app.kubernetes.io/instance",
    "app.kubernetes.io/version",
    "app.kubernetes.io/managed-by",
    "helm.sh/chart",
    "helm.sh/resource-policy",
];

/// Objects by kind and name.
pub type Objects = BTreeMap<String, Value>;

/// `kubectl kustomize deploy/FOLDER`.
///
/// # Errors
/// With what kustomize says.
pub fn kustomize(folder: &str) -> Result<Objects> {
    let folder = paths::workspace().join("deploy").join(folder);
    by_name(render(&["kustomize", &folder.display().to_string()], "")?)
}

/// `helm template deploy/helm/understudy`, with values as YAML.
///
/// # Errors
/// With what Helm says.
pub fn helm(values: &str) -> Result<Objects> {
    let chart = paths::workspace().join("deploy/helm/understudy");
    by_name(render(&["helm", &chart.display().to_string(), NAMESPACE], values)?)
}

/// Without what Helm adds to its objects.
#[must_use]
pub fn without_helms_own(mut objects: Objects) -> Objects {
    for object in objects.values_mut() {
        for field in ["labels", "annotations"] {
            let Some(entries) = object["metadata"].get_mut(field).and_then(Value::as_object_mut) else { continue };
            entries.retain(|key, _| !OF_HELM.contains(&key.as_str()));
            if entries.is_empty() {
                object["metadata"].as_object_mut().map(|metadata| metadata.remove(field));
            }
        }
    }
    objects
}

/// The only container of the agent's DaemonSet.
///
/// # Errors
/// When there is none.
pub fn container(objects: &Objects) -> Result<&Value> {
    let daemon = objects.get("DaemonSet/understudy").context("no DaemonSet")?;
    daemon.pointer("/spec/template/spec/containers/0").context("no container")
}

fn render(words: &[&str], values: &str) -> Result<Vec<Value>> {
    let mut renderer = Command::new(paths::renderer());
    renderer.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = renderer.spawn().context("cannot run the renderer")?;
    if let Some(mut stdin) = child.stdin.take() {
        // Kustomize reads no values: it may be gone by now.
        let _ = stdin.write_all(values.as_bytes());
    }
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    serde_json::from_slice(&output.stdout).context("what was rendered is no JSON")
}

fn by_name(list: Vec<Value>) -> Result<Objects> {
    let mut objects = Objects::new();
    for object in list {
        let name = object["metadata"]["name"].as_str().context("an object without a name")?;
        let key = format!("{}/{name}", object["kind"].as_str().context("an object without a kind")?);
        ensure!(objects.insert(key.clone(), object).is_none(), "{key} is there twice");
    }
    Ok(objects)
}
