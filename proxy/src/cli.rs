//! What the user typed: commands, flags and their `UNDERSTUDY_…` variables, each value parsed on its own.
//!
//! Comes in: arguments and the environment. Goes out: [`Cli`], which [`crate::settings`] resolves.
//! Never: looks at the machine, or weighs one flag against another.

pub mod units;

use std::{env, ffi::OsString, net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use clap::{
    ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, builder::BoolishValueParser,
    parser::ValueSource,
};

use self::units::RemovedHeaders;
use crate::{
    net::{Dscp, Mark},
    route::{Methods, SampleBy},
};

/// Exit code of a command line that makes no sense (`EX_USAGE` of sysexits.h).
pub const EX_USAGE: u8 = 64;

/// Mirrors live HTTP traffic between Kubernetes pods, without sidecars, init containers or iptables.
#[derive(Debug, Parser)]
#[command(name = "understudy", version, arg_required_else_help = true, subcommand_required = true)]
#[command(after_help = "Every flag can be given as a variable: --log-level is UNDERSTUDY_LOG_LEVEL.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How to talk about it.
    #[command(flatten)]
    pub log: LogArgs,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Capture and mirror on this machine, as manifests in files say
    Run(Box<RunArgs>),
    /// Capture and mirror on a Kubernetes node, as the objects of the cluster say
    Node(Box<NodeArgs>),
    /// Validate manifests and say what is wrong with them; exits 0 if only warnings are left
    Check(CheckArgs),
    /// How the agent of this machine stands, or every agent of a cluster; exits 0 if all are ready
    Status(StatusArgs),
    /// Say what this machine lacks to capture, and the remedy
    Doctor(DoctorArgs),
    /// Remove every pin and leftover of any version; harmless if there is none
    Cleanup(MachineArgs),
}

/// Flags of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Logging")]
pub struct LogArgs {
    /// Form of the process log (on standard error) and of the access log
    #[arg(long, global = true, value_enum, default_value = "text", env = "UNDERSTUDY_LOG_FORMAT")]
    pub log_format: LogFormat,
    /// off, error, warn, info, debug, trace, or directives like info,understudy::capture=debug [default: info for run and node, else warn, and of kube only what it alone can tell]
    #[arg(long, global = true, value_name = "FILTER", env = "UNDERSTUDY_LOG_LEVEL")]
    pub log_level: Option<String>,
}

/// Flags that say which parts of the machine are ours.
#[derive(Debug, Args)]
#[command(next_help_heading = "Machine")]
pub struct MachineArgs {
    /// The node's cgroup2 root, a mount point [default: found among this process's mounts, as the node's PID 1 (--proc) sees them]
    #[arg(long, value_name = "PATH", env = "UNDERSTUDY_CGROUP_ROOT")]
    pub cgroup_root: Option<PathBuf>,
    /// Where the BPF file system is mounted
    #[arg(long, value_name = "PATH", default_value = "/sys/fs/bpf", env = "UNDERSTUDY_BPFFS")]
    pub bpffs: PathBuf,
    /// The node's /proc; in a pod, where the node's is mounted
    #[arg(long, value_name = "PATH", default_value = "/proc", env = "UNDERSTUDY_PROC")]
    pub proc: PathBuf,
    /// Tells several processes on one kernel apart (one for each node of a kind cluster): names their pins
    #[arg(long, value_name = "NAME", default_value = "node", env = "UNDERSTUDY_INSTANCE", value_parser = units::name)]
    pub instance: String,
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take the words for a help text")]
    pub machine: MachineArgs,
    /// The SO_MARK that `run` will be given, VALUE/MASK
    #[arg(long, value_name = "MARK", default_value_t = Mark::default(), env = "UNDERSTUDY_MARK", help_heading = "Capture")]
    pub mark: Mark,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The agent's admin address
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:15000", env = "UNDERSTUDY_ADMIN_ADDR")]
    pub admin_addr: SocketAddr,
    /// Ask every agent of the cluster, through the API server
    #[arg(long, env = "UNDERSTUDY_ALL_NODES", value_parser = BoolishValueParser::new())]
    pub all_nodes: bool,
    /// Which cluster [default: as kubectl finds it]
    #[arg(long, value_name = "PATH", requires = "all_nodes", env = "UNDERSTUDY_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// All that the agents say
    #[arg(long, env = "UNDERSTUDY_JSON", value_parser = BoolishValueParser::new())]
    pub json: bool,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Files or folders with manifests, YAML or JSON; `-` is standard input
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// DNS domain of the cluster's Services
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local", env = "UNDERSTUDY_CLUSTER_DOMAIN", value_parser = units::domain)]
    pub cluster_domain: String,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Files or folders with manifests, YAML or JSON, watched and reloaded; `-` is standard input. The variable separates by colons
    #[arg(long, required = true, value_name = "PATH", num_args = 1.., action = ArgAction::Append, env = "UNDERSTUDY_CONFIG")]
    pub config: Vec<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take the words for a help text")]
    pub agent: AgentArgs,
}

