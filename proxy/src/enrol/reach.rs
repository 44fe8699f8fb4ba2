//! Into a pod's namespace: finds it, opens it, makes sure that it is the pod's, and opens the listeners.

use std::{
    collections::HashSet,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Refusal,
    find::{self, Found},
    runtime_class,
};
use crate::{
    control::plan::{PodPlan, Sandbox},
    net::{Listeners, Netns, NetnsCookie, SocketFactory, netns},
};

/// A pod that can be served.
#[derive(Debug)]
pub struct Opened {
    /// Its namespace.
    pub netns: Arc<Netns>,
    /// Identity of the namespace.
    pub cookie: NetnsCookie,
    /// Which of the pod's addresses the namespace has; all of the namespace's if the pod is not said to have any yet.
    pub ips: Vec<IpAddr>,
    /// Open listeners.
    pub listeners: Listeners,
}

/// How enrolment gets at a pod.
pub trait Reach: Send + Sync {
    /// Looks for the namespaces of all these pods, by UID, at once.
    fn find(&self, uids: HashSet<Arc<str>>) -> impl Future<Output = Found> + Send;

    /// Opens what the plan names, or what was found of it.
    ///
    /// # Errors
    /// If it is not there, or is not the pod's.
    fn open(&self, plan: &PodPlan, found: &Found) -> impl Future<Output = Result<Opened, Refusal>> + Send;
}

/// The real thing.
#[derive(Debug)]
pub struct InNamespaces {
    factory: SocketFactory,
    proc: PathBuf,
    allow_host: bool,
}

impl InNamespaces {
    /// `proc`: the node's `/proc`. `allow_host`: enrol the host's own namespace if a manifest names it. For experiments on a machine without pods.
    #[must_use]
    pub fn new(factory: SocketFactory, proc: PathBuf, allow_host: bool) -> Self {
        Self { factory, proc, allow_host }
    }

    /// The namespace that a manifest names.
    fn named(&self, plan: &PodPlan, path: &Path) -> Result<Arc<Netns>, Refusal> {
        let netns = Netns::open(path)?;
        if netns::host(&self.proc).contains(&netns.id()) {
            if !self.allow_host {
                return Err(Refusal::Host { path: path.to_owned() });
            }
            tracing::warn!(
                namespace = %plan.namespace,
                pod = %plan.name,
                "enrolling the HOST's network namespace: connections of EVERY process in it are captured where a rule applies"
            );
        }
        Ok(Arc::new(netns))
    }

    /// Which of the pod's addresses a namespace has. Only a UID that the API gave is enough for a pod that is not said to have any yet.
    async fn addresses(&self, netns: &Arc<Netns>, plan: &PodPlan) -> Result<Vec<IpAddr>, Refusal> {
        let present = self.factory.addresses(netns).await?;
        let ips = if plan.ips.is_empty() && plan.sandbox == Sandbox::OfUid {
            present.into_iter().filter(is_global).collect::<Vec<_>>()
        } else {
            plan.ips.iter().copied().filter(|ip| present.contains(ip)).collect()
        };
        match ips.is_empty() {
            false => Ok(ips),
            true if plan.ips.is_empty() && plan.sandbox == Sandbox::OfUid => Err(Refusal::NotReady),
            true => Err(Refusal::ForeignAddress { path: netns.path().to_owned(), ips: plan.ips.clone() }),
        }
    }

    /// The namespace of the pod's oldest process; if the pod has addresses, the first one that has one of them.
    async fn verified(&self, plan: &PodPlan, uid: &str, found: &Found) -> Result<(Arc<Netns>, Vec<IpAddr>), Refusal> {
        if let Some(failure) = &found.failure {
            return Err(failure.into());
        }
        let seen = found.pods.get(uid).ok_or(Refusal::NotFound)?;
        let tried = if plan.ips.is_empty() { 1 } else { seen.netns.len() };
        let mut refusal = seen.other.as_ref().map_or(Refusal::NotFound, Refusal::from);
        for (at, netns) in seen.netns.iter().take(tried).enumerate() {
            match self.addresses(netns, plan).await {
                Ok(ips) => return Ok((Arc::clone(netns), ips)),
                Err(error) if at == 0 => refusal = error,
                Err(_) => {}
            }
        }
        Err(refusal)
    }
}

impl Reach for InNamespaces {
    async fn find(&self, uids: HashSet<Arc<str>>) -> Found {
        let proc = self.proc.clone();
        // Off the control thread, which serves the admin pages too.
        tokio::task::spawn_blocking(move || find::scan(&proc, &uids)).await.unwrap_or_default()
    }

    async fn open(&self, plan: &PodPlan, found: &Found) -> Result<Opened, Refusal> {
        if let Some(class) = plan.runtime_class.as_ref().filter(|class| runtime_class::is_out_of_sight(class)) {
            return Err(Refusal::RuntimeClass { class: Arc::clone(class) });
        }
        let (netns, ips) = match &plan.sandbox {
            Sandbox::At(path) => {
                let netns = self.named(plan, path)?;
                let ips = self.addresses(&netns, plan).await?;
                (netns, ips)
            }
            Sandbox::OfUid => self.verified(plan, &plan.uid, found).await?,
            Sandbox::OfStaticUid(uid) => self.verified(plan, uid, found).await?,
        };
        let cookie = self.factory.cookie(&netns).await?;
        let listeners = Listeners::open(&self.factory, &netns, &ips).await?;
        Ok(Opened { netns, cookie, ips, listeners })
    }
}

/// An address that others may know the pod by.
fn is_global(ip: &IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || link_local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_link_local_are_no_addresses_of_a_pod() {
        let is_global = |text: &str| is_global(&text.parse().unwrap());
        assert!(["10.244.1.7", "192.168.0.9", "fd00::7", "2001:db8::7"].into_iter().all(is_global));
        assert!(!["127.0.0.1", "::1", "169.254.1.1", "fe80::7", "0.0.0.0"].into_iter().any(is_global));
    }
}
