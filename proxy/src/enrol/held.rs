//! An enrolled pod, and what proves that it still is the pod that was enrolled.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use proxy_common::netns::NetnsEntry;

use super::{EnrolledPod, find::Found};
use crate::{control::plan::PodPlan, net::NetnsId};

/// An enrolled pod.
pub(super) struct Held {
    pub(super) plan: PodPlan,
    pub(super) pod: Arc<EnrolledPod>,
    pub(super) entry: NetnsEntry,
    /// Second descriptors of the listeners, to see whether they still listen.
    pub(super) listeners: Vec<socket2::Socket>,
    /// A path that leads to the pod's namespace: as configured, or of a process of the pod, which another takes the place of when it ends.
    pub(super) path: PathBuf,
}

impl Held {
    /// Is what the plan says of the pod what it was enrolled as? A cluster's pod is enrolled before the API says its addresses, with those of
    /// its namespace: that they are said then changes nothing.
    pub(super) fn is_as(&self, plan: &PodPlan) -> bool {
        let same = |other: &PodPlan| {
            self.plan.uid == other.uid
                && self.plan.sandbox == other.sandbox
                && self.plan.runtime_class == other.runtime_class
        };
        self.plan == *plan || (plan.cgroup_uid().is_some() && same(plan) && agree(&self.pod.ips, &plan.ips))
    }

    /// Does the path lead elsewhere, or nowhere?
    pub(super) fn is_astray(&self) -> bool {
        !NetnsId::of(&self.path).is_ok_and(|now| now == self.pod.netns.id())
    }

    /// Another way to the same namespace, after the path has gone astray. False if there is none: the pod is gone, or in another sandbox.
    pub(super) fn find_again(&mut self, found: &Found) -> bool {
        let Some(uid) = self.plan.cgroup_uid() else { return false };
        match found.process_in(uid, self.pod.netns.id()) {
            Ok(path) => {
                self.path = path.map_or_else(|| self.path.clone(), Path::to_owned);
                path.is_some()
            }
            // Nothing is known: a pod that may well be there is not let go for that.
            Err(_) => true,
        }
    }

    /// What no write to the map can mend.
    pub(super) fn broken(&self) -> Option<&'static str> {
        if self.pod.drain.is_cancelled() {
            return Some("its accept loop has ended");
        }
        let listens = |listener: &socket2::Socket| listener.is_listener().unwrap_or(false);
        if !self.listeners.iter().all(listens) {
            return Some("one of its listeners was closed");
        }
        None
    }
}

/// Do both name the same address of each family first? That one is bound to. Who names none says nothing.
fn agree(held: &[IpAddr], said: &[IpAddr]) -> bool {
    let first = |ips: &[IpAddr], v4| ips.iter().find(|ip| ip.is_ipv4() == v4).copied();
    said.is_empty() || [true, false].into_iter().all(|v4| first(held, v4) == first(said, v4))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreed(held: &[&str], said: &[&str]) -> bool {
        let ips = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
        agree(&ips(held), &ips(said))
    }

    #[test]
    fn addresses_agree_by_the_first_of_each_family() {
        assert!(agreed(&["10.0.0.2"], &["10.0.0.2"]));
        assert!(agreed(&["10.0.0.2", "fd00::2", "10.9.0.1"], &["fd00::2", "10.0.0.2"]));
        assert!(agreed(&["10.0.0.2"], &[]));
        assert!(!agreed(&["10.0.0.2"], &["10.0.0.3"]));
        assert!(!agreed(&["10.0.0.2"], &["10.0.0.2", "fd00::2"]));
        assert!(!agreed(&["10.0.0.2", "fd00::2"], &["10.0.0.2"]));
    }
}
