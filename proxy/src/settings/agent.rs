//! Whatever captures: what `run` and `node` share.

use std::{net::SocketAddr, num::NonZero, thread, time::Duration};

use super::{
    AccessLogSettings, AdminSettings, CaptureSettings, ControlSettings, EnrolSettings, SettingsError, SourceSettings,
    shadow,
};
use crate::{
    cli::{AgentArgs, DataArgs, LogFormat, ShadowArgs},
    patience::Limits,
};

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

impl Settings {
    /// `metrics`: where they are if nobody says it. `format`: of both logs.
    pub(super) fn resolve(
        arguments: AgentArgs,
        source: SourceSettings,
        metrics: SocketAddr,
        format: LogFormat,
    ) -> Result<Self, SettingsError> {
        let AgentArgs { cluster_domain, outside, machine, capture, data, shadow } = arguments;
        Ok(Self {
            admin: AdminSettings::new(&outside, metrics)?,
            capture: CaptureSettings::new(machine, &capture),
            enrol: EnrolSettings::from(&capture),
            data: DataSettings::new(&data, &shadow),
            control: ControlSettings {
                source,
                cluster_domain: cluster_domain.into(),
                shadow: shadow::by_default(shadow)?,
            },
            access_log: AccessLogSettings::new(outside.access_log, format),
        })
    }
}

impl DataSettings {
    fn new(data: &DataArgs, shadow: &ShadowArgs) -> Self {
        let workers = data.workers.map_or_else(
            || thread::available_parallelism().map_or(1, NonZero::get).min(1024),
            |workers| workers.get() as usize,
        );
        Self {
            workers,
            detect_timeout: data.detect_timeout,
            connect_timeout: data.connect_timeout,
            patience: Limits { head: data.header_timeout, idle: data.idle_timeout },
            upstream_idle_timeout: data.upstream_idle_timeout,
            shadow_node_buffer_bytes: shadow.shadow_node_buffer_bytes,
            shadow_answer_bytes: shadow.shadow_answer_bytes as u64,
            shadow_shed_lag: Some(shadow.shadow_shed_lag).filter(|lag| !lag.is_zero()),
            drain_timeout: data.drain_timeout,
        }
    }
}
