//! Which pods of this node are captured, and the care that it stays so.
//!
//! Comes in: the pods that shall be enrolled. Goes out: listeners for `accept`, entries for the connect hook, a reason for each pod that
//! is not enrolled. Never: connections, HTTP, the host's own namespace (unless allowed by name).
//!
//! The order is what keeps traffic safe. In: listeners open and served → entry in `NETNS`. Out: entry deleted → drain → listeners and
//! namespace closed. At every point between, a connection either finds a live listener or is not redirected.

mod entry;
mod reach;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use arc_swap::ArcSwap;
use proxy_common::netns::NetnsEntry;
use tokio_util::sync::CancellationToken;

use crate::{
    capture::{Capture, CaptureError},
    control::plan::PodPlan,
    net::{Netns, NetnsCookie},
    observe::metrics::Metrics,
};

pub use reach::{InNamespaces, Opened, Reach, Refusal};

/// A pod whose connections come to us. Connections keep it alive; its namespace lives as long.
#[derive(Debug)]
pub struct EnrolledPod {
    /// Namespace of the pod.
    pub namespace: Arc<str>,
    /// Name of the pod.
    pub name: Arc<str>,
    /// Identity of its network namespace in BPF maps.
    pub cookie: NetnsCookie,
    /// Its network namespace, to make upstream sockets in.
    pub netns: Arc<Netns>,
    /// Its addresses, as the configuration names them and the namespace has them.
    pub ips: Vec<IpAddr>,
    /// Cancelled when the pod is not enrolled any more: accept loops take what is queued, close their listener and end, connections
    /// finish. An accept loop that ends for another reason cancels it too, and reconciliation enrols the pod anew.
    pub drain: CancellationToken,
}

/// Who accepts on a pod's listeners.
pub trait Serve: Send + Sync {
    /// Takes a listener (non-blocking, marked, in the pod's namespace) and serves it until `pod.drain` is cancelled. Returns at once.
    fn serve(&self, pod: Arc<EnrolledPod>, listener: TcpListener);
}

/// What the connect hook knows of namespaces.
pub trait NetnsTable: Send + Sync {
    /// Enters or replaces a namespace.
    ///
    /// # Errors
    /// If there is no room.
    fn put(&self, cookie: NetnsCookie, entry: &NetnsEntry) -> Result<(), CaptureError>;
    /// Deletes a namespace; an unknown one is fine.
    ///
    /// # Errors
    /// If the kernel refuses.
    fn delete(&self, cookie: NetnsCookie) -> Result<(), CaptureError>;
    /// Reads a namespace.
    ///
    /// # Errors
    /// If the kernel refuses.
    fn get(&self, cookie: NetnsCookie) -> Result<Option<NetnsEntry>, CaptureError>;
}

impl NetnsTable for Capture {
    fn put(&self, cookie: NetnsCookie, entry: &NetnsEntry) -> Result<(), CaptureError> {
        self.enrol(cookie, entry)
    }

    fn delete(&self, cookie: NetnsCookie) -> Result<(), CaptureError> {
        self.withdraw(cookie)
    }

    fn get(&self, cookie: NetnsCookie) -> Result<Option<NetnsEntry>, CaptureError> {
        self.entry(cookie)
    }
}

/// How a pod stands, for `/config_dump`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodStatus {
    /// Namespace of the pod.
    pub namespace: Arc<str>,
    /// Name of the pod.
    pub name: Arc<str>,
    /// Cookie of its network namespace, or why it is not enrolled.
    pub state: Result<NetnsCookie, String>,
}

/// Namespace and name.
type PodName = (Arc<str>, Arc<str>);

/// The pods that are enrolled, and those that should be. One task owns it.
pub struct Enrolment<R = InNamespaces> {
    reach: R,
    table: Arc<dyn NetnsTable>,
    serve: Arc<dyn Serve>,
    metrics: Arc<Metrics>,
    desired: BTreeMap<PodName, PodPlan>,
    held: BTreeMap<PodName, Held>,
    refused: BTreeMap<PodName, String>,
    status: Arc<ArcSwap<Vec<PodStatus>>>,
    generation: AtomicU32,
}

/// An enrolled pod and what proves that it still is.
struct Held {
    plan: PodPlan,
    pod: Arc<EnrolledPod>,
    entry: NetnsEntry,
    /// Second descriptors of the listeners, to see whether they still listen.
    listeners: Vec<socket2::Socket>,
}

impl<R: Reach> Enrolment<R> {
    /// Nobody is enrolled yet.
    #[must_use]
    pub fn new(reach: R, table: Arc<dyn NetnsTable>, serve: Arc<dyn Serve>, metrics: Arc<Metrics>) -> Self {
        Self {
            reach,
            table,
            serve,
            metrics,
            desired: BTreeMap::new(),
            held: BTreeMap::new(),
            refused: BTreeMap::new(),
            status: Arc::default(),
            generation: AtomicU32::new(0),
        }
    }

    /// How every desired pod stands; the handle shows later states too.
    #[must_use]
    pub fn status(&self) -> Arc<ArcSwap<Vec<PodStatus>>> {
        Arc::clone(&self.status)
    }

    /// Makes the given pods, and no others, the enrolled ones. Pods that cannot be are tried again by [`Enrolment::reconcile`].
    pub async fn apply(&mut self, pods: Vec<PodPlan>) {
        self.desired =
            pods.into_iter().map(|plan| ((Arc::clone(&plan.namespace), Arc::clone(&plan.name)), plan)).collect();
        let changed = |(name, held): (&PodName, &Held)| self.desired.get(name) != Some(&held.plan);
        let gone: Vec<_> = self.held.iter().filter(|held| changed(*held)).map(|(name, _)| name.clone()).collect();
        for name in gone {
            self.withdraw(&name);
        }
        self.enrol_missing().await;
    }

