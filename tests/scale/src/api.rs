//! The administrator's way to the API server.
//!
//! Comes in: paths and objects as JSON. Goes out: requests, one or many at a time, and what was answered. It lives on a thread inside the
//! control plane's namespace, so that nothing that it says passes the veth that is counted.

use std::path::Path;

use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::{Method, Request};
use integration::MetricsView;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::Deserialize as _;
use serde_json::Value;
use tokio::runtime::Runtime;

/// How many requests are on their way at once.
const WIDTH: usize = 24;

/// Something to be asked.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    method: Method,
    path: String,
    body: Vec<u8>,
}

impl Ask {
    /// Makes an object in a collection.
    pub(crate) fn create(collection: &str, object: &Value) -> Self {
        Self { method: Method::POST, path: collection.to_owned(), body: object.to_string().into_bytes() }
    }

    /// Changes a part of an object, or of its status (`PATH/status`).
    pub(crate) fn patch(path: &str, part: &Value) -> Self {
        Self { method: Method::PATCH, path: path.to_owned(), body: part.to_string().into_bytes() }
    }

    /// Removes an object at once.
    pub(crate) fn delete(path: &str) -> Self {
        Self { method: Method::DELETE, path: format!("{path}?gracePeriodSeconds=0"), body: Vec::new() }
    }

    fn get(path: &str) -> Self {
        Self { method: Method::GET, path: path.to_owned(), body: Vec::new() }
    }

    fn request(self) -> Result<Request<Vec<u8>>> {
        let content = if self.method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let request = Request::builder().method(self.method).uri(self.path).header("content-type", content);
        Ok(request.body(self.body)?)
    }
}

/// A client that may do everything.
pub(crate) struct Api {
    runtime: Runtime,
    client: Client,
}

impl Api {
    /// Reads a kubeconfig; call it inside the namespace.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn new(kubeconfig: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(async {
            let read = Kubeconfig::read_from(kubeconfig)?;
            anyhow::Ok(Client::try_from(Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?)?)
        })?;
        Ok(Self { runtime, client })
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// With the API server's words.
    pub(crate) fn ask(&self, ask: Ask) -> Result<String> {
        self.runtime.block_on(self.answer(ask))
    }

    async fn answer(&self, ask: Ask) -> Result<String> {
        let what = format!("{} {}", ask.method, ask.path);
        self.client.request_text(ask.request()?).await.context(what)
    }

    /// Asks many things, in no order.
    ///
    /// # Errors
    /// With the first that fails.
    pub(crate) fn all(&self, asks: impl IntoIterator<Item = Ask>) -> Result<()> {
        let answers = stream::iter(asks.into_iter().map(|ask| self.answer(ask))).buffer_unordered(WIDTH);
        self.runtime.block_on(answers.try_for_each(|_| async { Ok(()) }))
    }

    /// `GET`.
    ///
    /// # Errors
    /// With the API server's words.
    pub(crate) fn get(&self, path: &str) -> Result<String> {
        self.ask(Ask::get(path))
    }

    /// The API server's own metrics.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) fn metrics(&self) -> Result<MetricsView> {
        Ok(MetricsView::parse(&self.get("/metrics")?))
    }

    /// Makes the objects of a file of manifests, in its order.
    ///
    /// # Errors
    /// When one is of a kind that `deploy/` does not have, or is refused.
    pub(crate) fn apply_file(&self, file: &Path) -> Result<()> {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        for document in serde_yaml::Deserializer::from_str(&text) {
            let mut object = serde_yaml::Value::deserialize(document)?;
            object.apply_merge()?;
            let object = serde_json::to_value(object)?;
            let collection = collection(&object).with_context(|| format!("what is {} ?", object["kind"]))?;
            self.ask(Ask::create(&collection, &object)).with_context(|| format!("{}", file.display()))?;
        }
        Ok(())
    }
}

/// Where objects of a kind of `deploy/` are made.
fn collection(object: &Value) -> Option<String> {
    let plural = match object["kind"].as_str()? {
        "Namespace" => return Some("/api/v1/namespaces".to_owned()),
        "ServiceAccount" => "serviceaccounts",
        "ClusterRole" => "clusterroles",
        "ClusterRoleBinding" => "clusterrolebindings",
        "Role" => "roles",
        "RoleBinding" => "rolebindings",
        "CustomResourceDefinition" => "customresourcedefinitions",
        _ => return None,
    };
    let group = match object["apiVersion"].as_str()? {
        "v1" => "/api/v1".to_owned(),
        other => format!("/apis/{other}"),
    };
    Some(match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{group}/namespaces/{namespace}/{plural}"),
        None => format!("{group}/{plural}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_of_deploy_are_made_where_the_api_server_has_them() {
        let of = |kind: &str, version: &str, namespace: Option<&str>| {
            collection(&json!({"kind": kind, "apiVersion": version, "metadata": {"namespace": namespace}}))
        };
        assert_eq!(of("ServiceAccount", "v1", Some("a")).as_deref(), Some("/api/v1/namespaces/a/serviceaccounts"));
        let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
        assert_eq!(of("ClusterRole", "rbac.authorization.k8s.io/v1", None).as_deref(), Some(roles));
        assert_eq!(of("Deployment", "apps/v1", None), None);
    }
}
