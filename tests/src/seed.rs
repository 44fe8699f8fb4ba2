//! The mirroring task, step by step: what the demo shows and what the first test checks are these very functions.
//!
//! Comes in: nothing. Goes out: for each step a [`Report`] with the commands, the answers, both access logs and what was proved; an
//! error that names the promise that was not kept. The servers, the client and the agent are the real ones.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    access_log::Line,
    agent::Agent,
    httpbin::Httpbin,
    manifests::{self, Manifests},
    metrics::MetricsView,
    node::Node,
    pod::Pod,
    wait,
};

/// The service's ClusterIP and port.
pub const VIP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10)), 8000);
/// What Istio's mirroring task types in the sleep pod.
pub const CURL: [&str; 3] = ["curl", "-s", "http://httpbin:8000/headers"];
const VIRTUAL_SERVICE: &str = "virtual-service.yaml";
const DESTINATION_RULE: &str = "destination-rule.yaml";
/// Requests in a step that says where each of them must go.
const REQUESTS: usize = 10;
/// Requests after which both versions must have answered a client that nobody steers: with one endpoint of three, missing v1
/// or v2 for so long happens once in ten million runs.
const UNSTEERED: usize = 40;

/// The world of Istio's mirroring task: the sleep pod, httpbin v1, two replicas of httpbin v2, and the service in front of them.
#[derive(Debug)]
pub struct World {
    /// The agent, once it runs.
    pub agent: Option<Agent>,
    /// httpbin v1.
    pub v1: Httpbin,
    /// httpbin v2, each replica.
    pub v2: Vec<Httpbin>,
    /// The client.
    pub sleep: Pod,
    /// What the agent watches.
    pub manifests: Manifests,
    /// The node behind which all that is.
    pub node: Node,
}

/// What a step showed.
#[derive(Debug)]
pub struct Report {
    /// The step's name.
    pub title: &'static str,
    /// What the task says will be seen.
    pub promise: &'static str,
    /// What was done, as one would type it.
    pub commands: Vec<String>,
    /// What v1 logged meanwhile.
    pub v1: Vec<Line>,
    /// What all replicas of v2 logged meanwhile, in the order of time.
    pub v2: Vec<Line>,
    /// One of the client's answers.
    pub answer: String,
    /// What was checked and found.
    pub proofs: Vec<String>,
}

impl World {
    /// Lays the world and starts the servers; no agent yet.
    ///
    /// # Errors
    /// When something is missing.
    pub fn lay() -> Result<Self> {
        let node = Node::new()?;
        let sleep = node.pod("sleep-0").label("app", "sleep").start()?;
        let httpbin = |name: &str, version: &str, last: u8| {
            let pod =
                node.pod(name).ip(Ipv4Addr::new(10, 244, 1, last)).label("app", "httpbin").label("version", version);
            Httpbin::spawn(&node, pod.start()?)
        };
        let mut v1 = httpbin("httpbin-v1-0", "v1", 21)?;
        let mut v2 = vec![httpbin("httpbin-v2-0", "v2", 22)?, httpbin("httpbin-v2-1", "v2", 23)?];
        std::iter::once(&mut v1).chain(&mut v2).try_for_each(Httpbin::wait_ready)?;
        let endpoints: Vec<_> = std::iter::once(&v1).chain(&v2).map(Httpbin::address).collect();
        node.cluster_ip(VIP, &endpoints)?;
        node.resolve("httpbin", VIP.ip())?;
        let manifests = Manifests::new(&node)?;
        let mut objects = vec![
            manifests::namespace("mirror"),
            manifests::service("httpbin", "mirror", &[VIP.ip()], VIP.port(), Httpbin::PORT),
            manifests::pod(&sleep, "mirror", true),
        ];
        objects.extend(std::iter::once(&v1).chain(&v2).map(|h| manifests::pod(&h.pod, "mirror", false)));
        manifests.apply("world.yaml", &manifests::documents(&objects))?;
        Ok(Self { agent: None, v1, v2, sleep, manifests, node })
    }

