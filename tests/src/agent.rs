//! The binary under test, running in a node: started, watched through its own addresses, signalled by its process id.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    mount::{MsFlags, mount},
    sys::signal::Signal,
    unistd::Pid,
};

use crate::{
    http,
    leftovers::{self, Claim, Thing},
    metrics::MetricsView,
    netns,
    node::Node,
    paths,
    process::Process,
    wait,
};

/// Where the metrics of the first agent of a node are.
pub const METRICS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 15090);
/// Where the admin pages of the first agent of a node are.
pub const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 15000);

/// How an agent will be started.
#[derive(Debug)]
pub struct AgentBuilder<'a> {
    node: &'a Node,
    name: String,
    command: &'static str,
    words: Vec<String>,
    environment: Vec<(String, String)>,
    offset: u16,
    bpffs: Option<PathBuf>,
    under: Vec<String>,
    logs_access: bool,
}

impl AgentBuilder<'_> {
    /// A file or folder of manifests.
    #[must_use]
    pub fn config(self, path: &Path) -> Self {
        let path = path.display().to_string();
        self.args(&["--config", &path])
    }

    /// `understudy node` instead of `run`: its source is a Kubernetes API.
    #[must_use]
    pub fn of_cluster(mut self, node_name: &str, kubeconfig: &Path) -> Self {
        self.command = "node";
        self.args(&["--node-name", node_name, "--kubeconfig", &kubeconfig.display().to_string()])
    }

    /// Further arguments of the command.
    #[must_use]
    pub fn args(mut self, words: &[&str]) -> Self {
        self.words.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    /// Started by another program, which becomes it (`prlimit`, `setpriv`).
    #[must_use]
    pub fn under(mut self, words: &[&str]) -> Self {
        self.under.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    /// No access log, which is the default of the command and not of the lab.
    #[must_use]
    pub fn without_access_log(mut self) -> Self {
        self.logs_access = false;
        self
    }

    /// A variable of its environment.
    #[must_use]
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.environment.push((key.to_owned(), value.to_owned()));
        self
    }

    /// A second agent beside another in the same node: another name and other ports (`offset` is added to them).
    #[must_use]
    pub fn beside(mut self, name: &str, offset: u16) -> Self {
        name.clone_into(&mut self.name);
        self.offset = offset;
        self
    }

    /// The bpffs of an earlier agent, to find that one's pins.
    #[must_use]
    pub fn bpffs(mut self, path: &Path) -> Self {
        self.bpffs = Some(path.to_owned());
        self
    }

    /// Starts it and does not wait.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(self) -> Result<Agent> {
        let Self { node, name, command: subcommand, words, environment, offset, bpffs, under, logs_access } = self;
        let file = |suffix: &str| node.dir().join(format!("{name}{suffix}"));
        let (bpffs, claim) = match bpffs {
            Some(path) => (path, None),
            None => private_bpffs(&file("-bpffs")).map(|(path, claim)| (path, Some(claim)))?,
        };
        let (mut metrics, mut admin) = (METRICS, ADMIN);
        metrics.set_port(METRICS.port() + offset);
        admin.set_port(ADMIN.port() + offset);
        let access_log = file("-access.log");
        let program: Vec<_> = under.into_iter().map(Into::into).chain([paths::binary().into_os_string()]).collect();
        let mut command = Command::new(&program[0]);
        command
            .args(&program[1..])
            .arg(subcommand)
            .args(["--admin-addr", &admin.to_string(), "--metrics-addr", &metrics.to_string()])
            .args([Path::new("--bpffs"), &bpffs])
            // Other tests may take the CPU away at any time; a test of overload sets the flag, which counts more than the variable.
            .env("UNDERSTUDY_SHADOW_SHED_LAG", "0")
            .args(words)
            .envs(environment);
        if logs_access {
            command.args([Path::new("--access-log"), &access_log]);
        }
        let process = Process::start(node.netns(), &name, &mut command, &file(".log"))?;
        Ok(Agent { process, netns: node.netns().path(), metrics, admin, access_log, bpffs, _bpffs_claim: claim })
    }

    /// Starts it and waits until it says that it is ready.
    ///
    /// # Errors
    /// With the end of its log when it ends or does not become ready.
    pub fn start(self) -> Result<Agent> {
        let mut agent = self.spawn()?;
        agent.wait_ready()?;
        Ok(agent)
    }
}

/// A running agent; killed when dropped.
#[derive(Debug)]
pub struct Agent {
    process: Process,
    netns: PathBuf,
    metrics: SocketAddr,
    admin: SocketAddr,
    access_log: PathBuf,
    bpffs: PathBuf,
    _bpffs_claim: Option<Claim>,
}

