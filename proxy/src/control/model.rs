//! Source-neutral objects: what files and the Kubernetes API both deliver, decoded and validated, and nothing that we do not use.
//!
//! Comes in: wire structs, through `manifest` and `validate`. Goes out: to `objects` (which merges) and `compile`. Never: text,
//! unchecked numbers, short host names (they are full names here).

mod rule;
mod shadow_policy;

use std::{fmt, net::IpAddr, sync::Arc};

pub use self::rule::{Edits, HttpRule, OwnAnswer, RuleAction, RuleMatch};
pub use self::shadow_policy::{PolicyTarget, ShadowPolicy};
use super::diagnostic::Location;
use crate::route::Labels;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `v1`.
    Namespace,
    /// `v1`.
    Service,
    /// `v1`.
    Pod,
    /// `discovery.k8s.io`.
    EndpointSlice,
    /// `networking.istio.io`, any version.
    VirtualService,
    /// `networking.istio.io`, any version.
    DestinationRule,
    /// `understudy.dev/v1alpha1`.
    ShadowPolicy,
}

impl Kind {
    /// Every kind with its API group and name.
    pub const ALL: [(Self, &'static str, &'static str); 7] = [
        (Self::Namespace, "", "Namespace"),
        (Self::Service, "", "Service"),
        (Self::Pod, "", "Pod"),
        (Self::EndpointSlice, "discovery.k8s.io", "EndpointSlice"),
        (Self::VirtualService, "networking.istio.io", "VirtualService"),
        (Self::DestinationRule, "networking.istio.io", "DestinationRule"),
        (Self::ShadowPolicy, "understudy.dev", "ShadowPolicy"),
    ];

    /// As manifests write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL[self as usize].2
    }
}

/// Identity of an object; the API version is no part of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId {
    /// What it is.
    pub kind: Kind,
    /// Empty for a Namespace.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
}

/// `VirtualService mirror/httpbin`.
impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name } = self;
        if namespace.is_empty() {
            write!(f, "{} {name}", kind.as_str())
        } else {
            write!(f, "{} {namespace}/{name}", kind.as_str())
        }
    }
}

/// An object of any kind. Services are many where a cluster is large, and each takes as much room as the largest variant: what is larger has a box.
#[derive(Clone, Debug)]
pub enum Object {
    /// Says whether its pods are enrolled.
    Namespace(Namespace),
    /// Addresses and ports that clients use.
    Service(Service),
    /// A client to enrol, or an endpoint.
    Pod(Box<Pod>),
    /// Endpoints of a Service.
    EndpointSlice(EndpointSlice),
    /// Rules.
    VirtualService(VirtualService),
    /// Subsets.
    DestinationRule(DestinationRule),
    /// How shadows behave.
    ShadowPolicy(Box<ShadowPolicy>),
}

/// The label `understudy.dev/capture`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureLabel {
    /// `enabled`.
    Enabled,
    /// `disabled`.
    Disabled,
}

/// A Namespace.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// Its name.
    pub name: Arc<str>,
    /// Whether its pods are enrolled.
    pub capture: Option<CaptureLabel>,
}

/// Transport of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// The only one that we capture.
    Tcp,
    /// UDP or SCTP.
    Other,
}

/// A Service.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Where its manifest begins.
    pub location: Location,
    /// `spec.clusterIPs`, or `spec.clusterIP`; empty if headless.
    pub cluster_ips: Box<[IpAddr]>,
    /// `clusterIP: None`.
    pub headless: bool,
    /// `spec.externalIPs` and `status.loadBalancer.ingress[].ip`.
    pub other_ips: Box<[IpAddr]>,
    /// Whether endpoints may be IPv4, IPv6 (`spec.ipFamilies`, else those of the cluster IPs); `None` = not said.
    pub families: Option<(bool, bool)>,
    /// `spec.ports`.
    pub ports: Box<[ServicePort]>,
    /// Which pods are its endpoints, if no EndpointSlice says so. Empty = none.
    pub selector: Labels,
    /// Pods that are not ready count as well.
    pub publish_not_ready: bool,
}

/// One port of a Service.
#[derive(Clone, Debug)]
pub struct ServicePort {
    /// Its name, possibly empty.
    pub name: Arc<str>,
    /// The port that clients use.
    pub port: u16,
    /// The port of the pods.
    pub target: TargetPort,
    /// Its transport.
    pub transport: Transport,
    /// `appProtocol`.
    pub app_protocol: Option<Box<str>>,
}

