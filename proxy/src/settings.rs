//! Resolved and validated settings of the process, grouped by who uses them.
//!
//! Comes in: a [`Cli`] (typed flags and variables) and what the machine says of its CPUs and its terminal. Goes out: plain
//! structs. Never: files, sockets, or a second look at the environment by anyone else.
//!
//! | module | says |
//! | --- | --- |
//! | `agent` | what `run` and `node` share: everything for a process that captures |
//! | `source` | where manifests come from |
//! | `machine` | which parts of the machine are ours, and how it is captured |
//! | `shadow` | how shadows are, as long as no policy says otherwise |
//! | `outside` | where the process can be looked at, and its access log |
//! | `logging` | how it logs |

mod agent;
mod logging;
mod machine;
mod outside;
mod shadow;
mod source;

use std::net::SocketAddr;

use thiserror::Error;

use self::outside::{METRICS_OF_NODE, METRICS_OF_RUN};
pub use self::{
    agent::{DataSettings, Settings},
    logging::LogSettings,
    machine::{CaptureSettings, DoctorSettings, EnrolSettings, MachineSettings},
    outside::{AccessLogSettings, AccessLogTarget, AdminSettings},
    source::{ClusterSettings, ConfigPath, ControlSettings, SourceSettings},
};
pub use crate::cli::{KernelLog, LogFormat};
use crate::{
    cli::{Cli, Command},
    route::ShadowSettings,
    status::Whom,
};

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

impl Invocation {
    /// Resolves what the user typed.
    ///
    /// # Errors
    ///
    /// What is wrong with the flags as a whole; a matter of usage (exit code 64).
    pub fn resolve(cli: Cli) -> Result<Self, SettingsError> {
        let default_filter = if matches!(cli.command, Command::Run(_) | Command::Node(_)) { "info" } else { "warn" };
        let logging = LogSettings::new(cli.log, default_filter);
        let task = match cli.command {
            Command::Run(arguments) => {
                let source = SourceSettings::Files(ConfigPath::all(arguments.config)?);
                Task::Run(Box::new(Settings::resolve(arguments.agent, source, METRICS_OF_RUN, logging.format)?))
            }
            Command::Node(arguments) => {
                let source = SourceSettings::Cluster(Box::new(arguments.cluster.into()));
                Task::Run(Box::new(Settings::resolve(arguments.agent, source, METRICS_OF_NODE, logging.format)?))
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
                Task::Doctor(DoctorSettings { machine: arguments.machine.into(), mark: arguments.mark })
            }
            Command::Cleanup(arguments) => Task::Cleanup(arguments.into()),
        };
        Ok(Self { logging, task })
    }
}

#[cfg(test)]
mod tests;
