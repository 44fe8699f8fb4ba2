//! Loads: what is asked of a variant for some seconds, from its client's pod.
//!
//! `wrk` and `h2load` send the next request as soon as the last is answered: they find out how much goes through, and their latencies say
//! little, because a slow answer delays the question after it. `paced` asks at a constant rate whatever the answers do.

pub(crate) mod latency;
mod paced;
mod saturating;

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, bail};
use integration::Pod;

use crate::{
    load::latency::{Latency, Slices},
    programs::Programs,
    variant::{Flavour, Protocol},
};

/// A load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Load {
    /// As fast as it is answered.
    Saturating { kind: Kind, connections: u32 },
    /// A share of what the slowest variant can do, whatever the answers do.
    Paced { share: f64, connections: usize },
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A few bytes, over connections that stay.
    Small,
    Get10K,
    Get1M,
    /// A few bytes, and a connection for each.
    Close,
    Upload1M,
    /// A few bytes over HTTP/2; so many streams at a time on each connection.
    Http2 {
        streams: u32,
    },
    /// A unary call: a message, an answer and its trailer.
    Grpc {
        streams: u32,
    },
}

impl Kind {
    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Self::Http2 { .. } | Self::Grpc { .. } => Protocol::Http2,
            _ => Protocol::Http1,
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Small | Self::Close | Self::Http2 { .. } => "/",
            Self::Get10K => "/file/10k",
            Self::Get1M => "/file/1m",
            Self::Upload1M => "/upload",
            Self::Grpc { .. } => "/grpc",
        }
    }

    /// How often an origin counts a request of this kind: an upload is answered by nginx's inner server, which counts too.
    pub(crate) fn counted(self) -> u64 {
        if self == Self::Upload1M { 2 } else { 1 }
    }
}

/// What a load saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// Whole answers with status 200.
    pub(crate) requests: u64,
    /// Everything else.
    pub(crate) errors: u64,
    /// Whole answers before the measurement: v2 has seen them, and they took CPU.
    pub(crate) warm_up: u64,
    /// How long it took.
    pub(crate) seconds: f64,
    /// From the intended start to the last byte; only of paced loads.
    pub(crate) latency: Option<Latency>,
    /// The same over time.
    pub(crate) slices: Option<Slices>,
}

/// Plays a load from a pod. `slowest` is what the slowest variant can do, requests/s.
pub(crate) fn play(
    load: Load,
    programs: &Programs,
    pod: &Pod,
    flavour: Flavour,
    seconds: f64,
    slowest: f64,
) -> Result<Outcome> {
    match load {
        Load::Saturating { kind, connections } => saturating::play(kind, connections, programs, pod, flavour, seconds),
        Load::Paced { share, connections } => {
            let to = (flavour.host(), flavour.address(Protocol::Http1));
            paced::play(pod, to, share * slowest, connections, Duration::from_secs_f64(seconds))
        }
    }
}

/// Plays a paced load straight at a server, past every proxy, beside another: at a rate that is a little higher, or the two would meet always or
/// never, as chance has it at the start.
pub(crate) fn straight(load: Load, pod: &Pod, to: SocketAddr, seconds: f64, slowest: f64) -> Result<Outcome> {
    let Load::Paced { share, connections } = load else { bail!("only a paced load is played straight at a server") };
    paced::play(pod, ("v2", to), share * slowest * 1.007, connections, Duration::from_secs_f64(seconds))
}
