//! Which pods of this node are captured, and the care that it stays so.
//!
//! Comes in: the pods that shall be enrolled. Goes out: listeners for `accept`, entries for the connect hook, a reason for each pod that
//! is not enrolled. Never: connections, HTTP, the host's own namespace (unless allowed by name).
//!
//! | module | does |
//! | --- | --- |
//! | [`find`], `cgroup_path` | pod's UID → network namespace, by the node's `/proc` |
//! | `reach` | makes sure that a namespace is the pod's, opens the listeners |
//! | `runtime_class` | pods whose connections the node's kernel does not make |
//! | `entry` | what the connect hook is told |
//! | `held` | an enrolled pod, and whether it still is that pod |
//! | `refusal`, `refused` | why a pod is not enrolled, and who was told |
//! | [`early`] | when to look for pods that are to come |
//!
//! The order is what keeps traffic safe. In: listeners open and served → entry in `NETNS`. Out: entry deleted → drain → listeners and
//! namespace closed. At every point between, a connection either finds a live listener or is not redirected.

mod cgroup_path;
pub mod early;
mod entry;
pub mod find;
mod held;
mod reach;
mod refusal;
mod refused;
mod runtime_class;

use std::{
    collections::{BTreeMap, HashSet},
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

use self::{find::Found, held::Held, refused::Refused};

pub use early::Early;
pub use reach::{InNamespaces, Opened, Reach};
pub use refusal::Refusal;

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
    refused: Refused,
    status: Arc<ArcSwap<Vec<PodStatus>>>,
    generation: AtomicU32,
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
            refused: Refused::default(),
            status: Arc::default(),
            generation: AtomicU32::new(0),
        }
    }

    /// How every desired pod stands; the handle shows later states too.
    #[must_use]
    pub fn status(&self) -> Arc<ArcSwap<Vec<PodStatus>>> {
        Arc::clone(&self.status)
    }

    /// Makes the given pods, and no others, the enrolled ones. True if one that is new, or has changed, is not there yet: it is worth to
    /// [`Enrolment::look`] for it soon. A pod of which nothing new is said is left to that, and to [`Enrolment::reconcile`].
    pub async fn apply(&mut self, pods: Vec<PodPlan>) -> bool {
        let desired =
            pods.into_iter().map(|plan| ((Arc::clone(&plan.namespace), Arc::clone(&plan.name)), plan)).collect();
        let before = std::mem::replace(&mut self.desired, desired);
        let mut gone = Vec::new();
        for (name, held) in &mut self.held {
            match self.desired.get(name).filter(|plan| held.is_as(plan)) {
                Some(plan) => held.plan = plan.clone(),
                None => gone.push(name.clone()),
            }
        }
        for name in gone {
            self.withdraw(&name);
        }
        self.refused.retain(|name| self.desired.contains_key(name));
        let is_new = |(name, plan): &(PodName, PodPlan)| {
            plan.cgroup_uid().is_none() || before.get(name) != Some(plan) || self.refused.reason(name).is_none()
        };
        let new: Vec<_> = self.missing().filter(is_new).collect();
        let found = self.find(new.iter().map(|(_, plan)| plan)).await;
        self.enrol_all(&new, &found).await;
        new.iter().any(|(name, _)| !self.held.contains_key(name))
    }

    /// Looks for the pods that are not enrolled, and whether the others are where they were. Costs a `stat` for each enrolled pod, and one
    /// scan of the node's processes if a pod is missing. True if one still is.
    pub async fn look(&mut self) -> bool {
        let astray: Vec<_> =
            self.held.iter().filter(|(_, held)| held.is_astray()).map(|(name, _)| name.clone()).collect();
        let missing: Vec<_> = self.missing().collect();
        let lost = astray.iter().filter_map(|name| self.held.get(name)).map(|held| &held.plan);
        let found = self.find(lost.chain(missing.iter().map(|(_, plan)| plan))).await;
        for name in astray {
            let Some(held) = self.held.get_mut(&name) else { continue };
            if held.find_again(&found) {
                continue;
            }
            if held.plan.cgroup_uid().is_some() {
                // As usual when its sandbox is made anew, or it has ended and the API has not said so yet.
                tracing::info!(namespace = %name.0, pod = %name.1, "no process of the pod is in its network namespace any more");
            } else {
                tracing::warn!(namespace = %name.0, pod = %name.1, "enrolling a pod anew: its path leads to another network namespace, or nowhere");
                self.metrics.reconcile_repairs.inc();
            }
            self.withdraw(&name);
        }
        let missing: Vec<_> = self.missing().collect();
        self.enrol_all(&missing, &found).await;
        self.held.len() < self.desired.len()
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
                    self.refused.note(&name, &error.into());
                }
            }
        }
        self.look().await;
    }

    /// Withdraws everyone, at the end of the process.
    pub async fn withdraw_all(&mut self) {
        self.apply(Vec::new()).await;
    }

    /// The pods that should be enrolled and are not.
    fn missing(&self) -> impl Iterator<Item = (PodName, PodPlan)> {
        let missing = self.desired.iter().filter(|(name, _)| !self.held.contains_key(*name));
        missing.map(|(name, plan)| (name.clone(), plan.clone()))
    }

    /// One scan for those that are found by their UID, none if there is none.
    async fn find<'a>(&self, plans: impl Iterator<Item = &'a PodPlan>) -> Found {
        let uids: HashSet<_> = plans.filter_map(PodPlan::cgroup_uid).cloned().collect();
        if uids.is_empty() { Found::default() } else { self.reach.find(uids).await }
    }

    async fn enrol_all(&mut self, pods: &[(PodName, PodPlan)], found: &Found) {
        for (name, plan) in pods {
            match self.enrol(plan, found).await {
                Ok(held) => {
                    tracing::info!(namespace = %name.0, pod = %name.1, cookie = held.pod.cookie.0, "enrolled");
                    self.refused.remove(name);
                    self.held.insert(name.clone(), held);
                }
                Err(refusal) => self.refused.note(name, &refusal),
            }
        }
        self.publish();
    }

    async fn enrol(&self, plan: &PodPlan, found: &Found) -> Result<Held, Refusal> {
        let Opened { netns, cookie, ips, listeners } = self.reach.open(plan, found).await?;
        if let Some(((namespace, name), _)) = self.held.iter().find(|(_, held)| held.pod.cookie == cookie) {
            return Err(Refusal::Taken { namespace: Arc::clone(namespace), name: Arc::clone(name) });
        }
        let generation = self.generation.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let addresses = listeners.addresses().map_err(Refusal::Listener)?;
        let entry = entry::build(&addresses, &ips, generation);
        let listeners: Vec<TcpListener> = listeners.v4.into_iter().chain(listeners.v6).collect();
        let seconds = listeners.iter().map(|listener| listener.try_clone().map(socket2::Socket::from));
        let seconds = seconds.collect::<Result<Vec<_>, _>>().map_err(Refusal::Listener)?;
        let path = netns.path().to_owned();
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
        Ok(Held { plan: plan.clone(), pod, entry, listeners: seconds, path })
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
        for word in Refusal::WORDS {
            self.metrics.set_refused(word, count(self.refused.count(word)));
        }
        let state = |name: &PodName| match self.held.get(name) {
            Some(held) => Ok(held.pod.cookie),
            None => Err(self.refused.reason(name).unwrap_or_default().to_owned()),
        };
        let status = |name: &PodName| PodStatus {
            namespace: Arc::clone(&name.0),
            name: Arc::clone(&name.1),
            state: state(name),
        };
        self.status.store(Arc::new(self.desired.keys().map(status).collect()));
    }
}

#[cfg(test)]
mod tests;
