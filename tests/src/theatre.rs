//! The stage of the data path's tests: a client, v1, v2 and a third version that only kube-proxy leads to, one ruled service, an agent.
//!
//! Whoever was asked says what happened: v1 = the rule's primary, v2 = the rule's shadow, `native` = nobody steered (or the proxy went on to the
//! original destination).

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use anyhow::{Result, ensure};

use crate::{
    agent::Agent,
    harness,
    http::Answer,
    manifests::{self, Manifests},
    metrics::MetricsView,
    needs::Need,
    node::Node,
    pod::Pod,
    upstream::{Behaviour, Recorder},
    wire::Wire,
};

/// What these tests need: an agent, but neither curl nor httpbin.
pub const NEEDS: &[Need] = &[Need::Root, Need::NetTools, Need::Cgroup2, Need::Btf, Need::Agent];

/// The service's address; its port is declared `http`.
pub const VIP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10)), 8000);
/// Another service of the same pods: one port without a name, so nothing is declared of it.
pub const PLAIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 20)), 9000);
/// Another one: its port is declared `tcp`.
pub const TCP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 30)), 5432);
/// The Host of a request for [`VIP`].
pub const HOST: &str = "httpbin:8000";
/// Where the versions serve [`VIP`].
pub const PORT: u16 = 80;

/// Everything to v1.
pub const ROUTE: &str = "  - route: [{destination: {host: httpbin, subset: v1}}]\n";
/// Everything to v1, and a shadow of it to v2.
pub const MIRROR: &str =
    "  - route: [{destination: {host: httpbin, subset: v1}}]\n    mirror: {host: httpbin, subset: v2}\n";
/// What v1 answers, head and body.
pub const ANSWER: (&str, &str) = ("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\n", "one");
/// A plain request.
pub const GET: &[u8] = b"GET /get HTTP/1.1\r\nHost: httpbin:8000\r\nAccept: */*\r\n\r\n";

const RULES: &str = "virtual-service.yaml";

/// A VirtualService for a host, with the entries of its `http`.
#[must_use]
pub fn rules(host: &str, http: &str) -> String {
    let http = if harness::by_codec() { with_timeouts(http) } else { http.to_owned() };
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {host}, namespace: mirror}}\n\
         spec:\n  hosts: [{host}]\n  http:\n{http}"
    )
}

/// With a timeout that never comes: a rule that has one is not for the fast path.
fn with_timeouts(http: &str) -> String {
    if http.contains("timeout:") {
        http.to_owned()
    } else {
        http.replace("  - route:", "  - timeout: 3600s\n    route:")
    }
}

/// Subsets v1 to v3 of a service, and `empty`, which no pod is in.
#[must_use]
pub fn subsets(host: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {host}, namespace: mirror}}\nspec:\n\
         \x20 host: {host}\n  subsets:\n\
         \x20 - {{name: v1, labels: {{version: v1}}}}\n  - {{name: v2, labels: {{version: v2}}}}\n\
         \x20 - {{name: v3, labels: {{version: v3}}}}\n  - {{name: empty, labels: {{version: none}}}}\n"
    )
}

/// A service of the pods labelled `app: httpbin`; without a name its port is undeclared.
#[must_use]
pub fn service(name: &str, vip: SocketAddr, port_name: Option<&str>, target: u16) -> String {
    let port_name = port_name.map(|name| format!("name: {name}, ")).unwrap_or_default();
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: mirror}}\nspec:\n  clusterIP: {0}\n\
         \x20 clusterIPs: [{0}]\n  ports: [{{{port_name}port: {1}, targetPort: {target}, protocol: TCP}}]\n\
         \x20 selector: {{app: httpbin}}\n",
        vip.ip(),
        vip.port()
    )
}

/// A version: its pod and the server in it.
#[derive(Debug)]
pub struct Actor {
    /// Its server on [`PORT`].
    pub recorder: Recorder,
    /// Its pod.
    pub pod: Pod,
}

impl Actor {
    /// Another port of its pod.
    #[must_use]
    pub fn address(&self, port: u16) -> SocketAddr {
        (self.pod.v4(), port).into()
    }
}

/// How the stage will be set.
#[derive(Clone, Debug)]
pub struct Setting {
    rules: String,
    args: Vec<String>,
    under: Vec<String>,
    v1: Behaviour,
    v1_port: u16,
    v2: Behaviour,
    v2_port: u16,
    is_narrow: bool,
    more: Vec<String>,
}

