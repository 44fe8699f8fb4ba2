//! Resolved and validated settings of the process, grouped by who uses them.
//!
//! Comes in: a [`Cli`] (typed flags and variables) and what the machine says of its CPUs and its terminal. Goes out: plain
//! structs. Never: files, sockets, or a second look at the environment by anyone else.

use std::{
    env, fmt,
    io::{IsTerminal, stderr},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZero,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use thiserror::Error;

pub use crate::cli::{KernelLog, LogFormat};
use crate::{
    cli::{AgentArgs, Cli, ClusterArgs, Command, LogArgs, MachineArgs},
    net::Mark,
    patience::Limits,
    route::{HeaderOps, ShadowSettings},
    status::Whom,
};

/// A process on somebody's machine is looked at from there.
const METRICS_OF_RUN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15090);
/// The kubelet and Prometheus ask from elsewhere.
const METRICS_OF_NODE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 15090);

/// kube says the same at every retry, and prints whole answers that it cannot read. `control::source::kube` and `report` say each problem once, with
/// its remedy. What kube knows alone (a bug of its own, a CA bundle that cannot be read again) is heard. Whoever gives a filter gets that one.
const WITHOUT_KUBES_WORDS: &str = "kube_runtime=error,kube_client::client=off,kube_client::client::tls=warn";

/// Flags that are fine each, but not together.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SettingsError {
    /// Admin pages and metrics on one address.
    #[error("--admin-addr and --metrics-addr are both {0}: give them different ports")]
    SameAddress(SocketAddr),
    /// Standard input is read once.
    #[error("standard input (`-`) is named twice: it can only be read once")]
    StdinTwice,
    /// One shadow may hold more than all of them.
    #[error(
        "--shadow-buffer-bytes ({one}) is more than --shadow-node-buffer-bytes ({all}), which is for all shadows together"
    )]
    Buffers {
        /// Bytes for one shadow.
        one: usize,
        /// Bytes for all.
        all: usize,
    },
}

/// A command with everything that it needs to know.
#[derive(Debug)]
pub struct Invocation {
    /// How to log.
    pub logging: LogSettings,
    /// What to do.
    pub task: Task,
}

/// A command, resolved.
#[derive(Debug)]
pub enum Task {
    /// `understudy run` and `understudy node`
    Run(Box<Settings>),
    /// `understudy check`
    Check(ControlSettings),
    /// `understudy status`
    Status {
        /// Who is asked.
        whom: Whom,
        /// For programs.
        json: bool,
    },
    /// `understudy doctor`
    Doctor(DoctorSettings),
    /// `understudy cleanup`
    Cleanup(MachineSettings),
}

/// Everything that `understudy run` and `understudy node` need.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For `control`.
    pub control: ControlSettings,
    /// For `capture`.
    pub capture: CaptureSettings,
    /// For `enrol`.
    pub enrol: EnrolSettings,
    /// For the workers.
    pub data: DataSettings,
    /// For `admin`.
    pub admin: AdminSettings,
    /// For `observe::access_log`.
    pub access_log: AccessLogSettings,
}

/// Where manifests come from and how they are read.
#[derive(Clone, Debug)]
pub struct ControlSettings {
    /// Where from.
    pub source: SourceSettings,
    /// Domain of the cluster's Services, lower case, without the final dot.
    pub cluster_domain: Arc<str>,
    /// For mirrors that no policy speaks of.
    pub shadow: ShadowSettings,
}

/// Where manifests come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceSettings {
    /// In the order given, never empty.
    Files(Vec<ConfigPath>),
    /// The Kubernetes API.
    Cluster(Box<ClusterSettings>),
}

/// Which node of which cluster this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// `spec.nodeName` of the pods to enrol.
    pub node: Arc<str>,
    /// Namespace of this pod.
    pub namespace: Arc<str>,
    /// Name of this pod.
    pub pod: Arc<str>,
    /// `None` = the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// Where the last good objects are kept.
    pub state_dir: Option<PathBuf>,
    /// Where network namespaces of pods appear.
    pub netns_dir: PathBuf,
}

/// A place with manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigPath {
    /// Standard input, read once.
    Stdin,
    /// A file or a folder.
    Path(PathBuf),
}

/// Which parts of the machine are ours.
#[derive(Clone, Debug)]
pub struct MachineSettings {
    /// The node's cgroup2 root; `None` = find it.
    pub cgroup_root: Option<PathBuf>,
    /// Mount point of the BPF file system.
    pub bpffs: PathBuf,
    /// The node's `/proc`.
    pub proc: PathBuf,
    /// Name of this process's pins, an RFC 1123 label.
    pub instance: Arc<str>,
}

