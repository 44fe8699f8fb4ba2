//! HAProxy: forwards, and mirrors nothing (its way to mirror is a second program, an SPOE agent).

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use integration::Node;

use crate::{
    rivals::{Endpoints, endpoint, program},
    variant::Protocol,
};

const CONFIG: &str = "
global
  nbthread 2
  maxconn 4000
  tune.maxpollevents 200
defaults
  mode http
  no log
  option http-keep-alive
  option splice-auto
  http-reuse always
  timeout connect 10s
  timeout client 1h
  timeout server 1h
  timeout http-keep-alive 1h
frontend http1
  bind 127.0.0.1:HTTP1
  default_backend v1
frontend http2
  bind 127.0.0.1:HTTP2 proto h2
  default_backend v1h2
backend v1
  server v1 V1
backend v1h2
  server v1 H2 proto h2
";

pub(crate) fn command(found: Result<&PathBuf, &String>, node: &Node, at: &Endpoints) -> Result<Vec<String>> {
    let program = program(found)?;
    let file = node.dir().join("haproxy.cfg");
    let text = CONFIG
        .replace("HTTP1", &Protocol::Http1.sidecar().to_string())
        .replace("HTTP2", &Protocol::Http2.sidecar().to_string())
        .replace("V1", &endpoint(at.v1, Protocol::Http1).to_string())
        .replace("H2", &endpoint(at.v1, Protocol::Http2).to_string());
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    Ok([&program, "-db", "-f", &file.display().to_string()].map(str::to_owned).to_vec())
}
