//! Redis: the server from Debian's redis-tools, which starts none on the machine.
//!
//! The package's `redis-check-rdb` is the server's own program, which looks at the name that it was called by (redis/src/server.c, `main`).

use std::{
    net::SocketAddr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{needs::find, node::Node, parity::Server, pod::Pod};

/// Starts it in a pod, without anything on disk.
///
/// # Errors
/// When it does not come up.
pub fn serve(node: &Node, pod: &Pod, port: u16) -> Result<Server> {
    let program = program(node.dir())?.display().to_string();
    let port_word = port.to_string();
    let words = [
        &*program,
        "--port",
        &port_word,
        "--bind",
        "0.0.0.0",
        "--protected-mode",
        "no",
        "--save",
        "",
        "--appendonly",
        "no",
    ];
    Server::start(node, pod, "redis", port, &words.map(str::to_owned))
}

fn program(dir: &Path) -> Result<PathBuf> {
    if let Some(server) = find("redis-server") {
        return Ok(server);
    }
    let (server, same) = (dir.join("redis-server"), find("redis-check-rdb").context("no redis-check-rdb on PATH")?);
    if !server.exists() {
        symlink(same, &server).with_context(|| format!("cannot make {}", server.display()))?;
    }
    Ok(server)
}

/// A command line of redis-cli.
#[must_use]
pub fn cli(to: SocketAddr, more: &[&str]) -> Vec<String> {
    let (ip, port) = (to.ip().to_string(), to.port().to_string());
    ["redis-cli", "-h", &ip, "-p", &port].iter().chain(more).map(|word| (*word).to_owned()).collect()
}

/// A shell's command line that feeds a file to redis-cli.
#[must_use]
pub fn cli_from(file: &Path, to: SocketAddr, more: &[&str]) -> Vec<String> {
    let script = format!("exec \"$@\" < {}", file.display());
    ["sh", "-c", &script, "sh"].map(str::to_owned).into_iter().chain(cli(to, more)).collect()
}
