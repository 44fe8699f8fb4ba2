//! `understudy status`: how agents stand, of this machine or of every node of a cluster.
//!
//! Comes in: an admin address, or a kubeconfig. Goes out: `/status` of each agent, as a table or as JSON. Never: a change of anything.

mod table;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, bail};
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DynamicObject, ListParams},
    config::{Config, KubeConfigOptions, Kubeconfig},
};
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};

/// An agent that has not answered by then does not answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Which pods are agents.
const AGENTS: &str = "app.kubernetes.io/name=understudy";

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// The agent of this machine, at its admin address.
    Here(SocketAddr),
    /// Every agent of a cluster, through the API server's proxy to pods.
    AllNodes {
        /// `None` = as kubectl finds it.
        kubeconfig: Option<PathBuf>,
    },
}

/// An agent, and what it says of itself or why it does not.
#[derive(Debug)]
pub struct Answer {
    /// Its node, or its address.
    pub name: String,
    /// `/status`.
    pub status: Result<Value, String>,
}

/// Asks, and renders what is said; true if every agent is ready.
///
/// # Errors
/// If nobody can be asked.
pub fn show(whom: &Whom, json: bool) -> anyhow::Result<(String, bool)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answers = runtime.block_on(async {
        match whom {
            Whom::Here(address) => Ok(vec![here(*address).await]),
            Whom::AllNodes { kubeconfig } => all_nodes(kubeconfig.clone()).await,
        }
    })?;
    let ready = answers.iter().all(|answer| answer.status.as_ref().is_ok_and(|status| status["ready"] == true));
    Ok((if json { table::json(&answers) } else { table::table(&answers) }, ready))
}

async fn here(address: SocketAddr) -> Answer {
    let asked = timeout(PATIENCE, ask(address)).await;
    let status = match asked {
        Ok(Ok(status)) => Ok(status),
        Ok(Err(error)) => Err(format!("{error:#} (does an agent run here, and is --admin-addr its address?)")),
        Err(_) => Err("no answer in time".to_owned()),
    };
    Answer { name: address.to_string(), status }
}

async fn ask(address: SocketAddr) -> anyhow::Result<Value> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get("/status").header("host", address.to_string()).body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    connection.abort();
    if !status.is_success() {
        bail!("/status was answered by {status}");
    }
    serde_json::from_slice(&body).context("/status is no JSON")
}

async fn all_nodes(kubeconfig: Option<PathBuf>) -> anyhow::Result<Vec<Answer>> {
    let config = match kubeconfig {
        Some(path) => {
            let read = Kubeconfig::read_from(&path).with_context(|| format!("--kubeconfig {}", path.display()))?;
            Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?
        }
        None => Config::infer().await.context("no way to a cluster: set KUBECONFIG, or give --kubeconfig")?,
    };
    let client = Client::try_from(config)?;
    // Of a pod we want its node. The type of the whole pod would be a large part of the binary.
    let pods: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::erase::<Pod>(&()));
    let agents = pods.list(&ListParams::default().labels(AGENTS)).await.context("cannot list the agents' pods")?;
    if agents.items.is_empty() {
        bail!("no pod of the cluster is an agent ({AGENTS}): kubectl apply -k deploy/ installs them");
    }
    let mut answers = Vec::new();
    for agent in agents {
        let node = agent.data["spec"]["nodeName"].as_str();
        let name = node.map_or_else(|| agent.name_any(), str::to_owned);
        let namespace = agent.namespace().unwrap_or_default();
        let path = format!("/api/v1/namespaces/{namespace}/pods/{}:15090/proxy/status", agent.name_any());
        let request = Request::get(path).body(Vec::new())?;
        let status = match timeout(PATIENCE, client.request::<Value>(request)).await {
            Ok(Ok(status)) => Ok(status),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        };
        answers.push(Answer { name, status });
    }
    answers.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(answers)
}