/// Arguments of `node`.
#[derive(Debug, Args)]
pub struct NodeArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take the words for a help text")]
    pub cluster: ClusterArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "as above")]
    pub agent: AgentArgs,
}

/// Flags of `node`: which node this is, and how the node and the Kubernetes API are reached.
#[derive(Debug, Args)]
#[command(next_help_heading = "Cluster")]
pub struct ClusterArgs {
    /// Name of the node: its pods are enrolled
    #[arg(long, value_name = "NAME", env = "UNDERSTUDY_NODE_NAME", value_parser = units::node_name)]
    pub node_name: String,
    /// Namespace of this pod: its Lease says who reports on objects
    #[arg(long, value_name = "NAME", default_value = "understudy-system", env = "UNDERSTUDY_NAMESPACE", value_parser = units::name)]
    pub namespace: String,
    /// Name of this pod [default: the node's]
    #[arg(long, value_name = "NAME", env = "UNDERSTUDY_POD_NAME", value_parser = units::node_name)]
    pub pod_name: Option<String>,
    /// How to reach the Kubernetes API from outside of a cluster
    #[arg(long, value_name = "PATH", env = "UNDERSTUDY_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// Where the container runtime puts the network namespaces of pods; watched, so that pods are enrolled before they start
    #[arg(long, value_name = "PATH", default_value = "/run/netns", env = "UNDERSTUDY_NETNS_DIR")]
    pub netns_dir: PathBuf,
    /// Where the last good objects are kept, for a restart while the Kubernetes API is away [default: nowhere]
    #[arg(long, value_name = "PATH", env = "UNDERSTUDY_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
}

/// Flags of whatever captures: `run` and `node`.
#[derive(Debug, Args)]
pub struct AgentArgs {
    /// DNS domain of the cluster's Services
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local", env = "UNDERSTUDY_CLUSTER_DOMAIN", value_parser = units::domain)]
    pub cluster_domain: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take the words for a help text")]
    pub outside: OutsideArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "as above")]
    pub machine: MachineArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "as above")]
    pub capture: CaptureArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "as above")]
    pub data: DataArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "as above")]
    pub shadow: ShadowArgs,
}

/// Flags of `run` and `node`: what is seen from outside.
#[derive(Debug, Args)]
#[command(next_help_heading = "Seen from outside")]
pub struct OutsideArgs {
    /// Where the admin pages listen (configuration dump, log level); keep it on loopback
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:15000", env = "UNDERSTUDY_ADMIN_ADDR")]
    pub admin_addr: SocketAddr,
    /// Where /metrics, /livez and /readyz listen [default: 127.0.0.1:15090 for run, 0.0.0.0:15090 for node]
    #[arg(long, value_name = "ADDR", env = "UNDERSTUDY_METRICS_ADDR")]
    pub metrics_addr: Option<SocketAddr>,
    /// Write a line for each primary and each mirror of its rule to this file; `-` is standard output
    #[arg(long, value_name = "PATH", env = "UNDERSTUDY_ACCESS_LOG")]
    pub access_log: Option<PathBuf>,
}

