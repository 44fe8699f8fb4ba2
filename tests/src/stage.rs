//! The stage of the capture tests: a client pod, v1 and v2 of `httpbin` played by recorders, a second service that no rule names, the
//! manifests, and an agent if wanted.
//!
//! It tells a captured request from a native one by what the server saw: natively the very bytes and the client's own address and port.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    Agent, Behaviour, Manifests, Node, Pod, Recorded, Recorder, client, in_kernel::InKernel, manifests, seed::VIP, wait,
};

/// `httpbin` for IPv6 (of a dual-stack stage).
pub const VIP6: SocketAddr = v6(0x10);
/// A service without any rule.
pub const CONTROL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 20)), 8000);
/// The same for IPv6.
pub const CONTROL6: SocketAddr = v6(0x20);
/// Where v1 and v2 listen in their pods.
pub const TARGET: u16 = 8080;
/// Where the service without a rule listens, in v1's pod.
pub const CONTROL_TARGET: u16 = 8081;
/// The Host of the stage's requests.
pub const HOST: &str = "httpbin:8000";
/// The annotation of a rule that fails closed.
pub const CLOSED: &str = "annotations: {understudy.dev/failure-policy: closed}";

const fn v6(last: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, last)), 8000)
}

/// How a stage will be.
#[derive(Clone, Debug)]
pub struct StageBuilder {
    dual_stack: bool,
    closed: bool,
    enrolled: bool,
    prepare: fn(&Pod) -> Result<()>,
    args: Vec<String>,
}

impl StageBuilder {
    /// Pods and services have IPv6 addresses too.
    #[must_use]
    pub fn dual_stack(mut self) -> Self {
        self.dual_stack = true;
        self
    }

    /// The rule fails closed.
    #[must_use]
    pub fn closed(mut self) -> Self {
        self.closed = true;
        self
    }

    /// The agent is not told of the client pod at first.
    #[must_use]
    pub fn not_enrolled(mut self) -> Self {
        self.enrolled = false;
        self
    }

    /// Something to do in the client pod before anything else.
    #[must_use]
    pub fn prepare(mut self, prepare: fn(&Pod) -> Result<()>) -> Self {
        self.prepare = prepare;
        self
    }

    /// Further arguments of the agent.
    #[must_use]
    pub fn args(mut self, words: &[&str]) -> Self {
        self.args.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    /// Everything but the agent.
    ///
    /// # Errors
    /// When something is missing.
    pub fn lay(self) -> Result<Stage> {
        let node = Node::new()?;
        let pod = |name: &str, labels: &[(&str, &str)]| {
            let mut builder = node.pod(name);
            for (key, value) in labels {
                builder = builder.label(key, value);
            }
            if self.dual_stack { builder.dual_stack().start() } else { builder.start() }
        };
        let client = pod("client", &[("app", "client")])?;
        (self.prepare)(&client)?;
        let server1 = pod("v1", &[("app", "httpbin"), ("version", "v1")])?;
        let server2 = pod("v2", &[("app", "httpbin"), ("version", "v2")])?;
        let serve = |pod: &Pod, port, body: &str| {
            let any = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
            Recorder::start(pod.netns(), any, Behaviour::Ok(body.as_bytes().to_vec()))
        };
        let (v1, v2) = (serve(&server1, TARGET, "v1")?, serve(&server2, TARGET, "v2")?);
        let other = serve(&server1, CONTROL_TARGET, "other")?;
        let ends = |pods: &[&Pod], family: usize, port| -> Vec<SocketAddr> {
            pods.iter().filter_map(|pod| Some(SocketAddr::new(*pod.ips().get(family)?, port))).collect()
        };
        let (mut ips, mut control_ips) = (vec![VIP.ip()], vec![CONTROL.ip()]);
        node.cluster_ip(VIP, &ends(&[&server1, &server2], 0, TARGET))?;
        node.cluster_ip(CONTROL, &ends(&[&server1], 0, CONTROL_TARGET))?;
        if self.dual_stack {
            node.cluster_ip(VIP6, &ends(&[&server1, &server2], 1, TARGET))?;
            node.cluster_ip(CONTROL6, &ends(&[&server1], 1, CONTROL_TARGET))?;
            ips.push(VIP6.ip());
            control_ips.push(CONTROL6.ip());
        }
        let manifests = Manifests::new(&node)?;
        let world = [
            manifests::namespace("mirror"),
            manifests::service("httpbin", "mirror", &ips, VIP.port(), TARGET),
            manifests::service("other", "mirror", &control_ips, CONTROL.port(), CONTROL_TARGET),
            manifests::pod(&server1, "mirror", false),
            manifests::pod(&server2, "mirror", false),
        ];
        manifests.apply("world.yaml", &manifests::documents(&world))?;
        manifests.apply("destination-rule.yaml", manifests::DESTINATION_RULE)?;
        let rule = if self.closed { closed(manifests::MIRROR) } else { manifests::MIRROR.to_owned() };
        manifests.apply("virtual-service.yaml", &rule)?;
        if self.enrolled {
            manifests.apply("client.yaml", &manifests::pod(&client, "mirror", true))?;
        }
        let mut stage = Stage {
            agent: None,
            control: None,
            args: self.args,
            next: AtomicU32::new(0),
            dual_stack: self.dual_stack,
            v1,
            v2,
            other,
            client,
            server1,
            server2,
            manifests,
            node,
        };
        stage.control = Some(stage.trace(CONTROL)?);
        Ok(stage)
    }

    /// Everything, with an agent that is ready.
    ///
    /// # Errors
    /// When something is missing or the agent does not become ready.
    pub fn up(self) -> Result<Stage> {
        let mut stage = self.lay()?;
        stage.start_agent()?;
        Ok(stage)
    }
}

/// A VirtualService with the annotation that makes it fail closed.
#[must_use]
pub fn closed(virtual_service: &str) -> String {
    let open = "  namespace: mirror\nspec:";
    assert!(virtual_service.contains(open), "not the shape of the fixtures: {virtual_service}");
    virtual_service.replace(open, &format!("  namespace: mirror\n  {CLOSED}\nspec:"))
}

/// A control flow as both ends saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Trace {
    head: Vec<u8>,
    answer_head: String,
    answer_body: Vec<u8>,
    /// The client's name of its peer.
    peer: SocketAddr,
    /// Did the server see the client's own address and port?
    own_address: bool,
}

