//! Understudy: one agent for the node, a rule for each Service, the release build with the flags that it has by default.

use std::fmt::Write as _;

use anyhow::Result;
use integration::{Agent, Manifests, Node, Pod, manifests};
use nix::unistd::Pid;

use crate::variant::{Flavour, Protocol};

const NAMESPACE: &str = "bench";

/// At saturation every request is to have its shadow, as Envoy's and nginx' have, or the cost of one would look smaller than it is. Envoy's
/// limits are as far away ([`crate::rivals`]).
pub(crate) const NO_SHEDDING: &[&str] = &["--shadow-shed-lag", "0s", "--shadow-max-concurrent", "100000"];
/// As it comes: shadows are shed before a primary waits. The lab's agents have this off.
pub(crate) const AS_IT_COMES: &[&str] = &["--shadow-shed-lag", "100ms"];

/// The agent and its rules.
#[derive(Debug)]
pub(crate) struct Ours {
    agent: Option<Agent>,
    args: Vec<String>,
    pub(crate) manifests: Manifests,
}

impl Ours {
    /// Writes the rules; no agent runs yet.
    pub(crate) fn prepare(node: &Node, client: &Pod, servers: &[&Pod]) -> Result<Self> {
        let manifests = Manifests::new(node)?;
        let mut objects = vec![manifests::namespace(NAMESPACE), manifests::pod(client, NAMESPACE, true)];
        objects.extend(servers.iter().map(|pod| manifests::pod(pod, NAMESPACE, false)));
        objects.extend(Flavour::ALL.map(service));
        objects.extend(Flavour::ALL.map(|flavour| subsets(flavour.host())));
        manifests.apply("world.yaml", &manifests::documents(&objects))?;
        manifests.apply("rules.yaml", &manifests::documents(&Flavour::ALL.map(rule)))?;
        Ok(Self { agent: None, args: Vec::new(), manifests })
    }

    /// Has an agent run with these arguments: the one that does, or a new one.
    pub(crate) fn run(&mut self, node: &Node, args: &[&str]) -> Result<()> {
        if self.agent.is_some() && self.args == args {
            return Ok(());
        }
        self.restart(node, args)
    }

    /// Has a new agent run with these arguments.
    pub(crate) fn restart(&mut self, node: &Node, args: &[&str]) -> Result<()> {
        self.stop()?;
        let builder = Agent::builder(node).config(self.manifests.path()).without_access_log().args(args);
        self.agent = Some(builder.start()?);
        self.args = args.iter().map(|word| (*word).to_owned()).collect();
        Ok(())
    }

    /// Ends the agent.
    pub(crate) fn stop(&mut self) -> Result<()> {
        if let Some(agent) = self.agent.take() {
            agent.stop()?;
        }
        Ok(())
    }

    /// The agent that runs.
    pub(crate) fn agent(&self) -> Option<&Agent> {
        self.agent.as_ref()
    }

    pub(crate) fn pid(&self) -> Option<Pid> {
        self.agent.as_ref().map(Agent::pid)
    }
}

fn service(flavour: Flavour) -> String {
    let ports: Vec<_> = Protocol::ALL
        .into_iter()
        .map(|protocol| {
            let name = match protocol {
                Protocol::Http1 => "http",
                Protocol::Http2 => "http2",
            };
            format!("{{name: {name}, port: {}, targetPort: {}, protocol: TCP}}", protocol.port(), protocol.target())
        })
        .collect();
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {}, namespace: {NAMESPACE}}}\nspec:\n  clusterIP: {1}\n  clusterIPs: [{1}]\n\
         \x20 ports: [{2}]\n  selector: {{app: web}}\n",
        flavour.host(),
        flavour.vip(),
        ports.join(", ")
    )
}

/// The versions of a Service's pods.
pub(crate) fn subsets(host: &str) -> String {
    let mut text = format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {host}, namespace: {NAMESPACE}}}\nspec:\n  host: {host}\n  subsets:\n"
    );
    for version in ["v1", "v2", "dead", "hung", "slow"] {
        let _ = writeln!(text, "  - {{name: {version}, labels: {{version: {version}}}}}");
    }
    text
}

/// Everything to v1, and shadows as the flavour has them.
pub(crate) fn rule(flavour: Flavour) -> String {
    let host = flavour.host();
    let mut text = format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {host}, namespace: {NAMESPACE}}}\n\
         spec:\n  hosts: [{host}]\n  http:\n  - route: [{{destination: {{host: {host}, subset: v1}}}}]\n"
    );
    if let Some(subset) = flavour.subset() {
        let _ = writeln!(text, "    mirror: {{host: {host}, subset: {subset}}}");
        let _ = writeln!(text, "    mirrorPercentage: {{value: {}}}", flavour.percentage());
    }
    text
}
