//! Who writes: the holder of a Lease of the agents' namespace.
//!
//! Comes in: time. Goes out: whether it is us. Never: a wait that others notice; two holders longer than clocks disagree by the time that a
//! Lease lasts beyond its renewal.
//!
//! Whether a holder is alive is judged by whether its Lease changes, against our own clock: the times in it are another node's. The periods
//! are long because nobody waits for a condition, and every node of a large cluster asks.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::{
    api::coordination::v1::{Lease as Object, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::time::{Instant, sleep_until};

use super::Identity;

const NAME: &str = "understudy-reporter";
/// How often the holder shows that it lives.
const RENEW: Duration = Duration::from_secs(20);
/// How long a holder may be silent.
const LASTS: Duration = Duration::from_secs(60);
/// How often the others look, on average.
const LOOK: Duration = Duration::from_secs(45);

pub(super) struct Lease {
    api: Api<Object>,
    identity: Arc<str>,
    /// Ours until then.
    until: Option<Instant>,
    due: Instant,
    /// What another holder's Lease looked like, and since when.
    seen: Option<(String, Instant)>,
    /// Said already.
    complained: bool,
}

impl Lease {
    pub(super) fn new(client: Client, identity: &Identity) -> Self {
        Self {
            api: Api::namespaced(client, &identity.namespace),
            identity: Arc::clone(&identity.pod),
            until: None,
            due: Instant::now() + some_of(Duration::from_secs(2)),
            seen: None,
            complained: false,
        }
    }

    /// Whether we may write now.
    pub(super) fn is_ours(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }

    /// When to renew it, or to look whether it is free.
    pub(super) async fn due(&self) {
        sleep_until(self.due).await;
    }

    /// Takes it, if it is free or ours.
    pub(super) async fn renew(&mut self) {
        let begun = Instant::now();
        match self.take().await {
            Ok(true) => {
                if self.until.is_none() {
                    tracing::info!("reporting on objects of the cluster from here");
                }
                self.until = Some(begun + LASTS - RENEW / 2);
                self.due = begun + RENEW;
                self.complained = false;
            }
            Ok(false) => {
                self.until = None;
                self.due = begun + LOOK / 2 + some_of(LOOK);
            }
            Err(error) => {
                if !self.complained && matches!(&error, kube::Error::Api(status) if status.code == 403) {
                    self.complained = true;
                    tracing::warn!(
                        "cannot take the Lease {NAME}, so no conditions are written from here: {error} (bind the Role `understudy`: kubectl apply -k deploy/)"
                    );
                }
                self.due = begun + RENEW;
            }
        }
    }

    async fn take(&mut self) -> Result<bool, kube::Error> {
        let Some(mut lease) = self.api.get_opt(NAME).await? else {
            let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
            let lease = Object { metadata, spec: Some(self.ours(1)) };
            return settled(self.api.create(&PostParams::default(), &lease).await);
        };
        let spec = lease.spec.get_or_insert_default();
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        let transitions = spec.lease_transitions.unwrap_or_default();
        if holder != &*self.identity && !holder.is_empty() {
            let looks = format!("{holder} {:?}", lease.metadata.resource_version);
            let since = match &self.seen {
                Some((before, since)) if *before == looks => *since,
                _ => Instant::now(),
            };
            self.seen = Some((looks, since));
            if since.elapsed() < LASTS {
                return Ok(false);
            }
        }
        let changes = i32::from(holder != &*self.identity);
        lease.spec = Some(self.ours(transitions + changes));
        // Of two that take it at once, the API server refuses one: the version is in what we send.
        settled(self.api.replace(NAME, &PostParams::default(), &lease).await)
    }

    fn ours(&self, transitions: i32) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.identity.to_string()),
            lease_duration_seconds: i32::try_from(LASTS.as_secs()).ok(),
            renew_time: Some(MicroTime(Timestamp::now())),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    /// Gives it back, if it is ours.
    pub(super) async fn release(mut self) {
        if !self.is_ours() {
            return;
        }
        let Ok(mut lease) = self.api.get(NAME).await else { return };
        if let Some(spec) = &mut lease.spec
            && spec.holder_identity.as_deref() == Some(&*self.identity)
        {
            spec.holder_identity = None;
            let _ = self.api.replace(NAME, &PostParams::default(), &lease).await;
        }
        self.until = None;
    }
}

/// Somebody else was faster: that is an answer.
fn settled(done: Result<Object, kube::Error>) -> Result<bool, kube::Error> {
    match done {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

/// A random part, so that nodes do not ask all at once.
fn some_of(time: Duration) -> Duration {
    let random = RandomState::new().hash_one(()) % 1000;
    time * u32::try_from(random).unwrap_or_default() / 1000
}

#[cfg(test)]
mod tests;
