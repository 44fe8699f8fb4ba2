//! What is seen from outside: the addresses of the admin pages and the metrics, the access log.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use super::SettingsError;
use crate::cli::{LogFormat, OutsideArgs};

/// A process on somebody's machine is looked at from there.
pub(super) const METRICS_OF_RUN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15090);
/// The kubelet and Prometheus ask from elsewhere.
pub(super) const METRICS_OF_NODE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 15090);

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

impl AdminSettings {
    /// `metrics`: where they are if nobody says it.
    pub(super) fn new(arguments: &OutsideArgs, metrics: SocketAddr) -> Result<Self, SettingsError> {
        let (admin, metrics) = (arguments.admin_addr, arguments.metrics_addr.unwrap_or(metrics));
        if admin == metrics && admin.port() != 0 {
            return Err(SettingsError::SameAddress(admin));
        }
        Ok(Self { admin, metrics })
    }
}

impl AccessLogSettings {
    pub(super) fn new(target: Option<PathBuf>, format: LogFormat) -> Self {
        let resolve = |path| if path == Path::new("-") { AccessLogTarget::Stdout } else { AccessLogTarget::File(path) };
        Self { target: target.map(resolve), format }
    }
}
