//! Understudy: one agent beside the pods, as it is shipped (no flag but where its manifests are), and a client that is enrolled.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};
use integration::{Manifests, Pod, manifests};
use nix::unistd::Pid;

use crate::world::{DEAD, PORT, Service, World};

const NAMESPACE: &str = "bench";

/// The running agent.
#[derive(Debug)]
pub(crate) struct Agent {
    agent: integration::Agent,
    /// What it watches.
    manifests: Manifests,
}

/// A rule that nobody's traffic falls under, and that is another each time.
const RESTLESS: &str = "restless.yaml";

impl Agent {
    /// Starts it, and waits until the client's pod is enrolled.
    ///
    /// # Errors
    /// When the kernel refuses, or with what it says.
    pub(crate) fn start(world: &World, client: &Pod) -> Result<Self> {
        let manifests = Manifests::new(&world.node)?;
        let mut objects = vec![manifests::namespace(NAMESPACE)];
        for web in [&world.v1, &world.v2] {
            objects.push(manifests::pod(&web.pod, NAMESPACE, false));
        }
        objects.push(dead(world));
        objects.push(manifests::pod(client, NAMESPACE, true));
        for service in Service::ALL {
            objects.extend(rule(service));
        }
        manifests.apply("world.yaml", &manifests::documents(&objects))?;
        let agent = integration::Agent::builder(&world.node).config(manifests.path()).as_shipped().start()?;
        agent.metrics_when("the client's pod is enrolled", |m| m.sum("understudy_enrolled_actual", &[]) >= 1.0)?;
        Ok(Self { agent, manifests })
    }

    pub(crate) fn pid(&self) -> Pid {
        self.agent.pid()
    }

    /// Does something while a rule changes each second; each change is a new table, which must be in force before the next.
    ///
    /// # Errors
    /// As what is done, or when the agent does not take a change.
    pub(crate) fn restless<T: Send>(&self, what: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let begun = self.agent.metrics()?.generation();
        let over = AtomicBool::new(false);
        let (done, changes) = thread::scope(|scope| {
            let changing = scope.spawn(|| {
                let mut changes = 0;
                while !over.load(Ordering::Relaxed) {
                    self.manifests.apply(RESTLESS, &format!(
                        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: restless, namespace: {NAMESPACE}}}\n\
                         spec: {{hosts: [nobody], http: [{{match: [{{headers: {{x-turn: {{exact: \"{changes}\"}}}}}}], route: [{{destination: {{host: nobody}}}}]}}]}}\n"
                    ))?;
                    changes += 1;
                    thread::sleep(Duration::from_secs(1));
                }
                anyhow::Ok(changes)
            });
            let done = what();
            over.store(true, Ordering::Relaxed);
            (done, changing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let (done, changes) = (done?, changes?);
        let generations = self.agent.metrics()?.generation() - begun;
        ensure!(generations >= f64::from(changes), "{changes} changes made {generations} tables: it proves nothing");
        Ok(done)
    }

    /// Shadows by how they ended: name and number, those that there were.
    pub(crate) fn outcomes(&self) -> Result<Vec<(String, f64)>> {
        let metrics = self.agent.metrics()?;
        let names = [
            "answered",
            "shed_overload",
            "shed_concurrency",
            "shed_memory",
            "too_slow",
            "timeout",
            "connect_failed",
            "reset",
            "cancelled",
        ];
        Ok(names
            .into_iter()
            .map(|name| (name.to_owned(), metrics.outcome(name)))
            .filter(|(_, count)| *count > 0.0)
            .collect())
    }
}

/// A Service whose only endpoint does not listen.
fn dead(world: &World) -> String {
    let address = world.v2.pod.v4();
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: nobody, namespace: {NAMESPACE}}}\n\
         spec: {{clusterIP: None, ports: [{{name: http, port: {DEAD}, targetPort: {DEAD}}}]}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: nobody-1, namespace: {NAMESPACE}, labels: {{kubernetes.io/service-name: nobody}}}}\n\
         addressType: IPv4\nports: [{{name: http, port: {DEAD}}}]\nendpoints: [{{addresses: [{address}], conditions: {{ready: true}}}}]\n"
    )
}

/// A service over v1 and v2, its subsets, and its rule.
fn rule(service: Service) -> Vec<String> {
    let name = service.name();
    let of_web = |text: String| text.replace(&format!("selector: {{app: {name}}}"), "selector: {app: web}");
    let mirror = match service {
        Service::Plain | Service::Plain2 => String::new(),
        Service::Mirrored | Service::Mirrored2 => format!("\n    mirror: {{host: {name}, subset: v2}}"),
        Service::Tenth => format!("\n    mirror: {{host: {name}, subset: v2}}\n    mirrorPercentage: {{value: 10}}"),
        Service::Dead => "\n    mirror: {host: nobody}".to_owned(),
    };
    vec![
        of_web(manifests::service(name, NAMESPACE, &[service.address().ip()], PORT, service.target())),
        format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\n\
             spec: {{host: {name}, subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]}}\n"
        ),
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\n\
             spec:\n  hosts: [{name}]\n  http:\n  - route: [{{destination: {{host: {name}, subset: v1}}}}]{mirror}\n"
        ),
    ]
}