/// `targetPort`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// A port number.
    Number(u16),
    /// The name of a container's port.
    Name(Box<str>),
}

/// A Pod.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// `metadata.uid`, or empty.
    pub uid: Arc<str>,
    /// Where its manifest begins.
    pub location: Location,
    /// `metadata.labels`.
    pub labels: Labels,
    /// Its own capture label.
    pub capture: Option<CaptureLabel>,
    /// Annotation `understudy.dev/netns`.
    pub netns: Option<Box<str>>,
    /// The UID that the node knows a static pod by, of which this is the mirror: the hash of its manifest, as the annotation says.
    pub static_uid: Option<Arc<str>>,
    /// `spec.nodeName`; `None` before it is scheduled, and if no more than its labels is known.
    pub node: Option<Box<str>>,
    /// `spec.runtimeClassName`.
    pub runtime_class: Option<Box<str>>,
    /// `spec.hostNetwork`.
    pub host_network: bool,
    /// Completed, or being deleted.
    pub gone: bool,
    /// Its `Ready` condition; a pod without any conditions counts as ready.
    pub ready: bool,
    /// `status.podIPs`, or `status.podIP`.
    pub ips: Vec<IpAddr>,
    /// `spec.hostname` and `spec.subdomain`, which give it a name under a headless Service.
    pub dns_name: Option<(Box<str>, Box<str>)>,
    /// TCP ports of its containers by name.
    pub named_ports: Vec<(Box<str>, u16)>,
}

/// An EndpointSlice.
#[derive(Clone, Debug)]
pub struct EndpointSlice {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its Service, from the label `kubernetes.io/service-name`.
    pub service: Arc<str>,
    /// TCP ports by name (possibly empty): the pods' ports.
    pub ports: Vec<(Arc<str>, u16)>,
    /// Ready endpoints.
    pub endpoints: Vec<SliceEndpoint>,
}

/// One endpoint of a slice.
#[derive(Clone, Debug)]
pub struct SliceEndpoint {
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its name under a headless Service.
    pub hostname: Option<Box<str>>,
    /// Name of the pod (`targetRef`), in the slice's namespace.
    pub pod: Option<Arc<str>>,
}

/// A VirtualService that binds to the mesh.
#[derive(Clone, Debug)]
pub struct VirtualService {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// `metadata.creationTimestamp` (RFC 3339, UTC), or empty.
    pub created: Box<str>,
    /// `spec.hosts`.
    pub hosts: Vec<HostRef>,
    /// Its `gateways` name `mesh` (or there are none): the rules apply to pods.
    pub mesh: bool,
    /// Annotation `understudy.dev/failure-policy: closed`.
    pub closed: bool,
    /// `spec.http`, in order.
    pub rules: Vec<HttpRule>,
}

/// A host name, full, in lower case, and where it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRef {
    /// `httpbin.mirror.svc.cluster.local`, or a wildcard (`*.mirror.svc.cluster.local`).
    pub name: Arc<str>,
    /// Where.
    pub location: Location,
}

/// `destination:` of a manifest.
#[derive(Clone, Debug)]
pub struct DestinationRef {
    /// The Service.
    pub host: HostRef,
    /// The subset, and where it is written.
    pub subset: Option<HostRef>,
    /// The Service's port.
    pub port: Option<u16>,
}

/// A mirror.
#[derive(Clone, Debug)]
pub struct MirrorRef {
    /// Where shadows go.
    pub destination: DestinationRef,
    /// Parts per million; 0 = never.
    pub sample_ppm: u32,
}

/// A DestinationRule.
#[derive(Clone, Debug)]
pub struct DestinationRule {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// `metadata.creationTimestamp`, or empty.
    pub created: Box<str>,
    /// `spec.host`.
    pub host: HostRef,
    /// `spec.subsets`.
    pub subsets: Vec<Subset>,
}

/// A subset of a Service's endpoints.
#[derive(Clone, Debug)]
pub struct Subset {
    /// Its name.
    pub name: Box<str>,
    /// Labels that its pods have.
    pub labels: Labels,
    /// Where it is written.
    pub location: Location,
}
