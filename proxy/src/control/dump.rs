//! The configuration in force as JSON, for `/config_dump` and `status`.
//!
//! Comes in: what was applied. Goes out: plain data, sorted, the same for the same configuration. Never: secrets (there are none in it).

use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use serde::Serialize;

use super::{Applied, diagnostic::Diagnostic, plan::Sandbox};
use crate::route::{
    Action, Destination, HeaderOps, Methods, Mirror, PortProtocol, Rule, Table, Target, Unroutable, VirtualHost,
    header_ops::Field,
};

/// Everything in force.
#[derive(Debug, Serialize)]
pub struct Dump {
    /// Which configuration it is, from 1.
    pub generation: u64,
    /// What became of the last reload: `applied`, `partial` or `rejected`.
    pub last_reload: &'static str,
    /// Ruled Service ports.
    pub hosts: Vec<HostDump>,
    /// Destinations that the connect hook redirects.
    pub captured: Vec<CapturedDump>,
    /// Pods to enrol.
    pub pods: Vec<PodDump>,
    /// Objects kept in their last good state.
    pub stale: Vec<String>,
    /// What there is to say about the manifests.
    pub diagnostics: Arc<[Diagnostic]>,
}

/// The rules of a Service port.
#[derive(Debug, Serialize)]
pub struct HostDump {
    /// `namespace/name` of the Service.
    pub service: String,
    /// `namespace/name` of the VirtualService.
    pub virtual_service: Arc<str>,
    /// Ports of connections that they are for.
    pub ports: BTreeSet<u16>,
    /// Names of the Host that they are for.
    pub domains: BTreeSet<String>,
    /// Names that only clients of the Service's namespace may use.
    pub short_domains: BTreeSet<String>,
    /// In order.
    pub rules: Vec<RuleDump>,
}

/// A rule.
#[derive(Debug, Serialize)]
pub struct RuleDump {
    /// Its name.
    pub name: Arc<str>,
    /// Alternatives; empty = every request.
    pub matches: Vec<String>,
    /// Where primaries go.
    pub route: Vec<DestinationDump>,
    /// The status with which we answer them ourselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<u16>,
    /// Where shadows go.
    pub mirrors: Vec<MirrorDump>,
}

/// A destination.
#[derive(Debug, Serialize)]
pub struct DestinationDump {
    /// `service.namespace/subset`.
    pub destination: Arc<str>,
    /// Its weight among the rule's destinations; absent for a mirror.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u64>,
    /// Its endpoints.
    pub endpoints: Vec<EndpointDump>,
    /// Why it has none that could be named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unroutable: Option<&'static str>,
}

/// An endpoint.
#[derive(Debug, Serialize)]
pub struct EndpointDump {
    /// Where it listens.
    pub address: SocketAddr,
    /// `namespace/name`, or empty.
    pub pod: Arc<str>,
    /// Requests under way.
    pub in_flight: u32,
}

/// A mirror.
#[derive(Debug, Serialize)]
pub struct MirrorDump {
    /// Where its shadows go.
    #[serde(flatten)]
    pub destination: DestinationDump,
    /// Sample in parts per million.
    pub sample_ppm: u32,
    /// Appended to the Host.
    pub host_suffix: Arc<str>,
    /// Milliseconds.
    pub timeout_ms: u128,
    /// Shadows at once.
    pub max_concurrent: u32,
    /// Unsent bytes of one shadow.
    pub buffer_bytes: usize,
    /// Methods that are mirrored; `*` is all.
    pub methods: Vec<String>,
    /// What happens to a shadow's fields.
    pub headers: HeaderOpsDump,
    /// What a sample is a sample of.
    pub sampling: String,
    /// Code point of its packets.
    pub dscp: u8,
}

/// Operations on header fields.
#[derive(Debug, Serialize)]
pub struct HeaderOpsDump {
    /// Fields that go.
    pub remove: Vec<String>,
    /// `name: value`.
    pub set: Vec<String>,
    /// `name: value`.
    pub add: Vec<String>,
}

/// A destination that the connect hook redirects.
#[derive(Debug, Serialize)]
pub struct CapturedDump {
    /// As applications connect to it.
    pub address: SocketAddr,
    /// Number of the rule, as the kernel's counters and events know it.
    pub rule: u32,
    /// `open` or `closed`.
    pub failure_policy: &'static str,
    /// Declared protocol.
    pub protocol: &'static str,
    /// `namespace/name` of the VirtualService.
    pub virtual_service: Arc<str>,
}

/// A pod to enrol.
#[derive(Debug, Serialize)]
pub struct PodDump {
    /// `namespace/name`.
    pub pod: String,
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// Its network namespace; `null` if it is found by the UID.
    pub netns: Option<PathBuf>,
    /// Its addresses.
    pub ips: Vec<IpAddr>,
}

