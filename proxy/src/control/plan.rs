//! What the configuration asks of capture and enrolment: the other half of a compiled configuration, beside the table.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

/// One destination that the connect hook shall redirect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedPort {
    /// Number of the Service port in this generation, for the kernel's counters and events.
    pub rule: u32,
    /// Refuse connections while the proxy cannot take them (`understudy.dev/failure-policy: closed`).
    pub closed: bool,
    /// `namespace/name` of the VirtualService, to say which rule found no room in the map.
    pub owner: Arc<str>,
}

/// Every destination with a rule, and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapturePlan {
    /// By the address that applications connect to: cluster IPs, external and load balancer IPs; for headless Services the endpoints.
    pub ports: BTreeMap<SocketAddr, CapturedPort>,
}

/// Where a pod's network namespace is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sandbox {
    /// There (a plain name of the annotation becomes `/run/netns/NAME`).
    At(PathBuf),
    /// Where a process of the pod is: to be found by the pod's UID.
    OfUid,
    /// The same for a static pod, which the node knows by another UID than the API. Whoever may create a pod may write what stands here, so it
    /// counts for nothing as long as the namespace is not proven by an address that the API says.
    OfStaticUid(Arc<str>),
}

/// A pod of this node that shall be enrolled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPlan {
    /// Namespace of the pod.
    pub namespace: Arc<str>,
    /// Name of the pod.
    pub name: Arc<str>,
    /// `metadata.uid`, or empty.
    pub uid: Arc<str>,
    /// Its network namespace.
    pub sandbox: Sandbox,
    /// `spec.runtimeClassName`: some have a kernel or a network stack of their own.
    pub runtime_class: Option<Arc<str>>,
    /// `status.podIPs`. A pod of a cluster may not have been given them yet, although its namespace has them.
    pub ips: Vec<IpAddr>,
}

impl PodPlan {
    /// The UID in the paths of the pod's cgroups, if it is to be found by that.
    #[must_use]
    pub fn cgroup_uid(&self) -> Option<&Arc<str>> {
        match &self.sandbox {
            Sandbox::At(_) => None,
            Sandbox::OfUid => Some(&self.uid),
            Sandbox::OfStaticUid(uid) => Some(uid),
        }
    }
}
