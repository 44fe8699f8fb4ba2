//! Which pods are enrolled.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Findings, world::World};
use crate::control::{
    model::{CaptureLabel, Pod},
    plan::{PodPlan, Sandbox},
};
use crate::route::{Labels, table::Lookup};

/// Where `ip netns add` puts names.
const NETNS_DIR: &str = "/run/netns";

/// The pods to enrol, by namespace and name: labelled themselves, or their Namespace is and they do not object. Pods of the host's
/// network, completed ones and those that are being deleted never are.
///
/// With a `node`, its pods are meant, and the namespace is to be found by the pod's UID: an annotation would let the author of a pod choose.
pub(super) fn pods(world: &World<'_>, node: Option<&str>, findings: &mut Findings) -> Vec<PodPlan> {
    let mut plan = |pod: &&Pod| wanted(pod, world, node, findings).then(|| plan(pod, world, node, findings)).flatten();
    world.pods.iter().filter_map(&mut plan).collect()
}

/// Labels of the pods to enrol, by their addresses.
pub(super) fn clients(world: &World<'_>, plans: &[PodPlan]) -> Lookup<IpAddr, Labels> {
    let mut clients = Lookup::default();
    for plan in plans {
        if let Some(pod) = world.pod_of(&plan.namespace, Some(&plan.name), IpAddr::V4(Ipv4Addr::UNSPECIFIED)) {
            clients.extend(plan.ips.iter().map(|ip| (*ip, pod.labels.clone())));
        }
    }
    clients
}

fn wanted(pod: &Pod, world: &World<'_>, node: Option<&str>, findings: &mut Findings) -> bool {
    if node.is_some() && pod.node.as_deref() != node {
        return false;
    }
    let inherited = world.namespaces.get(&*pod.namespace).and_then(|namespace| namespace.capture);
    if pod.gone || pod.capture.or(inherited) != Some(CaptureLabel::Enabled) {
        return false;
    }
    if pod.host_network && pod.capture.is_some() {
        let message = "a pod of the host's network cannot be enrolled";
        findings.note(&pod.location, &object_of(pod), message, "remove its label");
    }
    !pod.host_network
}

fn object_of(pod: &Pod) -> String {
    format!("Pod {}/{}", pod.namespace, pod.name)
}

fn plan(pod: &Pod, world: &World<'_>, node: Option<&str>, findings: &mut Findings) -> Option<PodPlan> {
    let sandbox = match (node, &pod.static_uid) {
        (None, _) => Sandbox::At(named(pod, findings)?),
        (Some(_), None) => Sandbox::OfUid,
        (Some(_), Some(uid)) => Sandbox::OfStaticUid(static_uid(uid, pod, world, findings)?),
    };
    Some(PodPlan {
        namespace: Arc::clone(&pod.namespace),
        name: Arc::clone(&pod.name),
        uid: Arc::clone(&pod.uid),
        sandbox,
        runtime_class: pod.runtime_class.as_deref().map(Into::into),
        ips: pod.ips.clone(),
    })
}

/// The UID that a mirror pod names, unless it is another pod's: the API server gives those, and this one is what somebody wrote.
fn static_uid(uid: &Arc<str>, pod: &Pod, world: &World<'_>, findings: &mut Findings) -> Option<Arc<str>> {
    let Some(owner) = world.pods.iter().find(|other| other.uid == *uid) else { return Some(Arc::clone(uid)) };
    let message = format!(
        "the pod is not enrolled: its annotation `kubernetes.io/config.mirror` names the UID of {}",
        object_of(owner)
    );
    findings.warning(&pod.location, &object_of(pod), message, "only a kubelet writes it, for a static pod");
    None
}

/// The namespace that the pod's annotation names, if the pod has an address too.
fn named(pod: &Pod, findings: &mut Findings) -> Option<PathBuf> {
    let object = object_of(pod);
    let Some(netns) = &pod.netns else {
        let remedy = "add the annotation `understudy.dev/netns` if it runs on this machine";
        findings.note(&pod.location, &object, "the pod is not enrolled: its network namespace is not known", remedy);
        return None;
    };
    if pod.ips.is_empty() {
        findings.note(&pod.location, &object, "the pod is not enrolled yet: it has no `status.podIP`", "");
        return None;
    }
    let netns = Path::new(&**netns);
    Some(if netns.is_absolute() { netns.to_owned() } else { Path::new(NETNS_DIR).join(netns) })
}