/// Flags of `run` and `node`: capture and enrolment.
#[derive(Debug, Args)]
#[command(next_help_heading = "Capture")]
pub struct CaptureArgs {
    /// SO_MARK of our own sockets, VALUE/MASK
    #[arg(long, value_name = "MARK", default_value_t = Mark::default(), env = "UNDERSTUDY_MARK")]
    pub mark: Mark,
    /// Destinations that the rules map has room for
    #[arg(long, value_name = "N", default_value = "65536", env = "UNDERSTUDY_MAX_RULES", value_parser = units::max_rules)]
    pub max_rules: u32,
    /// A heartbeat older than this is a hang: new connections follow their rule's failure policy
    #[arg(long, value_name = "TIME", default_value = "1s", env = "UNDERSTUDY_HEARTBEAT_STALE", value_parser = units::heartbeat)]
    pub heartbeat_stale: Duration,
    /// How often enrolments, rules and hooks are compared with what should be there
    #[arg(long, value_name = "TIME", default_value = "30s", env = "UNDERSTUDY_RECONCILE_INTERVAL", value_parser = units::positive_duration)]
    pub reconcile_interval: Duration,
    /// What the kernel side logs
    #[arg(long, value_name = "LEVEL", value_enum, default_value = "warn", env = "UNDERSTUDY_CAPTURE_LOG_LEVEL")]
    pub capture_log_level: KernelLog,
    /// Let a pod name the host's own network namespace: every process of the host is then captured
    #[arg(long, env = "UNDERSTUDY_ALLOW_HOST_NETNS", value_parser = BoolishValueParser::new())]
    pub allow_host_netns: bool,
}

/// Flags of `run` and `node`: connections.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connections")]
pub struct DataArgs {
    /// Threads that carry traffic [default: one for each CPU that the process may use]
    #[arg(long, value_name = "N", env = "UNDERSTUDY_WORKERS", value_parser = units::workers)]
    pub workers: Option<NonZeroU32>,
    /// How long a client of an undeclared port may be silent before its connection passes through unread
    #[arg(long, value_name = "TIME", default_value = "200ms", env = "UNDERSTUDY_DETECT_TIMEOUT", value_parser = units::positive_duration)]
    pub detect_timeout: Duration,
    /// How long connecting to an endpoint may take
    #[arg(long, value_name = "TIME", default_value = "10s", env = "UNDERSTUDY_CONNECT_TIMEOUT", value_parser = units::positive_duration)]
    pub connect_timeout: Duration,
    /// How long a client may take from the first byte of a request's head to its end; then 408
    #[arg(long, value_name = "TIME", default_value = "60s", env = "UNDERSTUDY_HEADER_TIMEOUT", value_parser = units::positive_duration)]
    pub header_timeout: Duration,
    /// How long nothing may move on a captured connection without a request under way
    #[arg(long, value_name = "TIME", default_value = "1h", env = "UNDERSTUDY_IDLE_TIMEOUT", value_parser = units::positive_duration)]
    pub idle_timeout: Duration,
    /// How long an idle connection to an endpoint is kept for the next request
    #[arg(long, value_name = "TIME", default_value = "90s", env = "UNDERSTUDY_UPSTREAM_IDLE_TIMEOUT", value_parser = units::duration)]
    pub upstream_idle_timeout: Duration,
    /// How long connections may go on after SIGTERM or SIGINT
    #[arg(long, value_name = "TIME", default_value = "30s", env = "UNDERSTUDY_DRAIN_TIMEOUT", value_parser = units::duration)]
    pub drain_timeout: Duration,
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// An object a line.
    Json,
}

/// What the kernel side logs. The level is fixed when the programs are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum KernelLog {
    /// Nothing.
    Off,
    /// Errors.
    Error,
    /// And warnings.
    Warn,
    /// And what happens rarely.
    Info,
    /// And every decision.
    Debug,
}