impl Setting {
    /// These `http` entries for the host `httpbin`.
    #[must_use]
    pub fn new(http: &str) -> Self {
        Self {
            rules: rules("httpbin", http),
            args: Vec::new(),
            under: Vec::new(),
            v1: Behaviour::Ok(ANSWER.1.into()),
            v1_port: PORT,
            v2: Behaviour::Ok(b"two".to_vec()),
            v2_port: PORT,
            is_narrow: false,
            more: Vec::new(),
        }
    }

    /// Further arguments of the agent.
    #[must_use]
    pub fn args(mut self, words: &[&str]) -> Self {
        self.args.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    /// Another program that starts the agent and becomes it.
    #[must_use]
    pub fn under(mut self, words: &[&str]) -> Self {
        self.under.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    /// What v1 does.
    #[must_use]
    pub fn v1(mut self, behaviour: Behaviour) -> Self {
        self.v1 = behaviour;
        self
    }

    /// What v2 does.
    #[must_use]
    pub fn v2(mut self, behaviour: Behaviour) -> Self {
        self.v2 = behaviour;
        self
    }

    /// v1's recorder is elsewhere: its port refuses, or is free for a [`Script`](crate::script::Script).
    #[must_use]
    pub fn v1_port_free(mut self) -> Self {
        self.v1_port = PORT + 1;
        self
    }

    /// The same for v2.
    #[must_use]
    pub fn v2_port_free(mut self) -> Self {
        self.v2_port = PORT + 1;
        self
    }

    /// Between the client's pod and v1 there is room for a few KiB only.
    #[must_use]
    pub fn narrow(mut self) -> Self {
        self.is_narrow = true;
        self
    }

    /// Further objects.
    #[must_use]
    pub fn objects(mut self, yaml: impl Into<String>) -> Self {
        self.more.push(yaml.into());
        self
    }

    /// Lays it and starts the agent.
    ///
    /// # Errors
    /// When something is missing, or the agent does not become ready.
    pub fn start(self) -> Result<Theatre> {
        let node = Node::new()?;
        let client = node.pod("client").label("app", "client").start()?;
        if self.is_narrow {
            client.netns().sysctl("ipv4/tcp_wmem", "4096 4096 4096")?;
        }
        let actor = |version: &str, port, behaviour| -> Result<Actor> {
            let pod = node.pod(&format!("httpbin-{version}")).label("app", "httpbin").label("version", version);
            let pod = pod.start()?;
            if self.is_narrow && version == "v1" {
                pod.netns().sysctl("ipv4/tcp_rmem", "4096 4096 4096")?;
            }
            let recorder = Recorder::start(pod.netns(), (Ipv4Addr::UNSPECIFIED, port).into(), behaviour)?;
            Ok(Actor { recorder, pod })
        };
        let v1 = actor("v1", self.v1_port, self.v1)?;
        let v2 = actor("v2", self.v2_port, self.v2)?;
        let native = actor("v3", PORT, Behaviour::Ok(b"native".to_vec()))?;
        for (vip, target) in [(VIP, PORT), (PLAIN, PLAIN.port()), (TCP, TCP.port())] {
            node.cluster_ip(vip, &[native.address(target)])?;
        }
        let manifests = Manifests::new(&node)?;
        let mut objects = vec![
            manifests::namespace("mirror"),
            service("httpbin", VIP, Some("http"), PORT),
            service("plain", PLAIN, None, PLAIN.port()),
            service("db", TCP, Some("tcp-db"), TCP.port()),
            manifests::pod(&client, "mirror", true),
        ];
        objects.extend([&v1, &v2, &native].map(|actor| manifests::pod(&actor.pod, "mirror", false)));
        objects.extend(["httpbin", "plain", "db"].map(subsets));
        objects.extend(self.more);
        manifests.apply("world.yaml", &manifests::documents(&objects))?;
        manifests.apply(RULES, &self.rules)?;
        let words = |list| <[String]>::iter(list).map(String::as_str).collect::<Vec<_>>();
        let agent = Agent::builder(&node)
            .config(manifests.path())
            .args(&words(&self.args))
            .under(&words(&self.under))
            .start()?;
        Ok(Theatre { agent, client, v1, v2, native, manifests, node })
    }
}

/// The stage.
#[derive(Debug)]
pub struct Theatre {
    /// The agent.
    pub agent: Agent,
    /// The enrolled client.
    pub client: Pod,
    /// Where the rules send primaries.
    pub v1: Actor,
    /// Where the rules send shadows.
    pub v2: Actor,
    /// Where kube-proxy sends whoever is not steered.
    pub native: Actor,
    /// What the agent watches.
    pub manifests: Manifests,
    /// The node.
    pub node: Node,
}

impl Theatre {
    /// The usual one: everything to v1, a shadow of everything to v2.
    ///
    /// # Errors
    /// As [`Setting::start`].
    pub fn mirroring() -> Result<Self> {
        Setting::new(MIRROR).start()
    }

    /// A connection of the client to the service.
    ///
    /// # Errors
    /// When nobody accepts.
    pub fn dial(&self) -> Result<Wire> {
        Wire::connect(&self.client, VIP)
    }

    /// One request on a connection of its own.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn ask(&self, request: &[u8]) -> Result<Answer> {
        self.dial()?.exchange(request)
    }

    /// [`GET`], whose answer must be v1's, byte for byte.
    ///
    /// # Errors
    /// When it is not.
    pub fn ask_v1(&self) -> Result<()> {
        from_v1(&self.ask(GET)?)
    }

    /// Replaces the rules of `httpbin` and waits until they are in force.
    ///
    /// # Errors
    /// When they never are.
    pub fn rule(&self, http: &str) -> Result<()> {
        self.agent.changed(|| self.manifests.apply(RULES, &rules("httpbin", http)))
    }

    /// Deletes the rules of `httpbin` and waits until they are out of force.
    ///
    /// # Errors
    /// When they never are.
    pub fn delete_rules(&self) -> Result<()> {
        self.agent.changed(|| self.manifests.delete(RULES))
    }

    /// The file with the rules of `httpbin`.
    #[must_use]
    pub fn rules_file(&self) -> PathBuf {
        self.manifests.path().join(RULES)
    }

    /// Waits until every shadow has ended; then exactly these outcomes have been counted, and no others.
    ///
    /// # Errors
    /// When others have.
    pub fn outcomes(&self, wanted: &[(&str, usize)]) -> Result<MetricsView> {
        let total: usize = wanted.iter().map(|(_, count)| count).sum();
        let what = format!("{total} candidates");
        // A candidate is counted before the primary is sent, so the count is never too small for long.
        self.agent.metrics_when(&what, |m| whole(m.candidates()) >= total)?;
        let view = self.agent.settled()?;
        let seen = || view.lines("understudy_shadow_").join("\n");
        for (outcome, count) in wanted {
            let counted = whole(view.outcome(outcome));
            ensure!(counted == *count, "{counted} shadows ended as {outcome}, not {count}:\n{}", seen());
        }
        ensure!(whole(view.candidates()) == total, "{} candidates, not {total}:\n{}", view.candidates(), seen());
        Ok(view)
    }

    /// The same request straight to a pod's own address, which is no rule's: it must arrive byte for byte, and nobody may count it.
    ///
    /// # Errors
    /// When it is touched.
    pub fn control(&self, request: &[u8]) -> Result<Answer> {
        let (before, seen) = (self.agent.metrics()?, self.native.recorder.count());
        let answer = Wire::connect(&self.client, self.native.address(PORT))?.exchange(request)?;
        let requests = self.native.recorder.wait_for(seen + 1)?;
        let came = [&requests[seen].head[..], &requests[seen].raw_body].concat();
        ensure!(came == request, "an uncaptured request was changed: {:?}", String::from_utf8_lossy(&came));
        ensure!(requests[seen].peer.ip() == IpAddr::V4(self.client.v4()), "it came from {}", requests[seen].peer);
        let after = self.agent.metrics()?;
        for name in ["understudy_connections_total", "understudy_shadow_candidates_total"] {
            ensure!(
                whole(after.sum(name, &[])) == whole(before.sum(name, &[])),
                "an uncaptured request counts in {name}"
            );
        }
        Ok(answer)
    }
}

/// Is this v1's answer, byte for byte?
///
/// # Errors
/// When it is not.
pub fn from_v1(answer: &Answer) -> Result<()> {
    ensure!(
        (answer.head.as_str(), answer.text().as_str()) == ANSWER,
        "the client got {:?} {:?} instead of v1's answer",
        answer.head,
        answer.text()
    );
    Ok(())
}

/// A counter as the whole number that it is.
#[must_use]
pub fn whole(value: f64) -> usize {
    // Counters of a test are far below 2^53.
    value.round() as usize
}

/// Bytes that look random and are the same each time, so that what is lost, doubled or misplaced is seen.
#[must_use]
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend(next());
    }
    bytes.truncate(length);
    bytes
}
