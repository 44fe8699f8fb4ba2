//! etcd and kube-apiserver as plain processes, and nothing else: no controllers, no scheduler, no kubelets.
//!
//! Comes in: a namespace of the toy world that is linked to the node by a veth, so that the node's end of it counts what the API server sends
//! and nothing else. Goes out: a running API server with RBAC, kubeconfigs for an administrator and for the agent, and the log of what the agent
//! asked. Never: an address that anybody outside of the world reaches; a key, a token or data that outlives it.

use std::{
    fs::{self, File},
    io::Read as _,
    path::PathBuf,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use integration::{Node, Pod, Process, wait};
use nix::{sys::signal::Signal, unistd::Pid};
use serde_json::json;

use crate::programs::Programs;

/// The agent's user, with the rights that `deploy/base/rbac.yaml` binds to it.
const AGENT: &str = "system:serviceaccount:understudy-system:understudy";
/// Where the API server listens.
pub(crate) const PORT: u16 = 6443;

/// A running control plane; it ends when dropped.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    folder: PathBuf,
    server: Process,
    etcd: Process,
    pub(crate) pod: Pod,
}

impl ControlPlane {
    /// Starts it and waits until the API server answers.
    ///
    /// # Errors
    /// With the end of the log of what did not start.
    pub(crate) fn start(node: &Node, programs: &Programs) -> Result<Self> {
        let pod = node.pod("control-plane").start()?;
        let folder = node.dir().join("control-plane");
        fs::create_dir_all(&folder)?;
        let at = |name: &str| folder.join(name).display().to_string();
        let address = pod.v4().to_string();

        let mut etcd = Command::new(&programs.etcd);
        etcd.args(["--data-dir", &at("etcd"), "--unsafe-no-fsync", "--quota-backend-bytes", "4294967296"])
            .args(["--listen-client-urls", "http://127.0.0.1:2379", "--advertise-client-urls", "http://127.0.0.1:2379"])
            .args(["--listen-peer-urls", "http://127.0.0.1:2380"]);
        let etcd = Process::start(pod.netns(), "etcd", &mut etcd, &folder.join("etcd.log"))?;

        let key = at("service-accounts.key");
        let made = Command::new(&programs.openssl)
            .args(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &key])
            .output()?;
        ensure!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr).trim());
        let (administrator, agent) = (token()?, token()?);
        fs::write(
            folder.join("tokens.csv"),
            format!(
                "{administrator},administrator,1,\"system:masters\"\n\
                 {agent},{AGENT},2,\"system:serviceaccounts,system:serviceaccounts:understudy-system\"\n"
            ),
        )?;
        fs::write(
            folder.join("audit.yaml"),
            format!(
                "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\n\
                 rules: [{{level: Metadata, users: ['{AGENT}']}}, {{level: None}}]\n"
            ),
        )?;

        let mut server = Command::new(&programs.apiserver);
        server
            .args(["--etcd-servers=http://127.0.0.1:2379", "--authorization-mode=RBAC"])
            // Its serving certificate it makes itself, for this address.
            .args([&format!("--advertise-address={address}"), &format!("--cert-dir={}", at("certificates"))])
            .args([&format!("--secure-port={PORT}"), &format!("--token-auth-file={}", at("tokens.csv"))])
            .args(["--service-cluster-ip-range=10.96.0.0/16", "--endpoint-reconciler-type=none"])
            .args(["--service-account-issuer=https://kubernetes.default.svc"])
            .args([&format!("--service-account-key-file={key}"), &format!("--service-account-signing-key-file={key}")])
            // Nobody makes the service accounts of the pods' namespaces.
            .arg("--disable-admission-plugins=ServiceAccount")
            .args([
                &format!("--audit-policy-file={}", at("audit.yaml")),
                &format!("--audit-log-path={}", at("audit.log")),
            ]);
        let log = folder.join("kube-apiserver.log");
        let server = Process::start(pod.netns(), "kube-apiserver", &mut server, &log)?;

        let mut plane = Self { folder, server, etcd, pod };
        plane.kubeconfig("administrator", &administrator)?;
        plane.kubeconfig("agent", &agent)?;
        let url = format!("https://{address}:{PORT}/readyz");
        wait::until("the API server is ready", || {
            plane.etcd.must_run()?;
            plane.server.must_run()?;
            let asked = plane.pod.exec(&["curl", "--silent", "--fail", "--insecure", "--max-time", "2", &url])?;
            Ok(asked.status.success().then_some(()))
        })
        .with_context(|| format!("the API server's log ends with:\n{}", plane.server.tail(15)))?;
        Ok(plane)
    }

    fn kubeconfig(&self, user: &str, token: &str) -> Result<()> {
        let server = format!("https://{}:{PORT}", self.pod.v4());
        let authority = self.folder.join("certificates/apiserver.crt");
        // JSON is YAML.
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "scale",
            "clusters": [{"name": "scale", "cluster": {"server": server, "certificate-authority": authority}}],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": "scale", "context": {"cluster": "scale", "user": user}}],
        });
        fs::write(self.config_of(user), config.to_string()).context("cannot write a kubeconfig")
    }

    fn config_of(&self, user: &str) -> PathBuf {
        self.folder.join(format!("{user}.kubeconfig"))
    }

    /// For whoever may do everything.
    pub(crate) fn administrator(&self) -> PathBuf {
        self.config_of("administrator")
    }

    /// For the agent.
    pub(crate) fn agent(&self) -> PathBuf {
        self.config_of("agent")
    }

    /// The API server's process.
    pub(crate) fn pid(&self) -> Pid {
        self.server.pid()
    }

    /// What the agent's user has asked so far.
    pub(crate) fn audit_log(&self) -> PathBuf {
        self.folder.join("audit.log")
    }
}

impl Drop for ControlPlane {
    /// Logs explain a failure. The data is large, and keys are nobody's business any more.
    fn drop(&mut self) {
        for process in [&self.server, &self.etcd] {
            let _ = process.signal(Signal::SIGKILL);
        }
        for name in ["etcd", "certificates"] {
            let _ = fs::remove_dir_all(self.folder.join(name));
        }
        for name in ["service-accounts.key", "tokens.csv", "administrator.kubeconfig", "agent.kubeconfig"] {
            let _ = fs::remove_file(self.folder.join(name));
        }
    }
}

/// Something that nobody else knows.
fn token() -> Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
