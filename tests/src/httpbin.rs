//! The server of Istio's mirroring task: real httpbin under real gunicorn, in a pod of its own.

use std::{net::SocketAddr, path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    access_log::{self, Line},
    http,
    node::Node,
    paths,
    pod::Pod,
    process::Process,
    wait,
};

const READY: &str = "ready";

/// A pod with a running httpbin on port 80.
#[derive(Debug)]
pub struct Httpbin {
    server: Process,
    /// The pod it runs in.
    pub pod: Pod,
}

impl Httpbin {
    /// The port, as in the task.
    pub const PORT: u16 = 80;

    /// Starts it in a pod and waits until it answers.
    ///
    /// # Errors
    /// When gunicorn is missing or does not come up.
    pub fn start(node: &Node, pod: Pod) -> Result<Self> {
        let mut httpbin = Self::spawn(node, pod)?;
        httpbin.wait_ready()?;
        Ok(httpbin)
    }

    /// Starts it and does not wait: several come up together.
    ///
    /// # Errors
    /// When gunicorn is missing.
    pub fn spawn(node: &Node, pod: Pod) -> Result<Self> {
        let gunicorn = paths::venv().join("bin/gunicorn");
        let bind = if pod.v6().is_some() { "[::]:80" } else { "0.0.0.0:80" };
        let log = node.dir().join(format!("{}.log", pod.name()));
        let server = Process::start(pod.netns(), pod.name(), &mut command(&gunicorn, bind), &log)
            .with_context(|| format!("{} (`cargo xtask test` sets it up)", gunicorn.display()))?;
        Ok(Self { server, pod })
    }

    /// Waits until it answers.
    ///
    /// # Errors
    /// With the end of its log when it does not.
    pub fn wait_ready(&mut self) -> Result<()> {
        let address = self.address();
        wait::until("httpbin answers", || {
            self.server.must_run()?;
            // The Host tells these requests from a test's own.
            Ok(self.pod.run(|| http::get(address, READY, "/status/200")).ok())
        })?;
        Ok(())
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (self.pod.v4(), Self::PORT).into()
    }

    /// All addresses where it listens.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.pod.ips().into_iter().map(|ip| (ip, Self::PORT).into()).collect()
    }

    /// Its access log: what it was asked since it was ready.
    #[must_use]
    pub fn access_log(&self) -> Vec<Line> {
        access_log::lines(&self.server.log()).into_iter().filter(|line| line.host != READY).collect()
    }

    /// The server's process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.server
    }
}

fn command(gunicorn: &Path, bind: &str) -> Command {
    let mut command = Command::new(gunicorn);
    command.args(["--access-logfile", "-", "--access-logformat", access_log::FORMAT, "-b", bind, "httpbin:app"]);
    command
}

/// The command line of an httpbin that keeps connections, which one worker without threads never does.
#[must_use]
pub fn keeping_connections() -> Vec<String> {
    let gunicorn = paths::venv().join("bin/gunicorn").display().to_string();
    let words = ["--threads", "4", "--keep-alive", "30", "--access-logfile", "-", "--access-logformat"];
    let bind = ["-b", "0.0.0.0:80", "httpbin:app"];
    let words = std::iter::once(gunicorn.as_str()).chain(words).chain([access_log::FORMAT]).chain(bind);
    words.map(str::to_owned).collect()
}