/// What `understudy doctor` looks at.
#[derive(Clone, Debug)]
pub struct DoctorSettings {
    /// Where hooks would be attached and pinned.
    pub machine: MachineSettings,
    /// Mark of our own sockets.
    pub mark: Mark,
}

/// What the hooks are loaded with.
#[derive(Clone, Debug)]
pub struct CaptureSettings {
    /// Where they are attached and pinned.
    pub machine: MachineSettings,
    /// Mark of our own sockets.
    pub mark: Mark,
    /// Entries of the rules map.
    pub max_rules: u32,
    /// Age at which a heartbeat is stale.
    pub heartbeat_stale: Duration,
    /// What the kernel side logs.
    pub kernel_log: KernelLog,
}

/// How pods are enrolled.
#[derive(Clone, Copy, Debug)]
pub struct EnrolSettings {
    /// Whether a pod may name the host's own namespace.
    pub allow_host_netns: bool,
    /// How often what is there is compared with what should be there.
    pub reconcile_interval: Duration,
}

/// How connections are carried.
#[derive(Clone, Copy, Debug)]
pub struct DataSettings {
    /// Threads, 1 to 1024.
    pub workers: usize,
    /// Silence of a client after which an undeclared port is opaque.
    pub detect_timeout: Duration,
    /// Patience with an endpoint's handshake.
    pub connect_timeout: Duration,
    /// How long a client may keep us waiting.
    pub patience: Limits,
    /// Life of an idle pooled connection; zero = no pooling.
    pub upstream_idle_timeout: Duration,
    /// Unsent body bytes that all shadows of the node may hold.
    pub shadow_node_buffer_bytes: usize,
    /// Most body bytes that are read of a shadow's answer.
    pub shadow_answer_bytes: u64,
    /// Lateness of a worker at which shadows are refused; `None` = never.
    pub shadow_shed_lag: Option<Duration>,
    /// From the signal to the end of the process.
    pub drain_timeout: Duration,
}

/// Where the process can be looked at.
#[derive(Clone, Copy, Debug)]
pub struct AdminSettings {
    /// Admin pages; port 0 = any.
    pub admin: SocketAddr,
    /// Metrics and probes; port 0 = any.
    pub metrics: SocketAddr,
}

/// Where the access log goes.
#[derive(Clone, Debug)]
pub struct AccessLogSettings {
    /// `None` = there is none.
    pub target: Option<AccessLogTarget>,
    /// Form of a line.
    pub format: LogFormat,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLogTarget {
    /// Standard output.
    Stdout,
    /// A file, appended to.
    File(PathBuf),
}

/// How the process logs to standard error.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Form of a line.
    pub format: LogFormat,
    /// Directives of tracing's `EnvFilter`.
    pub filter: String,
    /// Colours: standard error is a terminal and `NO_COLOR` is unset or empty (no-color.org).
    pub colours: bool,
}

impl ControlSettings {
    /// The files and folders as paths; `-` is standard input. Empty for a cluster.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        let SourceSettings::Files(sources) = &self.source else { return Vec::new() };
        let path = |source: &ConfigPath| match source {
            ConfigPath::Stdin => PathBuf::from("-"),
            ConfigPath::Path(path) => path.clone(),
        };
        sources.iter().map(path).collect()
    }
}

impl ConfigPath {
    fn all(paths: Vec<PathBuf>) -> Result<Vec<Self>, SettingsError> {
        let is_stdin = |path: &PathBuf| path == Path::new("-");
        if paths.iter().filter(|path| is_stdin(path)).count() > 1 {
            return Err(SettingsError::StdinTwice);
        }
        Ok(paths.into_iter().map(|path| if is_stdin(&path) { Self::Stdin } else { Self::Path(path) }).collect())
    }
}

impl fmt::Display for ConfigPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("standard input"),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

impl Invocation {
    /// Resolves what the user typed.
    ///
    /// # Errors
    ///
    /// What is wrong with the flags as a whole; a matter of usage (exit code 64).
    pub fn resolve(cli: Cli) -> Result<Self, SettingsError> {
        let default_filter = if matches!(cli.command, Command::Run(_) | Command::Node(_)) { "info" } else { "warn" };
        let logging = logging(cli.log, default_filter);
        let task = match cli.command {
            Command::Run(arguments) => {
                let source = SourceSettings::Files(ConfigPath::all(arguments.config)?);
                Task::Run(Box::new(agent(arguments.agent, source, METRICS_OF_RUN, logging.format)?))
            }
            Command::Node(arguments) => {
                let source = SourceSettings::Cluster(Box::new(cluster(arguments.cluster)));
                Task::Run(Box::new(agent(arguments.agent, source, METRICS_OF_NODE, logging.format)?))
            }
            Command::Check(arguments) => Task::Check(ControlSettings {
                source: SourceSettings::Files(ConfigPath::all(arguments.paths)?),
                cluster_domain: arguments.cluster_domain.into(),
                shadow: ShadowSettings::default(),
            }),
            Command::Status(arguments) => Task::Status {
                whom: match arguments.all_nodes {
                    true => Whom::AllNodes { kubeconfig: arguments.kubeconfig },
                    false => Whom::Here(arguments.admin_addr),
                },
                json: arguments.json,
            },
            Command::Doctor(arguments) => {
                Task::Doctor(DoctorSettings { machine: machine(arguments.machine), mark: arguments.mark })
            }
            Command::Cleanup(arguments) => Task::Cleanup(machine(arguments)),
        };
        Ok(Self { logging, task })
    }
}

