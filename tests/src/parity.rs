//! A program that we did not write, run twice in the captured pod: at the service, where the rule takes it, and straight at a server, where no
//! rule does. What it says must be the same.
//!
//! Comes in: a command line that takes the address to connect to. Goes out: what it said, both times. It never judges by time.

use std::{fs, net::SocketAddr};

use anyhow::{Context as _, Result, bail, ensure};
use nix::unistd::Pid;

use crate::{node::Node, pod::Pod, process::Process, theatre::Setting, wait};

/// The stage of these tests, with these rules: ports for real servers in the pods of v1 and v2, and patience with shadows, so that each copy arrives
/// whole however slow the machine is.
#[must_use]
pub fn setting(http: &str) -> Setting {
    let patient = [
        "--shadow-timeout",
        "5m",
        "--shadow-buffer-bytes",
        "32Mi",
        "--shadow-node-buffer-bytes",
        "256Mi",
        "--shadow-shed-lag",
        "0s",
        "--shadow-answer-bytes",
        "64Mi",
    ];
    Setting::new(http).v1_port_free().v2_port_free().args(&patient)
}

/// What a program wrote, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Said {
    /// Runs it in a pod to its end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn by(pod: &Pod, words: &[String]) -> Result<Self> {
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let output = pod.exec(&words).with_context(|| words.join(" "))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) })
    }

    /// The same without header fields of these names; a program that prints heads prints each on a line of its own.
    #[must_use]
    pub fn without(mut self, fields: &[&str]) -> Self {
        let is_one = |line: &&str| {
            line.split_once(':').is_some_and(|(name, _)| fields.iter().any(|field| field.eq_ignore_ascii_case(name)))
        };
        self.out = self.out.split_inclusive('\n').filter(|line| !is_one(line)).collect();
        self
    }

    /// It must have ended well.
    ///
    /// # Errors
    /// With all that it said, if not.
    pub fn well(self) -> Result<Self> {
        ensure!(self.code == Some(0), "exit code {:?}\n{}\n{}", self.code, self.out, self.err);
        Ok(self)
    }
}

/// How a program went at the service, and straight at a server.
#[derive(Clone, Debug)]
pub struct Twice {
    /// Through the proxy.
    pub captured: Said,
    /// Past it.
    pub direct: Said,
}

impl Twice {
    /// Runs a program at the service first and then straight at a server; `words` makes its command line for an address.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run(
        pod: &Pod,
        service: SocketAddr,
        server: SocketAddr,
        words: impl Fn(SocketAddr) -> Vec<String>,
    ) -> Result<Self> {
        Ok(Self { captured: Said::by(pod, &words(service))?, direct: Said::by(pod, &words(server))? })
    }

    /// Applies a change to both, to take out what may differ.
    #[must_use]
    pub fn map(self, change: impl Fn(Said) -> Said) -> Self {
        Self { captured: change(self.captured), direct: change(self.direct) }
    }

    /// Both ended well and said the same.
    ///
    /// # Errors
    /// With the first line that differs.
    pub fn same(self) -> Result<Said> {
        let Self { captured, direct } = self;
        equal("it wrote", &captured.out, &direct.out)?;
        ensure!(captured == direct, "captured: {captured:?}\ndirect: {direct:?}");
        captured.well()
    }
}

/// Two texts must be the same, line by line.
///
/// # Errors
/// With the first line that differs, and a few around it.
pub fn equal(what: &str, captured: &str, direct: &str) -> Result<()> {
    if captured == direct {
        return Ok(());
    }
    let (a, b): (Vec<_>, Vec<_>) = (captured.split('\n').collect(), direct.split('\n').collect());
    let at = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let shown = |lines: &[&str]| {
        let lines = lines.iter().skip(at.saturating_sub(2)).take(6);
        lines.map(|line| format!("{:?}", line.chars().take(600).collect::<String>())).collect::<Vec<_>>().join("\n  ")
    };
    bail!("{what}, at line {}:\n captured\n  {}\n direct\n  {}", at + 1, shown(&a), shown(&b))
}

/// What a server saw of programs that were run twice: each request must be there twice, in the same words. Returns each once, sorted.
///
/// # Errors
/// With the first one that has no twin.
pub fn pairs(lines: &[String]) -> Result<Vec<String>> {
    let mut lines = lines.to_vec();
    lines.sort();
    let once: Vec<_> = lines.iter().step_by(2).cloned().collect();
    let again: Vec<_> = lines.iter().skip(1).step_by(2).cloned().collect();
    equal("a request of one run was none of the other's", &once.join("\n"), &again.join("\n"))?;
    Ok(once)
}

/// A real server in a pod; killed when dropped.
#[derive(Debug)]
pub struct Server {
    process: Process,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    /// Starts a program in a pod and waits until it listens on a port.
    ///
    /// # Errors
    /// With the end of its log when it does not.
    pub fn start(node: &Node, pod: &Pod, name: &str, port: u16, words: &[String]) -> Result<Self> {
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let mut process = pod.start(node, &format!("{name}-{}-{port}", pod.name()), &words)?;
        wait::until(&format!("{name} listens on port {port}"), || {
            process.must_run()?;
            Ok(pod.run(|| listens(port))?.then_some(()))
        })?;
        Ok(Self { process, address: (pod.v4(), port).into() })
    }

    /// Its process id, which is also its process group's.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// What it has written.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until it has written at least so many lines of JSON, and returns all of them.
    ///
    /// # Errors
    /// When it never does.
    pub fn lines(&self, count: usize) -> Result<Vec<String>> {
        let lines =
            || -> Vec<String> { self.log().lines().filter(|l| l.starts_with('{')).map(str::to_owned).collect() };
        let found =
            wait::until(&format!("{count} lines of a server's log"), || Ok(Some(lines()).filter(|l| l.len() >= count)));
        found.with_context(|| format!("it has {}:\n{}", lines().len(), self.process.tail(20)))
    }
}

/// Does anybody listen on this port of the calling thread's namespace? Asked of the kernel, so that no server sees a connection without a word.
fn listens(port: u16) -> Result<bool> {
    let (local, listen) = (format!(":{port:04X}"), "0A");
    for file in ["tcp", "tcp6"] {
        let table = fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
        for line in table.lines().skip(1) {
            let mut fields = line.split_whitespace().skip(1);
            let (address, _, state) = (fields.next(), fields.next(), fields.next());
            if address.is_some_and(|address| address.ends_with(&local)) && state == Some(listen) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_left_out_whatever_its_letter_case() {
        let said = Said {
            code: Some(0),
            out: "HTTP/1.1 200 OK\r\ndate: x\r\nDater: y\r\n\r\nbody".to_owned(),
            err: String::new(),
        };
        assert_eq!(said.without(&["Date"]).out, "HTTP/1.1 200 OK\r\nDater: y\r\n\r\nbody");
    }

    #[test]
    fn what_came_once_has_no_twin() {
        let lines = |text: &str| text.chars().map(String::from).collect::<Vec<_>>();
        assert_eq!(pairs(&lines("abcbac")).unwrap(), lines("abc"));
        assert!(pairs(&lines("abca")).is_err());
        assert!(pairs(&lines("aba")).is_err());
    }

    #[test]
    fn a_listener_is_seen_and_nothing_else() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(listens(port).unwrap());
        drop(listener);
        assert!(!listens(port).unwrap());
    }
}
