//! Go's net/http as v1 and v2, and as a client (`tests/golang`).
//!
//! Its server writes down each request as it saw it, trailers and digest of the body included, so that what v1 got through the proxy can be
//! compared with what it got past it, and with v2's copy.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};

use crate::{
    node::Node,
    parity::{Server, equal, pairs},
    paths,
    pod::Pod,
    theatre::{HOST, PORT, Theatre},
};

/// The mark of a shadow, as Go writes it after another field.
const MARK: &str = r#","X-Understudy-Shadow":["true"]"#;

/// v1 and v2.
#[derive(Debug)]
pub struct Peers {
    /// Where primaries go.
    pub v1: Server,
    /// Where shadows go.
    pub v2: Server,
}

impl Peers {
    /// Starts both on the service's target port.
    ///
    /// # Errors
    /// When one does not come up.
    pub fn start(theatre: &Theatre) -> Result<Self> {
        let start = |pod| serve(&theatre.node, pod, PORT);
        Ok(Self { v1: start(&theatre.v1.pod)?, v2: start(&theatre.v2.pod)? })
    }

    /// v1 has seen `count` requests through the proxy and the same ones past it, and v2 a copy of each of the former. `change` takes out of a line what the
    /// proxy may change.
    ///
    /// # Errors
    /// With the first line that differs.
    pub fn agree(&self, count: usize, change: impl Fn(&str) -> String) -> Result<()> {
        let copies = self.v2.lines(count)?;
        ensure!(copies.len() == count, "v2 saw {} requests, not {count}", copies.len());
        equal("v2 got another copy", &copied(&copies, &change)?, &self.primaries(count, &change)?.join("\n"))
    }

    /// The same, but of one request v2 may lack the copy: the one whose line holds `hung_up_on`, for its client may have gone before the copy was sent.
    ///
    /// # Errors
    /// With the first line that differs.
    pub fn agree_but_for(&self, hung_up_on: &str, count: usize, change: impl Fn(&str) -> String) -> Result<()> {
        let mut primaries = self.primaries(count, &change)?;
        let copies = self.v2.lines(count - 1)?;
        if !copies.iter().any(|line| line.contains(hung_up_on)) {
            primaries.retain(|line| !line.contains(hung_up_on));
        }
        equal("v2 got another copy", &copied(&copies, &change)?, &primaries.join("\n"))
    }

    /// What v1 saw through the proxy, sorted, once it has seen all of it twice.
    fn primaries(&self, count: usize, change: &impl Fn(&str) -> String) -> Result<Vec<String>> {
        let lines: Vec<_> = self.v1.lines(2 * count)?.iter().map(|line| change(line)).collect();
        ensure!(lines.len() == 2 * count, "v1 saw {} requests, not twice {count}", lines.len());
        pairs(&lines)
    }
}

/// What v2 saw, as the primaries that it was copied from, sorted.
fn copied(lines: &[String], change: &impl Fn(&str) -> String) -> Result<String> {
    let mut lines = lines.iter().map(|line| Ok(change(&unmark(line)?))).collect::<Result<Vec<_>>>()?;
    lines.sort();
    Ok(lines.join("\n"))
}

/// A shadow's line as its primary's.
fn unmark(line: &str) -> Result<String> {
    let (name, port) = HOST.split_once(':').context("HOST has a port")?;
    let host = |host: &str| format!(r#""host":"{host}""#);
    let marked = host(&format!("{name}-shadow:{port}"));
    ensure!(line.contains(&marked) && line.contains(MARK), "v2 got what is no shadow: {line}");
    Ok(line.replace(MARK, "").replace(&marked, &host(HOST)))
}

/// Starts the server in a pod.
///
/// # Errors
/// When it does not come up.
pub fn serve(node: &Node, pod: &Pod, port: u16) -> Result<Server> {
    let words = [paths::golang_peer().display().to_string(), "serve".to_owned(), format!("0.0.0.0:{port}")];
    Server::start(node, pod, "golang", port, &words)
}

/// The command line of the client's part of that name.
#[must_use]
pub fn ask(to: SocketAddr, play: &str) -> Vec<String> {
    let program = paths::golang_peer().display().to_string();
    [&program, "ask", &to.to_string(), HOST, play].map(str::to_owned).to_vec()
}