impl Agent {
    /// Begins an agent in a node.
    #[must_use]
    pub fn builder(node: &Node) -> AgentBuilder<'_> {
        AgentBuilder {
            node,
            name: "agent".to_owned(),
            command: "run",
            words: Vec::new(),
            environment: Vec::new(),
            offset: 0,
            bpffs: None,
            under: Vec::new(),
            logs_access: true,
        }
    }

    /// Waits until `/readyz` says 200.
    ///
    /// # Errors
    /// With the end of its log.
    pub fn wait_ready(&mut self) -> Result<()> {
        let outcome = wait::until("the agent is ready", || {
            self.process.must_run()?;
            Ok(self.get_metrics_address("/readyz").ok().filter(|answer| answer.status == 200).map(drop))
        });
        outcome.with_context(|| format!("the agent's log ends with:\n{}", self.process.tail(15)))
    }

    /// The process, to signal it and to read its log.
    #[must_use]
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// What it logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Its access log: a line for each primary and each shadow.
    #[must_use]
    pub fn access_log(&self) -> String {
        fs::read_to_string(&self.access_log).unwrap_or_default()
    }

    /// The bpffs it was told to pin in.
    #[must_use]
    pub fn bpffs(&self) -> &Path {
        &self.bpffs
    }

    /// Names in its bpffs (its pins); what the kernel itself shows there does not count.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn pins(&self) -> Result<Vec<String>> {
        let entries = fs::read_dir(&self.bpffs).with_context(|| format!("cannot read {}", self.bpffs.display()))?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        Ok(names.filter(|name| !name.ends_with(".debug")).collect())
    }

    /// One scrape.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn metrics(&self) -> Result<MetricsView> {
        let answer = self.get_metrics_address("/metrics")?;
        if answer.status != 200 {
            bail!("/metrics answered {}", answer.status);
        }
        Ok(MetricsView::parse(&answer.text()))
    }

    /// Waits until the metrics are as wanted, and returns them.
    ///
    /// # Errors
    /// When they never are; with the last scrape.
    pub fn metrics_when(&self, what: &str, wanted: impl Fn(&MetricsView) -> bool) -> Result<MetricsView> {
        let mut last = MetricsView::default();
        let outcome = wait::until(what, || {
            last = self.metrics()?;
            Ok(wanted(&last).then(|| last.clone()))
        });
        outcome.with_context(|| format!("metrics at the end:\n{}", last.lines("understudy_").join("\n")))
    }

    /// Does something that changes the configuration, and waits until a later generation is in force.
    ///
    /// # Errors
    /// When the change fails or never comes into force.
    pub fn changed<T>(&self, change: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = self.metrics()?.generation();
        let value = change()?;
        self.metrics_when("the new configuration is in force", |m| m.generation() > before)?;
        Ok(value)
    }

    /// Waits until every shadow has ended and checks the accounting identity.
    ///
    /// # Errors
    /// When it does not hold.
    pub fn settled(&self) -> Result<MetricsView> {
        let view = self.metrics_when("every candidate has an outcome", |m| m.identity().is_ok())?;
        view.identity()?;
        Ok(view)
    }

    /// Waits until nothing is held for shadows any more: a moment after the last one has ended.
    ///
    /// # Errors
    /// When something stays.
    pub fn gave_back(&self) -> Result<()> {
        let held = |m: &MetricsView| m.sum("understudy_shadow_buffered_bytes", &[]);
        self.metrics_when("bytes of ended shadows are given back", |m| held(m) == 0.0).map(drop)
    }

    /// `GET` of a path on the metrics address: `/metrics`, `/livez`, `/readyz`.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn get_metrics_address(&self, path: &str) -> Result<http::Answer> {
        self.get(self.metrics, path)
    }

    /// `GET` of a path on the admin address: `/config_dump`.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn get_admin_address(&self, path: &str) -> Result<http::Answer> {
        self.get(self.admin, path)
    }

    fn get(&self, address: SocketAddr, path: &str) -> Result<http::Answer> {
        netns::run_in(&self.netns, || http::get(address, &address.to_string(), path))
    }

    /// Asks it to end (SIGTERM) and waits for it.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.process.signal(Signal::SIGTERM)?;
        self.process.wait()
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// When it had ended before.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.process.signal(Signal::SIGKILL)?;
        self.process.wait()
    }
}

/// A bpffs of the test's own, so that the machine's is never used.
fn private_bpffs(at: &Path) -> Result<(PathBuf, Claim)> {
    fs::create_dir_all(at).with_context(|| format!("cannot make {}", at.display()))?;
    let ((), claim) = leftovers::claim(|| {
        mount(Some("bpf"), at, Some("bpf"), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("cannot mount a bpffs at {}", at.display()))?;
        Ok(((), Thing::Mount(at.to_owned())))
    })?;
    Ok((at.to_owned(), claim))
}