fn logging(arguments: LogArgs, default_filter: &str) -> LogSettings {
    let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    LogSettings {
        format: arguments.log_format,
        filter: arguments.log_level.unwrap_or_else(|| format!("{default_filter},{WITHOUT_KUBES_WORDS}")),
        colours: !plain && stderr().is_terminal(),
    }
}

fn machine(arguments: MachineArgs) -> MachineSettings {
    let MachineArgs { cgroup_root, bpffs, proc, instance } = arguments;
    MachineSettings { cgroup_root, bpffs, proc, instance: instance.into() }
}

fn cluster(arguments: ClusterArgs) -> ClusterSettings {
    let ClusterArgs { node_name, namespace, pod_name, kubeconfig, netns_dir, state_dir } = arguments;
    let pod = pod_name.unwrap_or_else(|| node_name.clone()).into();
    ClusterSettings { node: node_name.into(), namespace: namespace.into(), pod, kubeconfig, state_dir, netns_dir }
}

fn agent(
    arguments: AgentArgs,
    source: SourceSettings,
    metrics_addr: SocketAddr,
    format: LogFormat,
) -> Result<Settings, SettingsError> {
    let AgentArgs { cluster_domain, outside, machine: machine_arguments, capture, data, shadow } = arguments;
    let metrics_addr = outside.metrics_addr.unwrap_or(metrics_addr);
    if outside.admin_addr == metrics_addr && outside.admin_addr.port() != 0 {
        return Err(SettingsError::SameAddress(outside.admin_addr));
    }
    if shadow.shadow_buffer_bytes > shadow.shadow_node_buffer_bytes {
        return Err(SettingsError::Buffers { one: shadow.shadow_buffer_bytes, all: shadow.shadow_node_buffer_bytes });
    }
    let workers = data.workers.map_or_else(
        || thread::available_parallelism().map_or(1, NonZero::get).min(1024),
        |workers| workers.get() as usize,
    );
    Ok(Settings {
        control: ControlSettings {
            source,
            cluster_domain: cluster_domain.into(),
            shadow: ShadowSettings {
                host_suffix: shadow.shadow_host_suffix.into(),
                timeout: shadow.shadow_timeout,
                max_concurrent: shadow.shadow_max_concurrent,
                buffer_bytes: shadow.shadow_buffer_bytes,
                methods: shadow.shadow_methods,
                headers: HeaderOps { remove: shadow.shadow_remove_headers.0, ..HeaderOps::default() },
                sampling: shadow.shadow_sampling,
                dscp: shadow.shadow_dscp,
            },
        },
        capture: CaptureSettings {
            machine: machine(machine_arguments),
            mark: capture.mark,
            max_rules: capture.max_rules,
            heartbeat_stale: capture.heartbeat_stale,
            kernel_log: capture.capture_log_level,
        },
        enrol: EnrolSettings {
            allow_host_netns: capture.allow_host_netns,
            reconcile_interval: capture.reconcile_interval,
        },
        data: DataSettings {
            workers,
            detect_timeout: data.detect_timeout,
            connect_timeout: data.connect_timeout,
            patience: Limits { head: data.header_timeout, idle: data.idle_timeout },
            upstream_idle_timeout: data.upstream_idle_timeout,
            shadow_node_buffer_bytes: shadow.shadow_node_buffer_bytes,
            shadow_answer_bytes: shadow.shadow_answer_bytes as u64,
            shadow_shed_lag: Some(shadow.shadow_shed_lag).filter(|lag| !lag.is_zero()),
            drain_timeout: data.drain_timeout,
        },
        admin: AdminSettings { admin: outside.admin_addr, metrics: metrics_addr },
        access_log: AccessLogSettings {
            target: outside
                .access_log
                .map(|path| if path == Path::new("-") { AccessLogTarget::Stdout } else { AccessLogTarget::File(path) }),
            format,
        },
    })
}

#[cfg(test)]
mod tests {
    use tracing::Level;
    use tracing_subscriber::filter::Targets;

    use super::*;

    fn resolve(line: &str) -> Result<Invocation, SettingsError> {
        Invocation::resolve(Cli::parse_arguments(line.split_whitespace().map(Into::into)).unwrap())
    }

