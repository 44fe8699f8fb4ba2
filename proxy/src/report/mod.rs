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
/// The next look if nothing changes before; a verdict that was written once is not looked at again, so it costs nothing.
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
    loop {
        tokio::select! {
            // The agent's end drops the sender; the next holder does not have to wait for our Lease to run out.
            changed = verdicts.changed() => match changed {
                Ok(()) => settled = Instant::now() + SETTLED,
                Err(_) => return lease.release().await,
            },
            () = lease.due() => lease.renew().await,
            () = sleep_until(settled), if lease.is_ours() => {
                let now = Arc::clone(&verdicts.borrow_and_update());
                let all_written = writer.write(&now).await;
                settled = Instant::now() + if all_written { LOOK_AGAIN } else { SETTLED };
            }
        }
    }
}
