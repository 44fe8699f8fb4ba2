//! A pod: a namespace of its own, linked to the node point to point as in kind (no bridge: it would let answers go past the
//! node's address translation), with a main process that does nothing but hold its `/etc/hosts`.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    process::{Command, Output},
    thread,
};

use anyhow::{Context as _, Result};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    unistd::Pid,
};

use crate::{
    needs,
    netns::Netns,
    node::{GATEWAY_V4, GATEWAY_V6, Node},
    process::{self, Process},
};

/// What a pod will be.
#[derive(Debug)]
pub struct PodBuilder<'a> {
    node: &'a Node,
    name: String,
    v4: Ipv4Addr,
    v6: Option<Ipv6Addr>,
    labels: Vec<(String, String)>,
}

impl<'a> PodBuilder<'a> {
    pub(crate) fn new(node: &'a Node, name: &str) -> Self {
        let v4 = Ipv4Addr::new(10, 244, 1, node.next_octet());
        Self { node, name: name.to_owned(), v4, v6: None, labels: Vec::new() }
    }

    /// An address other than the next free one of 10.244.1.0/24.
    #[must_use]
    pub fn ip(mut self, address: Ipv4Addr) -> Self {
        self.v4 = address;
        self
    }

    /// Gives it an IPv6 address too, with the last part of its IPv4 address.
    #[must_use]
    pub fn dual_stack(mut self) -> Self {
        let mut parts = GATEWAY_V6.segments();
        parts[7] = u16::from(self.v4.octets()[3]);
        self.v6 = Some(Ipv6Addr::from(parts));
        self
    }

    /// A label for its manifest.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Makes it.
    ///
    /// # Errors
    /// Without root; when the address is taken.
    pub fn start(self) -> Result<Pod> {
        let Self { node, name, v4, v6, labels } = self;
        let netns = Netns::create(&format!("{}-{name}", node.id()))?;
        let host = format!("p{}-{}", v4.octets()[2], v4.octets()[3]);
        node.netns().ip(&[
            &format!("link add {host} type veth peer name eth0 netns {}", netns.name()),
            &format!("address add {GATEWAY_V4}/32 dev {host}"),
            &format!("link set {host} up"),
            &format!("route add {v4}/32 dev {host}"),
        ])?;
        netns.ip(&[
            &format!("address add {v4}/32 dev eth0"),
            "link set eth0 up",
            &format!("route add {GATEWAY_V4} dev eth0 scope link"),
            &format!("route add default via {GATEWAY_V4} dev eth0 src {v4}"),
        ])?;
        if let Some(v6) = v6 {
            node.netns().ip(&[
                &format!("-6 address add {GATEWAY_V6}/128 dev {host} nodad"),
                &format!("-6 route add {v6}/128 dev {host}"),
            ])?;
            netns.ip(&[
                &format!("-6 address add {v6}/128 dev eth0 nodad"),
                &format!("-6 route add {GATEWAY_V6} dev eth0"),
                &format!("-6 route add default via {GATEWAY_V6} dev eth0"),
            ])?;
        }
        let main = main_process(node, &netns, &name)?;
        Ok(Pod { name, v4, v6, labels, host, main, netns })
    }
}

/// A pod of the toy world. Dropping it removes it, with everything that runs in it under a guard of its own.
#[derive(Debug)]
pub struct Pod {
    name: String,
    v4: Ipv4Addr,
    v6: Option<Ipv6Addr>,
    labels: Vec<(String, String)>,
    host: String,
    main: Process,
    netns: Netns,
}

impl Pod {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its IPv4 address.
    #[must_use]
    pub fn v4(&self) -> Ipv4Addr {
        self.v4
    }

    /// Its IPv6 address, if it is dual-stack.
    #[must_use]
    pub fn v6(&self) -> Option<Ipv6Addr> {
        self.v6
    }

    /// All its addresses, IPv4 first.
    #[must_use]
    pub fn ips(&self) -> Vec<IpAddr> {
        std::iter::once(IpAddr::V4(self.v4)).chain(self.v6.map(IpAddr::V6)).collect()
    }

    /// Its labels.
    #[must_use]
    pub fn labels(&self) -> &[(String, String)] {
        &self.labels
    }

    /// The name of the node's end of its veth.
    #[must_use]
    pub fn host_interface(&self) -> &str {
        &self.host
    }

    /// Its network namespace.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// The process that holds its mount namespace: `nsenter --target PID --net --mount` is this world's `kubectl exec`.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.main.pid()
    }

    /// Runs a closure on a thread in the pod. See [`Netns::run`].
    ///
    /// # Errors
    /// As the closure.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.netns.run(f)
    }

    /// Runs a program in the pod to its end, with the pod's `/etc/hosts`.
    ///
    /// # Errors
    /// When it cannot be started; its exit status is in the output.
    pub fn exec(&self, words: &[&str]) -> Result<Output> {
        let mut command = self.nsenter(words);
        process::output(&self.netns, &mut command)
    }

    /// Starts a program in the pod, with the pod's `/etc/hosts`; its output goes to `NAME.log` in the world's folder.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, node: &Node, name: &str, words: &[&str]) -> Result<Process> {
        let mut command = self.nsenter(words);
        Process::start(&self.netns, name, &mut command, &node.dir().join(format!("{name}.log")))
    }

    fn nsenter(&self, words: &[&str]) -> Command {
        let mut command = Command::new(needs::program("nsenter"));
        command.args(["--target", &self.pid().to_string(), "--net", "--mount", "--"]);
        if let Some((program, arguments)) = words.split_first() {
            command.arg(needs::program(program)).args(arguments);
        }
        command
    }
}

/// `sleep infinity` in the pod's network namespace and a mount namespace in which `/etc/hosts` is the world's.
fn main_process(node: &Node, netns: &Netns, name: &str) -> Result<Process> {
    let log = node.dir().join(format!("{name}-main.log"));
    let hosts = node.hosts();
    // A thread of its own: the mount namespace is the thread's, and goes to the processes that the thread starts.
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount namespace (root is needed)")?;
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_SLAVE | MsFlags::MS_REC, None::<&str>)
                .context("cannot make / a slave mount")?;
            mount(Some(&hosts), "/etc/hosts", None::<&str>, MsFlags::MS_BIND, None::<&str>)
                .with_context(|| format!("cannot mount {} over /etc/hosts", hosts.display()))?;
            Process::start(netns, name, Command::new(needs::program("sleep")).arg("infinity"), &log)
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