    fn run_settings(line: &str) -> Settings {
        match resolve(line).unwrap().task {
            Task::Run(settings) => *settings,
            other => panic!("not run: {other:?}"),
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_parts_that_use_them() {
        let settings = run_settings("understudy run --config x");
        assert_eq!(settings.control.shadow, ShadowSettings::default());
        assert_eq!(settings.capture.mark, Mark::default());
        let stale = u64::try_from(settings.capture.heartbeat_stale.as_nanos()).unwrap();
        assert_eq!(stale, proxy_common::config::DEFAULT_STALE_NS);
        assert_eq!(settings.data.shadow_node_buffer_bytes, 64 << 20);
        assert!(settings.access_log.target.is_none() && settings.capture.machine.cgroup_root.is_none());
    }

    #[test]
    fn a_hyphen_is_standard_input_once_and_standard_output() {
        let settings = run_settings("understudy run --config - --config y --access-log -");
        let sources = vec![ConfigPath::Stdin, ConfigPath::Path("y".into())];
        assert_eq!(settings.control.source, SourceSettings::Files(sources));
        assert_eq!(settings.access_log.target, Some(AccessLogTarget::Stdout));
        assert_eq!(resolve("understudy check - -").unwrap_err(), SettingsError::StdinTwice);
    }

    #[test]
    fn a_node_is_looked_at_from_elsewhere_and_its_pod_is_named_after_it_unless_told() {
        let settings = run_settings("understudy node --node-name worker.example");
        assert_eq!(settings.admin.metrics, ([0, 0, 0, 0], 15090).into());
        assert_eq!(run_settings("understudy run --config x").admin.metrics, ([127, 0, 0, 1], 15090).into());
        let SourceSettings::Cluster(cluster) = settings.control.source else { panic!("not a cluster") };
        assert_eq!(
            (&*cluster.node, &*cluster.pod, &*cluster.namespace),
            ("worker.example", "worker.example", "understudy-system")
        );
    }

    #[test]
    fn flags_that_contradict_each_other_are_refused() {
        let same = resolve("understudy run --config x --admin-addr 127.0.0.1:15090").unwrap_err();
        assert_eq!(same, SettingsError::SameAddress(([127, 0, 0, 1], 15090).into()));
        let free = "understudy run --config x --admin-addr 127.0.0.1:0 --metrics-addr 127.0.0.1:0";
        assert!(resolve(free).is_ok(), "port 0 is a different port each time");
        let buffers = resolve("understudy run --config x --shadow-buffer-bytes 2Mi --shadow-node-buffer-bytes 1Mi");
        assert_eq!(buffers.unwrap_err(), SettingsError::Buffers { one: 2 << 20, all: 1 << 20 });
    }

    #[test]
    fn only_what_captures_talks_about_itself_unasked() {
        let enabled = |line: &str, level| filter(line).would_enable("understudy::app", &level);
        assert!(enabled("understudy node --node-name n", Level::INFO));
        assert!(enabled("understudy run --config x", Level::INFO));
        assert!(!enabled("understudy run --config x", Level::DEBUG));
        assert!(enabled("understudy doctor", Level::WARN) && !enabled("understudy doctor", Level::INFO));
        assert_eq!(resolve("understudy doctor --log-level debug").unwrap().logging.filter, "debug");
    }

    /// As the log's own filter reads it.
    fn filter(line: &str) -> Targets {
        resolve(line).unwrap().logging.filter.parse().unwrap()
    }

    /// A missing right would fill the log for as long as it is missing. Mutations that break it: a default filter that is a level alone; one that
    /// is added to what the user typed.
    #[test]
    fn what_kube_says_at_every_retry_is_not_in_the_log_unless_asked_for() {
        let by_default = filter("understudy node --node-name n");
        for target in ["kube_runtime::watcher", "kube_client::client", "kube_client::client::builder"] {
            assert!(!by_default.would_enable(target, &Level::WARN), "{target}");
        }
        assert!(by_default.would_enable("kube_runtime::watcher", &Level::ERROR));
        assert!(by_default.would_enable("kube_client::client::tls", &Level::WARN));
        assert!(by_default.would_enable("understudy::control::source::kube", &Level::WARN));
        let asked = filter("understudy node --node-name n --log-level info");
        assert!(asked.would_enable("kube_runtime::watcher", &Level::WARN));
    }

    #[test]
    fn doctor_looks_at_the_mark_that_run_would_be_given() {
        let Task::Doctor(doctor) = resolve("understudy doctor --mark 0x4000 --bpffs /x").unwrap().task else {
            panic!("not doctor");
        };
        assert_eq!((doctor.mark.clash(), doctor.machine.bpffs), (Some("kube-proxy"), "/x".into()));
    }
}