    /// Looks after everyone: mends what broke behind our back, and tries again what could not be enrolled. Call it every 30 seconds.
    pub async fn reconcile(&mut self) {
        let names: Vec<_> = self.held.keys().cloned().collect();
        for name in names {
            let Some(held) = self.held.get(&name) else { continue };
            if let Some(broken) = held.broken() {
                tracing::warn!(namespace = %name.0, pod = %name.1, "enrolling a pod anew: {broken}");
                self.metrics.reconcile_repairs.inc();
                self.withdraw(&name);
            } else if self.table.get(held.pod.cookie).ok().flatten() != Some(held.entry) {
                tracing::warn!(namespace = %name.0, pod = %name.1, "the entry of a pod was not what we wrote: writing it again");
                self.metrics.reconcile_repairs.inc();
                if let Err(error) = self.table.put(held.pod.cookie, &held.entry) {
                    self.withdraw(&name);
                    self.refused.insert(name, error.to_string());
                }
            }
        }
        self.enrol_missing().await;
    }

    /// Withdraws everyone, at the end of the process.
    pub async fn withdraw_all(&mut self) {
        self.apply(Vec::new()).await;
    }

    async fn enrol_missing(&mut self) {
        self.refused.retain(|name, _| self.desired.contains_key(name));
        let missing: Vec<_> = self
            .desired
            .iter()
            .filter(|(name, _)| !self.held.contains_key(*name))
            .map(|(name, plan)| (name.clone(), plan.clone()))
            .collect();
        for (name, plan) in missing {
            match self.enrol(&plan).await {
                Ok(held) => {
                    tracing::info!(namespace = %name.0, pod = %name.1, cookie = held.pod.cookie.0, "enrolled");
                    self.refused.remove(&name);
                    self.held.insert(name, held);
                }
                Err(refusal) => {
                    let reason = refusal.to_string();
                    // Once for each new reason, not at every try.
                    if self.refused.get(&name) != Some(&reason) {
                        tracing::warn!(namespace = %name.0, pod = %name.1, "not enrolled: {reason}");
                    }
                    self.refused.insert(name, reason);
                }
            }
        }
        self.publish();
    }

    async fn enrol(&self, plan: &PodPlan) -> Result<Held, Refusal> {
        let Opened { netns, cookie, ips, listeners } = self.reach.open(plan).await?;
        if let Some(((namespace, name), _)) = self.held.iter().find(|(_, held)| held.pod.cookie == cookie) {
            return Err(Refusal::Taken { namespace: Arc::clone(namespace), name: Arc::clone(name) });
        }
        let generation = self.generation.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let addresses = listeners.addresses().map_err(Refusal::Listener)?;
        let entry = entry::build(&addresses, &ips, generation);
        let listeners: Vec<TcpListener> = listeners.v4.into_iter().chain(listeners.v6).collect();
        let seconds = listeners.iter().map(|listener| listener.try_clone().map(socket2::Socket::from));
        let seconds = seconds.collect::<Result<Vec<_>, _>>().map_err(Refusal::Listener)?;
        let pod = Arc::new(EnrolledPod {
            namespace: Arc::clone(&plan.namespace),
            name: Arc::clone(&plan.name),
            cookie,
            netns,
            ips,
            drain: CancellationToken::new(),
        });
        for listener in listeners {
            self.serve.serve(Arc::clone(&pod), listener);
        }
        if let Err(error) = self.table.put(cookie, &entry) {
            pod.drain.cancel();
            return Err(error.into());
        }
        Ok(Held { plan: plan.clone(), pod, entry, listeners: seconds })
    }

    fn withdraw(&mut self, name: &PodName) {
        let Some(held) = self.held.remove(name) else { return };
        if let Err(error) = self.table.delete(held.pod.cookie) {
            // The hook still finds the listener closed, so connections pass.
            tracing::warn!(namespace = %name.0, pod = %name.1, %error, "cannot delete the entry of a pod");
        }
        held.pod.drain.cancel();
        tracing::info!(namespace = %name.0, pod = %name.1, "withdrawn");
    }

    fn publish(&self) {
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.metrics.enrolled_desired.set(count(self.desired.len()));
        self.metrics.enrolled_actual.set(count(self.held.len()));
        let state = |name: &PodName| match (self.held.get(name), self.refused.get(name)) {
            (Some(held), _) => Ok(held.pod.cookie),
            (None, reason) => Err(reason.cloned().unwrap_or_default()),
        };
        let status = |name: &PodName| PodStatus {
            namespace: Arc::clone(&name.0),
            name: Arc::clone(&name.1),
            state: state(name),
        };
        let names: BTreeSet<_> = self.desired.keys().collect();
        self.status.store(Arc::new(names.into_iter().map(status).collect()));
    }
}

impl Held {
    /// What no write to the map can mend.
    fn broken(&self) -> Option<&'static str> {
        if self.pod.drain.is_cancelled() {
            return Some("its accept loop has ended");
        }
        if !self.pod.netns.is_current() {
            return Some("its path leads to another network namespace, or nowhere");
        }
        let listens = |listener: &socket2::Socket| listener.is_listener().unwrap_or(false);
        if !self.listeners.iter().all(listens) {
            return Some("one of its listeners was closed");
        }
        None
    }
}

#[cfg(test)]
mod tests;
