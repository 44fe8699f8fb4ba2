//! Which pods are enrolled.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Findings, world::World};
use crate::control::{
    model::{CaptureLabel, Labels, Pod},
    plan::PodPlan,
};

/// Where `ip netns add` puts names.
const NETNS_DIR: &str = "/run/netns";

/// The pods to enrol, by namespace and name: labelled themselves, or their Namespace is and they do not object. Pods of the host's
/// network, completed ones and those that are being deleted never are.
pub(super) fn pods(world: &World<'_>, findings: &mut Findings) -> Vec<PodPlan> {
    world.pods.iter().filter_map(|pod| plan(pod, world, findings)).collect()
}

/// Labels of the pods to enrol, by their addresses.
pub(super) fn clients(world: &World<'_>, plans: &[PodPlan]) -> HashMap<IpAddr, Arc<Labels>> {
    let mut clients = HashMap::new();
    for plan in plans {
        if let Some(pod) = world.pod_of(&plan.namespace, Some(&plan.name), IpAddr::V4(Ipv4Addr::UNSPECIFIED)) {
            let labels = Arc::new(pod.labels.clone());
            clients.extend(plan.ips.iter().map(|ip| (*ip, Arc::clone(&labels))));
        }
    }
    clients
}

fn plan(pod: &Pod, world: &World<'_>, findings: &mut Findings) -> Option<PodPlan> {
    let inherited = world.namespaces.get(&*pod.namespace).and_then(|namespace| namespace.capture);
    if pod.gone || pod.capture.or(inherited) != Some(CaptureLabel::Enabled) {
        return None;
    }
    let object = format!("Pod {}/{}", pod.namespace, pod.name);
    if pod.host_network {
        if pod.capture.is_some() {
            findings.note(&pod.location, &object, "a pod of the host's network cannot be enrolled", "remove its label");
        }
        return None;
    }
    let Some(netns) = &pod.netns else {
        let remedy = "add the annotation `understudy.dev/netns` if it runs on this machine";
        findings.note(&pod.location, &object, "the pod is not enrolled: its network namespace is not known", remedy);
        return None;
    };
    if pod.ips.is_empty() {
        findings.note(&pod.location, &object, "the pod is not enrolled yet: it has no `status.podIP`", "");
        return None;
    }
    Some(PodPlan {
        namespace: Arc::clone(&pod.namespace),
        name: Arc::clone(&pod.name),
        uid: Arc::clone(&pod.uid),
        netns: if Path::new(&**netns).is_absolute() {
            PathBuf::from(&**netns)
        } else {
            Path::new(NETNS_DIR).join(&**netns)
        },
        ips: pod.ips.clone(),
    })
}
