//! One run of one variant: what was asked, and what it took.

use serde::{Serialize, Serializer};

use crate::{load::latency::Latency, meter::Used, variant::Variant};

impl Serialize for Variant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    pub(crate) variant: Variant,
    pub(crate) round: usize,
    /// Good answers.
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    /// Good answers before the measurement, which cost what the others did.
    pub(crate) warm_up: u64,
    pub(crate) per_second: f64,
    /// Requests at v2 for each of them.
    pub(crate) shadows: f64,
    /// Connections at v1 and v2 for each of them: near 0 where connections are kept.
    pub(crate) connections: f64,
    pub(crate) used: Used,
    /// Resident memory and open files of the proxy at the end.
    pub(crate) rss_kib: u64,
    pub(crate) fds: usize,
    pub(crate) latency: Option<Latency>,
}

impl Sample {
    /// CPU of the proxy for each request, microseconds.
    pub(crate) fn proxy(&self) -> f64 {
        self.used.group * 1e6 / self.answered() as f64
    }

    /// p99 of the primary, microseconds, if the load was paced.
    pub(crate) fn p99(&self) -> f64 {
        self.latency.map_or(f64::NAN, |latency| latency.p99)
    }

    fn answered(&self) -> u64 {
        self.requests + self.warm_up
    }

    /// CPU of the whole machine for each request, microseconds: client, servers, proxy, kernel.
    pub(crate) fn machine(&self) -> f64 {
        self.used.machine * 1e6 / self.answered() as f64
    }
}