    /// Starts the agent on the world's manifests.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start_agent(&mut self) -> Result<()> {
        self.agent = Some(Agent::builder(&self.node).config(self.manifests.path()).start()?);
        Ok(())
    }

    fn agent(&self) -> Result<&Agent> {
        self.agent.as_ref().context("the agent does not run")
    }

    /// What was typed, as a user of this world can type it again.
    #[must_use]
    pub fn exec_prefix(&self) -> String {
        format!("nsenter --target {} --net --mount --", self.sleep.pid())
    }

    /// The task's command, once.
    ///
    /// # Errors
    /// When curl fails.
    pub fn curl(&self) -> Result<String> {
        let output = self.sleep.exec(&CURL)?;
        ensure!(output.status.success(), "`{}` in the sleep pod failed: {}", CURL.join(" "), output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// All that v1 has logged.
    #[must_use]
    pub fn v1_log(&self) -> Vec<Line> {
        self.v1.access_log()
    }

    /// All that the replicas of v2 have logged, each in its own order, merged by time.
    #[must_use]
    pub fn v2_log(&self) -> Vec<Line> {
        let mut lines: Vec<_> = self.v2.iter().flat_map(Httpbin::access_log).collect();
        lines.sort_by(|a, b| a.time.cmp(&b.time));
        lines
    }

    fn mark(&self) -> Mark {
        Mark { v1: self.v1_log().len(), v2: self.v2.iter().map(|h| h.access_log().len()).collect() }
    }

    fn v2_since(&self, mark: &Mark) -> Vec<Line> {
        let new = |(httpbin, seen): (&Httpbin, &usize)| httpbin.access_log().split_off(*seen);
        let mut lines: Vec<_> = self.v2.iter().zip(&mark.v2).flat_map(new).collect();
        lines.sort_by(|a, b| a.time.cmp(&b.time));
        lines
    }

    fn v1_since(&self, mark: &Mark) -> Vec<Line> {
        self.v1_log().split_off(mark.v1)
    }

    /// Sends requests that nobody steers until both versions have answered.
    ///
    /// # Errors
    /// When one of them never does.
    pub fn unsteered(&self, title: &'static str, promise: &'static str) -> Result<Report> {
        let mark = self.mark();
        let (mut answer, mut sent) = (String::new(), 0);
        while sent < UNSTEERED {
            answer = self.curl()?;
            sent += 1;
            if sent >= REQUESTS && !self.v1_since(&mark).is_empty() && !self.v2_since(&mark).is_empty() {
                break;
            }
        }
        let (v1, v2) = wait::until("every request is in one of the logs", || {
            let (v1, v2) = (self.v1_since(&mark), self.v2_since(&mark));
            Ok((v1.len() + v2.len() >= sent).then_some((v1, v2)))
        })?;
        ensure!(v1.len() + v2.len() == sent, "{sent} requests were sent, {} arrived", v1.len() + v2.len());
        ensure!(!v1.is_empty(), "v1 answered none of {sent} requests");
        ensure!(!v2.is_empty(), "v2 answered none of {sent} requests");
        hosts(v1.iter().chain(&v2), "httpbin:8000")?;
        let proofs = vec![
            format!("{sent} requests: v1 answered {}, v2 answered {}", v1.len(), v2.len()),
            "every Host is httpbin:8000: no shadow among them".to_owned(),
        ];
        let commands = vec![format!("{}   (× {sent})", CURL.join(" "))];
        Ok(Report { title, promise, commands, v1, v2, answer, proofs })
    }

    /// Step 1: nothing but the service.
    ///
    /// # Errors
    /// With the promise that was not kept.
    pub fn no_rule(&self) -> Result<Report> {
        self.unsteered("No rule", "both versions answer, as the service's endpoints")
    }

    /// Step 2: the task's default route.
    ///
    /// # Errors
    /// With the promise that was not kept.
    pub fn default_route(&self) -> Result<Report> {
        self.agent()?.changed(|| self.manifests.apply(DESTINATION_RULE, manifests::DESTINATION_RULE))?;
        self.agent()?.changed(|| self.manifests.apply(VIRTUAL_SERVICE, manifests::DEFAULT_ROUTE))?;
        let (v1, v2, answer) = self.steered()?;
        ensure!(v2.is_empty(), "v2 was asked {} times although all traffic goes to v1", v2.len());
        Ok(Report {
            title: "Default route",
            promise: "access log entries for v1 and none for v2",
            commands: vec![
                "kubectl apply: VirtualService httpbin (v1 100), DestinationRule httpbin".to_owned(),
                format!("{}   (× {REQUESTS})", CURL.join(" ")),
            ],
            proofs: vec![
                format!("v1 answered all {} requests, v2 none", v1.len()),
                format!("v1 sees the sleep pod's own address {}", self.sleep.v4()),
                format!("curl's peer is the ClusterIP {VIP}"),
            ],
            v1,
            v2,
            answer,
        })
    }

    /// Step 3: the same with 100 % mirrored to v2.
    ///
    /// # Errors
    /// With the promise that was not kept.
    pub fn mirror(&self) -> Result<Report> {
        let agent = self.agent()?;
        agent.changed(|| self.manifests.apply(VIRTUAL_SERVICE, manifests::MIRROR))?;
        let (before, mark) = (agent.settled()?, self.mark());
        let (v1, _, answer) = self.steered()?;
        let v2 = wait::until("a shadow of every request is in v2's log", || {
            let v2 = self.v2_since(&mark);
            Ok((v2.len() >= v1.len()).then_some(v2))
        })?;
        let after = agent.settled()?;
        let v2_now = self.v2_since(&mark).len();
        ensure!(v2_now == v1.len(), "{} requests, but v2 has {v2_now} shadows of them", v1.len());
        hosts(&v2, "httpbin-shadow:8000")?;
        for (primary, shadow) in v1.iter().zip(&v2) {
            ensure!(primary.request == shadow.request, "v1 saw `{}`, v2 `{}`", primary.request, shadow.request);
            ensure!(
                primary.seconds_apart(shadow).is_some_and(|s| s <= 1),
                "the timestamps do not match: v1 {}, v2 {}",
                primary.time,
                shadow.time
            );
        }
        let counted = |name: fn(&MetricsView) -> f64| (name(&after) - name(&before)).round();
        let (candidates, answered) = (counted(MetricsView::candidates), counted(|m| m.outcome("answered")));
        ensure!(
            candidates == REQUESTS as f64 && answered == candidates,
            "{REQUESTS} requests, but the metrics say {candidates} candidates and {answered} answered shadows"
        );
        Ok(Report {
            title: "Mirror 100 %",
            promise: "access log entries for both v1 and v2, with matching timestamps; the client sees v1's answer",
            commands: vec![
                "kubectl apply: VirtualService httpbin (v1 100, mirror v2, mirror_percent 100)".to_owned(),
                format!("{}   (× {REQUESTS})", CURL.join(" ")),
            ],
            proofs: vec![
                format!(
                    "v1 answered all {} requests; v2 saw a shadow of each, none more than a second apart",
                    v1.len()
                ),
                "v2 sees Host: httpbin-shadow:8000, v1 sees Host: httpbin:8000".to_owned(),
                "the client's answers are v1's: their Host is httpbin:8000".to_owned(),
                format!("metrics: {candidates} candidates = {answered} answered shadows"),
            ],
            v1,
            v2,
            answer,
        })
    }

    /// Step 4: the rule is deleted.
    ///
    /// # Errors
    /// With the promise that was not kept.
    pub fn delete_config(&self) -> Result<Report> {
        let agent = self.agent()?;
        agent.changed(|| self.manifests.delete(VIRTUAL_SERVICE))?;
        self.manifests.delete(DESTINATION_RULE)?;
        let before = agent.settled()?.candidates();
        let mut report = self.unsteered("Config deleted", "shadows stop at once; both versions answer again")?;
        let after = agent.settled()?.candidates();
        ensure!(before == after, "{} shadows after the rule was deleted", after - before);
        report.commands.insert(0, "kubectl delete: virtualservice httpbin, destinationrule httpbin".to_owned());
        report.proofs.push("metrics: not one candidate more".to_owned());
        Ok(report)
    }

    /// Puts the mirror in force again, for who wants to try by hand.
    ///
    /// # Errors
    /// When the manifests cannot be written.
    pub fn manifests_again(&self) -> Result<()> {
        self.manifests.apply(DESTINATION_RULE, manifests::DESTINATION_RULE)?;
        self.agent()?.changed(|| self.manifests.apply(VIRTUAL_SERVICE, manifests::MIRROR))
    }

    /// Sends the requests of a step whose answers must all be v1's, and what both versions logged.
    fn steered(&self) -> Result<(Vec<Line>, Vec<Line>, String)> {
        let mark = self.mark();
        // The first request is the one that also says whom curl was connected to.
        let peer = self.peer()?;
        ensure!(peer == VIP.to_string(), "curl's peer is {peer}, not the ClusterIP {VIP}");
        let mut answer = String::new();
        for _ in 1..REQUESTS {
            answer = self.curl()?;
            ensure!(
                answer.contains("\"Host\": \"httpbin:8000\"") && !answer.contains("shadow"),
                "the client's answer is not that of v1 to its own request:\n{answer}"
            );
        }
        let v1 = wait::until("v1 has logged every request", || {
            let v1 = self.v1_since(&mark);
            Ok((v1.len() >= REQUESTS).then_some(v1))
        });
        let v1 = v1.with_context(|| format!("v1 has {} of {}", self.v1_since(&mark).len(), REQUESTS))?;
        ensure!(v1.len() == REQUESTS, "{REQUESTS} requests were sent, v1 has {}", v1.len());
        hosts(&v1, "httpbin:8000")?;
        if let Some(line) = v1.iter().find(|line| line.client != self.sleep.v4().to_string()) {
            bail!("v1 sees {} as its client, not the sleep pod's {}", line.client, self.sleep.v4());
        }
        Ok((v1, self.v2_since(&mark), answer))
    }

    /// Whom curl says it was connected to.
    fn peer(&self) -> Result<String> {
        let words = ["curl", "-s", "-o", "/dev/null", "-w", "%{remote_ip}:%{remote_port}", CURL[2]];
        let output = self.sleep.exec(&words)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

#[derive(Debug)]
struct Mark {
    v1: usize,
    v2: Vec<usize>,
}

fn hosts<'a>(lines: impl IntoIterator<Item = &'a Line>, wanted: &str) -> Result<()> {
    match lines.into_iter().find(|line| line.host != wanted) {
        None => Ok(()),
        Some(line) => bail!("a request has the Host `{}` instead of `{wanted}`: {line}", line.host),
    }
}
