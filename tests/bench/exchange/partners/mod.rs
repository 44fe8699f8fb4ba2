//! Client, v1 and v2, which are not counted: they act in turns and one step at a time, so that the proxy does the same in the same order each time.
//!
//! A request, then its answer, then the shadow's: each is sent when the one before has been read whole. A proxy that does not do what it must (a
//! further connection, no shadow) is an error after a while.

mod http1;
mod http2;
mod rest;

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result};

pub(crate) use self::rest::Rest;
use crate::case::Case;

/// Where v1 and v2 are (`world.yaml`).
pub(crate) const V1: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 21);
pub(crate) const V2: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 22);
const PORT: u16 = 8080;

/// How long a step may take before something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);
const UPLOAD: usize = 10 << 10;

/// The listening sockets of both versions.
#[derive(Debug)]
pub(crate) struct Versions {
    v1: TcpListener,
    v2: TcpListener,
}

impl Versions {
    /// In the network namespace of the calling thread.
    pub(crate) fn listen() -> Result<Self> {
        let listen = |ip: Ipv4Addr| TcpListener::bind((ip, PORT)).with_context(|| format!("cannot listen at {ip}"));
        Ok(Self { v1: listen(V1)?, v2: listen(V2)? })
    }
}

/// Plays so many requests.
pub(crate) fn play(case: Case, proxy: SocketAddr, rest: Rest, requests: u64) -> Result<()> {
    let versions = Versions::listen()?;
    if case.is_http2() {
        http2::play(case, versions, proxy, rest, requests)
    } else {
        http1::play(case, &versions, proxy, rest, requests)
    }
}

fn prepare(stream: &TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(())
}
