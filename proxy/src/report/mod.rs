//! What users see of us in the cluster: a condition and an Event at the object whose rule cannot work.
//!
//! Comes in: verdicts about objects, after every change of the configuration. Goes out: `status.conditions` of type `Effective`, and Events
//! of the same reason. Never: two writers for one object (a Lease says who writes), a write for what the object says already, an error that
//! concerns traffic.
//!
//! Every node has the same verdicts, for they come from the rules and their Services. An Istio object that works gets no condition from us:
//! it is not ours to decorate. It gets one when it does not work, and the same condition says when it does again.

mod lease;
mod verdict;
mod writer;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kube::Client;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

pub use self::verdict::{Verdict, in_words, verdicts};
use self::{lease::Lease, writer::Writer};

/// Verdicts by object: `VirtualService mirror/httpbin`.
pub type Verdicts = BTreeMap<Arc<str>, Verdict>;

/// A verdict must stand for so long: endpoints come and go in every rollout.
const SETTLED: Duration = Duration::from_secs(3);
/// How often it is looked whether what was written still stands: one list of each kind, by one agent of the cluster. What somebody else has removed or
/// changed is written again then, once.
const LOOK_AGAIN: Duration = Duration::from_secs(300);

/// Who writes, and in whose name.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Namespace of the Lease.
    pub namespace: Arc<str>,
    /// Name of our pod.
    pub pod: Arc<str>,
    /// Name of our node.
    pub node: Arc<str>,
}

/// Writes for as long as the process lives. Whoever holds the Lease writes, the others wait for their turn.
pub async fn run(client: Client, identity: Identity, mut verdicts: watch::Receiver<Arc<Verdicts>>) {
    let mut lease = Lease::new(client.clone(), &identity);
    let mut writer = Writer::new(client, &identity);
    let mut settled = Instant::now() + SETTLED;
    let mut look = Instant::now();
    let mut pause = SETTLED;
    loop {
        tokio::select! {
            // The agent's end drops the sender; the next holder does not have to wait for our Lease to run out.
            changed = verdicts.changed() => match changed {
                Ok(()) => (settled, pause) = (Instant::now() + SETTLED, SETTLED),
                Err(_) => return lease.release().await,
            },
            () = lease.due() => {
                let was_ours = lease.is_ours();
                lease.renew().await;
                if !was_ours && lease.is_ours() {
                    // Somebody else wrote before us.
                    look = Instant::now();
                    settled = settled.min(look + SETTLED);
                }
            }
            () = sleep_until(settled), if lease.is_ours() => {
                let now = Arc::clone(&verdicts.borrow_and_update());
                if Instant::now() >= look {
                    writer.look(&now).await;
                    look = Instant::now() + LOOK_AGAIN;
                }
                // A cluster that is slow must not make us write for longer than we may.
                pause = match writer.write(&now, || lease.is_ours()).await {
                    true => LOOK_AGAIN,
                    false => (pause * 2).min(LOOK_AGAIN),
                };
                settled = Instant::now() + pause;
            }
        }
    }
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
