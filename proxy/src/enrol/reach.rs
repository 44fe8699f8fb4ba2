//! Into a pod's namespace: opens it, makes sure that it is the pod's, and opens the listeners.

use std::{io, net::IpAddr, path::PathBuf, sync::Arc};

use crate::{
    capture::CaptureError,
    control::plan::{PodPlan, Sandbox},
    net::{Listeners, NetError, Netns, NetnsCookie, SocketFactory, netns},
};

/// Why a pod is not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It cannot be entered, or has no room for listeners.
    #[error(transparent)]
    Net(#[from] NetError),
    /// No process of it is there yet.
    #[error("no process of the pod runs on this node yet")]
    NotFound,
    /// It is not a pod's namespace.
    #[error("{} is the network namespace of the host, where redirecting would concern every process; hostNetwork pods are never enrolled (--allow-host-netns overrides this)", path.display())]
    Host {
        /// As the configuration names it.
        path: PathBuf,
    },
    /// It is another pod's namespace.
    #[error("network namespace {} has none of the pod's addresses ({}); it may belong to another pod, or the address is not set yet", path.display(), list(ips))]
    ForeignAddress {
        /// As the configuration names it.
        path: PathBuf,
        /// As the configuration names them.
        ips: Vec<IpAddr>,
    },
    /// Two pods, one namespace.
    #[error("its network namespace is already enrolled as pod {namespace}/{name}")]
    Taken {
        /// Namespace of the other pod.
        namespace: Arc<str>,
        /// Name of the other pod.
        name: Arc<str>,
    },
    /// A listener does not say where it is.
    #[error("cannot use the pod's listener: {0}")]
    Listener(io::Error),
    /// The hook cannot be told.
    #[error(transparent)]
    Table(#[from] CaptureError),
}

fn list(ips: &[IpAddr]) -> String {
    if ips.is_empty() {
        return "it has none".to_owned();
    }
    ips.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}

/// A pod that can be served.
#[derive(Debug)]
pub struct Opened {
    /// Its namespace.
    pub netns: Arc<Netns>,
    /// Identity of the namespace.
    pub cookie: NetnsCookie,
    /// Which of the pod's addresses the namespace has.
    pub ips: Vec<IpAddr>,
    /// Open listeners.
    pub listeners: Listeners,
}

/// How enrolment gets at a pod.
pub trait Reach: Send + Sync {
    /// Opens what the plan names.
    ///
    /// # Errors
    /// If it is not there, or is not the pod's.
    fn open(&self, plan: &PodPlan) -> impl Future<Output = Result<Opened, Refusal>> + Send;
}

/// The real thing.
#[derive(Debug)]
pub struct InNamespaces {
    factory: SocketFactory,
    allow_host: bool,
}

impl InNamespaces {
    /// `allow_host`: enrol the host's own namespace if a pod names it. For experiments on a machine without pods.
    #[must_use]
    pub fn new(factory: SocketFactory, allow_host: bool) -> Self {
        Self { factory, allow_host }
    }
}

impl Reach for InNamespaces {
    async fn open(&self, plan: &PodPlan) -> Result<Opened, Refusal> {
        let Sandbox::At(path) = &plan.sandbox else { return Err(Refusal::NotFound) };
        let netns = Arc::new(Netns::open(path)?);
        if netns::host().contains(&netns.id()) {
            if !self.allow_host {
                return Err(Refusal::Host { path: path.clone() });
            }
            tracing::warn!(
                namespace = %plan.namespace,
                pod = %plan.name,
                "enrolling the HOST's network namespace: connections of EVERY process in it are captured where a rule applies"
            );
        }
        let present = self.factory.addresses(&netns).await?;
        let ips: Vec<_> = plan.ips.iter().copied().filter(|ip| present.contains(ip)).collect();
        if ips.is_empty() {
            return Err(Refusal::ForeignAddress { path: path.clone(), ips: plan.ips.clone() });
        }
        let cookie = self.factory.cookie(&netns).await?;
        let listeners = Listeners::open(&self.factory, &netns, &ips).await?;
        Ok(Opened { netns, cookie, ips, listeners })
    }
}