impl Dump {
    /// What is in force.
    #[must_use]
    pub fn of(applied: &Applied) -> Self {
        let captured = applied.capture.ports.iter().map(|(address, captured)| CapturedDump {
            address: *address,
            rule: captured.rule,
            failure_policy: if captured.closed { "closed" } else { "open" },
            protocol: match applied.table.ports.get(address) {
                Some(PortProtocol::Http) => "http",
                Some(PortProtocol::Http2) => "http2",
                Some(PortProtocol::Undeclared) | None => "undeclared",
            },
            virtual_service: Arc::clone(&captured.owner),
        });
        let pods = applied.pods.iter().map(|pod| PodDump {
            pod: format!("{}/{}", pod.namespace, pod.name),
            uid: Arc::clone(&pod.uid),
            netns: match &pod.sandbox {
                Sandbox::At(path) => Some(path.clone()),
                Sandbox::OfUid | Sandbox::OfStaticUid(_) => None,
            },
            ips: pod.ips.clone(),
        });
        Self {
            generation: applied.table.generation,
            last_reload: applied.verdict.as_str(),
            hosts: hosts(&applied.table),
            captured: captured.collect(),
            pods: pods.collect(),
            stale: applied.stale.iter().map(ToString::to_string).collect(),
            diagnostics: Arc::clone(&applied.diagnostics),
        }
    }
}

/// Gathers the names and ports under which each virtual host is found.
fn hosts(table: &Table) -> Vec<HostDump> {
    let mut found: HashMap<*const VirtualHost, HostDump> = HashMap::new();
    let mut add = |port: u16, host: &Arc<VirtualHost>, name: &str, is_short: bool| {
        let dump = found.entry(Arc::as_ptr(host)).or_insert_with(|| HostDump {
            service: format!("{}/{}", host.namespace, host.service),
            virtual_service: Arc::clone(&host.virtual_service),
            ports: BTreeSet::new(),
            domains: BTreeSet::new(),
            short_domains: BTreeSet::new(),
            rules: host.rules.iter().map(rule).collect(),
        });
        dump.ports.insert(port);
        let domains = if is_short { &mut dump.short_domains } else { &mut dump.domains };
        domains.insert(name.to_owned());
    };
    for (port, names) in &table.hosts {
        names.iter().for_each(|(name, host)| add(*port, host, name, false));
    }
    for (port, namespaces) in &table.short_hosts {
        namespaces.values().flatten().for_each(|(name, host)| add(*port, host, name, true));
    }
    let mut hosts: Vec<_> = found.into_values().collect();
    hosts.sort_by(|a, b| (&a.service, &a.ports).cmp(&(&b.service, &b.ports)));
    hosts
}

fn rule(rule: &Rule) -> RuleDump {
    RuleDump {
        name: Arc::clone(&rule.name),
        matches: rule.matches.iter().map(ToString::to_string).collect(),
        route: match &rule.action {
            Action::Forward(forward) => forward.targets.with_weights().map(target).collect(),
            Action::Answer(_) => Vec::new(),
        },
        answer: match &rule.action {
            Action::Answer(answer) => Some(answer.status.as_u16()),
            Action::Forward(_) => None,
        },
        mirrors: rule.mirrors.iter().map(|mirror| self::mirror(mirror)).collect(),
    }
}

fn target((weight, target): (u64, &Target)) -> DestinationDump {
    destination(&target.destination, Some(weight))
}

fn destination(destination: &Destination, weight: Option<u64>) -> DestinationDump {
    let endpoints = destination.endpoints.iter().flat_map(|endpoints| endpoints.iter()).map(|endpoint| EndpointDump {
        address: endpoint.address.0,
        pod: Arc::clone(&endpoint.pod),
        in_flight: endpoint.in_flight(),
    });
    DestinationDump {
        destination: Arc::clone(&destination.label),
        weight,
        endpoints: endpoints.collect(),
        unroutable: destination.endpoints.as_ref().err().map(|reason| match reason {
            Unroutable::UnknownService => "unknown service",
            Unroutable::UnknownSubset => "unknown subset",
        }),
    }
}

fn mirror(mirror: &Mirror) -> MirrorDump {
    MirrorDump {
        destination: destination(&mirror.destination, None),
        sample_ppm: mirror.sample_ppm,
        host_suffix: Arc::clone(&mirror.settings.host_suffix),
        timeout_ms: mirror.settings.timeout.as_millis(),
        max_concurrent: mirror.settings.max_concurrent,
        buffer_bytes: mirror.settings.buffer_bytes,
        methods: match &mirror.settings.methods {
            Methods::All => vec!["*".to_owned()],
            Methods::Only(methods) => methods.iter().map(ToString::to_string).collect(),
        },
        headers: header_ops(&mirror.settings.headers),
        sampling: mirror.settings.sampling.to_string(),
        dscp: mirror.settings.dscp.get(),
    }
}

fn header_ops(ops: &HeaderOps) -> HeaderOpsDump {
    let line = |(name, value): &Field| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()));
    HeaderOpsDump {
        remove: ops.remove.iter().map(ToString::to_string).collect(),
        set: ops.set.iter().map(line).collect(),
        add: ops.add.iter().map(line).collect(),
    }
}