/// Flags of `run` and `node`: shadows, as long as no policy says otherwise.
#[derive(Debug, Args)]
#[command(next_help_heading = "Shadows")]
pub struct ShadowArgs {
    /// How long a shadow may take, from its first byte to the last of its answer
    #[arg(long, value_name = "TIME", default_value = "10s", env = "UNDERSTUDY_SHADOW_TIMEOUT", value_parser = units::positive_duration)]
    pub shadow_timeout: Duration,
    /// Appended to a shadow's Host, before the port; may be empty
    #[arg(long, value_name = "TEXT", default_value = "-shadow", allow_hyphen_values = true, env = "UNDERSTUDY_SHADOW_HOST_SUFFIX", value_parser = units::host_suffix)]
    pub shadow_host_suffix: String,
    /// Methods that are mirrored, separated by commas; `*` is every method
    #[arg(long, value_name = "METHODS", default_value = "*", env = "UNDERSTUDY_SHADOW_METHODS", value_parser = units::methods)]
    pub shadow_methods: Methods,
    /// Header fields that shadows do not carry, separated by commas: authorization,cookie keeps credentials from v2
    #[arg(long, value_name = "NAMES", default_value = "", env = "UNDERSTUDY_SHADOW_REMOVE_HEADERS", value_parser = units::removed_headers)]
    pub shadow_remove_headers: RemovedHeaders,
    /// What is sampled: request, connection, sourceIP, header:NAME or cookie:NAME; the same key gives the same answer on every node
    #[arg(long, value_name = "KEY", default_value = "request", env = "UNDERSTUDY_SHADOW_SAMPLING", value_parser = units::sampling)]
    pub shadow_sampling: SampleBy,
    /// Code point of shadows' packets, 0 to 63; 1 is Lower Effort (networks may drop them first), 0 leaves it as it is
    #[arg(long, value_name = "N", default_value = "1", env = "UNDERSTUDY_SHADOW_DSCP", value_parser = units::dscp)]
    pub shadow_dscp: Dscp,
    /// Shadows of one mirror under way at once
    #[arg(long, value_name = "N", default_value = "128", env = "UNDERSTUDY_SHADOW_MAX_CONCURRENT", value_parser = clap::value_parser!(u32).range(1..))]
    pub shadow_max_concurrent: u32,
    /// Unsent body that one shadow may hold
    #[arg(long, value_name = "SIZE", default_value = "1Mi", env = "UNDERSTUDY_SHADOW_BUFFER_BYTES", value_parser = units::bytes)]
    pub shadow_buffer_bytes: usize,
    /// Unsent body that all shadows together may hold
    #[arg(long, value_name = "SIZE", default_value = "64Mi", env = "UNDERSTUDY_SHADOW_NODE_BUFFER_BYTES", value_parser = units::bytes)]
    pub shadow_node_buffer_bytes: usize,
    /// Most body that is read of a shadow's answer; what is longer is cut there, and answered all the same
    #[arg(long, value_name = "SIZE", default_value = "1Mi", env = "UNDERSTUDY_SHADOW_ANSWER_BYTES", value_parser = units::bytes)]
    pub shadow_answer_bytes: usize,
    /// Refuse new shadows while a worker's event loop is this late, so that primaries get the CPU; 0 = never
    #[arg(long, value_name = "TIME", default_value = "100ms", env = "UNDERSTUDY_SHADOW_SHED_LAG", value_parser = units::duration)]
    pub shadow_shed_lag: Duration,
}

impl Cli {
    /// Parses a command line, the program's name first.
    ///
    /// # Errors
    ///
    /// What clap has to say, which includes `--help` and `--version`.
    pub fn parse_arguments(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let matches = Self::command().try_get_matches_from(arguments)?;
        let mut cli = Self::from_arg_matches(&matches)?;
        if let (Command::Run(run), Some((_, matches))) = (&mut cli.command, matches.subcommand())
            && matches.value_source("config") == Some(ValueSource::EnvVariable)
        {
            run.config = run.config.iter().flat_map(env::split_paths).collect();
        }
        Ok(cli)
    }
}

#[cfg(test)]
mod tests;