/// How a request went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// Straight to this version, untouched.
    Native(String),
    /// Through the proxy to v1.
    Captured,
}

/// See the module.
#[derive(Debug)]
pub struct Stage {
    /// The agent, once it runs.
    pub agent: Option<Agent>,
    /// Server of v1.
    pub v1: Recorder,
    /// Server of v2.
    pub v2: Recorder,
    /// Server of the service without a rule.
    pub other: Recorder,
    /// The pod whose traffic is captured.
    pub client: Pod,
    /// The pod of `v1` and `other`.
    pub server1: Pod,
    /// The pod of `v2`.
    pub server2: Pod,
    /// What the agent watches.
    pub manifests: Manifests,
    /// The node behind which all that is.
    pub node: Node,
    control: Option<Trace>,
    args: Vec<String>,
    next: AtomicU32,
    dual_stack: bool,
}

impl Stage {
    /// An IPv4 stage with an open rule that mirrors everything and an enrolled client, unless told otherwise.
    #[must_use]
    pub fn builder() -> StageBuilder {
        StageBuilder { dual_stack: false, closed: false, enrolled: true, prepare: |_| Ok(()), args: Vec::new() }
    }

    /// Starts the agent and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start_agent(&mut self) -> Result<()> {
        let args: Vec<_> = self.args.iter().map(String::as_str).collect();
        self.agent = Some(Agent::builder(&self.node).config(self.manifests.path()).args(&args).start()?);
        Ok(())
    }

    /// The running agent.
    ///
    /// # Errors
    /// When none was started.
    pub fn agent(&self) -> Result<&Agent> {
        self.agent.as_ref().context("the agent does not run")
    }

    /// What the agent has in the kernel.
    ///
    /// # Errors
    /// When none was started.
    pub fn in_kernel(&self) -> Result<InKernel> {
        InKernel::of(self.agent()?.pid())
    }

    /// Tells the agent of the client pod, or that it is not to be captured any more, and waits until that is so.
    ///
    /// # Errors
    /// When it never is.
    pub fn enrol(&self, enrolled: bool) -> Result<()> {
        self.manifests.apply("client.yaml", &manifests::pod(&self.client, "mirror", enrolled))?;
        self.enrolled(u8::from(enrolled))
    }

    /// Waits until so many pods are enrolled.
    ///
    /// # Errors
    /// When they never are.
    pub fn enrolled(&self, count: u8) -> Result<()> {
        let all = |name, m: &crate::MetricsView| m.sum(name, &[]) == f64::from(count);
        let wanted = |m: &_| all("understudy_enrolled_desired", m) && all("understudy_enrolled_actual", m);
        self.agent()?.metrics_when(&format!("{count} pods are enrolled"), wanted).map(drop)
    }

    /// A path that no other request of this stage has.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/request/{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// A request of the client pod for `httpbin` on a connection of its own.
    ///
    /// # Errors
    /// When it fails, or went neither way as it should.
    pub fn ask(&self) -> Result<Way> {
        self.ask_at(&self.client, VIP)
    }

    /// A request of any pod for an address of `httpbin` on a connection of its own.
    ///
    /// # Errors
    /// As [`Stage::ask`].
    pub fn ask_at(&self, from: &Pod, to: SocketAddr) -> Result<Way> {
        let mut stream = from.run(|| client::connect(to))?;
        ensure!(stream.peer_addr()? == to, "getpeername says {}, not {to}", stream.peer_addr()?);
        self.ask_on(&mut stream)
    }

    /// A request for `httpbin` on a connection that is there.
    ///
    /// # Errors
    /// As [`Stage::ask`].
    pub fn ask_on(&self, stream: &mut TcpStream) -> Result<Way> {
        let path = self.path();
        let sent = client::odd_request(HOST, &path);
        let answer = client::ask(stream, &sent).with_context(|| format!("GET {path}"))?;
        ensure!(answer.status == 200, "GET {path} was answered with {}", answer.status);
        let answered = answer.text();
        let server = if answered == "v1" { &self.v1 } else { &self.v2 };
        let line = format!("GET {path} HTTP/1.1");
        let found = |server: &Recorder| server.requests().into_iter().find(|seen| seen.request_line() == line);
        // The recorder writes a request down before it answers.
        let seen = found(server).with_context(|| format!("{answered} answered GET {path} but never saw it"))?;
        let local = canonical(stream.local_addr()?);
        ensure!(canonical(seen.peer).ip() == local.ip(), "{answered} saw {} as its client, not {local}", seen.peer);
        if seen.head == sent {
            // Address translation gives another port where the same server has seen a connection from this one (an upstream of the proxy).
            let peers = server.peers();
            ensure!(
                peers.iter().any(|peer| canonical(*peer) == local),
                "the request's bytes are native, but {answered} saw {} and not {local}",
                seen.peer
            );
            return Ok(Way::Native(answered));
        }
        ensure!(answered == "v1", "a captured request was answered by {answered}");
        ensure!(!is_shadow(&seen), "the primary is marked as a shadow: {}", seen.head_text());
        let shadow = wait::until("the shadow of a captured request is at v2", || Ok(found(&self.v2)))?;
        ensure!(is_shadow(&shadow), "v2 saw a request that is no shadow: {}", shadow.head_text());
        let host = shadow.header("host").unwrap_or_default();
        ensure!(host == "httpbin-shadow:8000", "the shadow's Host is {host}");
        ensure!(canonical(shadow.peer).ip() == local.ip(), "v2 saw the shadow come from {}", shadow.peer);
        Ok(Way::Captured)
    }

    /// A request that must be captured, and a control flow that must not.
    ///
    /// # Errors
    /// When one of them went otherwise.
    pub fn captured(&self) -> Result<()> {
        ensure!(self.ask()? == Way::Captured, "a request to {VIP} was not captured");
        self.control()
    }

    /// A request that must not be captured.
    ///
    /// # Errors
    /// When it was.
    pub fn native(&self) -> Result<()> {
        ensure!(self.ask()? != Way::Captured, "a request to {VIP} was captured");
        Ok(())
    }

    /// Asks until a request is captured; until then every one must be a good native one.
    ///
    /// # Errors
    /// When none ever is, or one fails.
    pub fn captured_soon(&self) -> Result<()> {
        wait::until("a request is captured", || Ok((self.ask()? == Way::Captured).then_some(())))?;
        self.control()
    }

    /// The control flow: must be to the byte what it was before there was an agent.
    ///
    /// # Errors
    /// With both when it is not.
    pub fn control(&self) -> Result<()> {
        let now = self.trace(CONTROL)?;
        let Some(before) = &self.control else { bail!("there was no control flow before the agent") };
        ensure!(now == *before, "a flow outside the rule was {before:?} and is {now:?}");
        ensure!(!self.dual_stack || self.trace(CONTROL6)?.own_address, "{CONTROL6} is not native");
        Ok(())
    }

    fn trace(&self, to: SocketAddr) -> Result<Trace> {
        let mut stream = self.client.run(|| client::connect(to))?;
        let answer = client::ask(&mut stream, &client::odd_request("other:8000", "/control"))?;
        let seen = self.other.requests().pop().context("the control flow's server saw nothing")?;
        Ok(Trace {
            head: seen.head,
            answer_head: answer.head,
            answer_body: answer.body,
            peer: stream.peer_addr()?,
            own_address: canonical(seen.peer) == canonical(stream.local_addr()?),
        })
    }
}

/// Is it marked as a shadow?
#[must_use]
pub fn is_shadow(request: &Recorded) -> bool {
    request.header("x-understudy-shadow").is_some()
}

/// `::ffff:a.b.c.d` as `a.b.c.d`.
#[must_use]
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
