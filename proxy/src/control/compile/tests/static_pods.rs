//! How the node's own pods are planned: by UID, and static ones by the UID that their mirror names.

use super::*;
use crate::control::plan::{PodPlan, Sandbox};

const HASH: &str = "0123456789abcdef0123456789abcdef";

fn pod(name: &str, uid: &str, annotations: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: mirror, uid: {uid}, labels: {{understudy.dev/capture: enabled}}, \
         annotations: {{{annotations}}}}}, spec: {{nodeName: w1}}, status: {{podIP: 10.0.0.1}}}}\n---\n"
    )
}

fn planned(manifests: &str) -> Arc<Applied> {
    load_with(Settings { node: Some("w1".into()), ..Settings::default() }, &[manifests])
}

fn sandboxes(applied: &Applied) -> Vec<(&str, &Sandbox)> {
    applied.pods.iter().map(|PodPlan { name, sandbox, .. }| (&**name, sandbox)).collect()
}

/// Mutation that breaks it: taking `config.hash` or `config.source`, which anybody may write at a pod of his, for a sign of a static pod.
#[test]
fn a_mirror_pod_is_found_by_the_hash_and_others_by_their_uid() {
    let manifests = [
        pod("a", "u-a", &format!("kubernetes.io/config.mirror: {HASH}, kubernetes.io/config.hash: other")),
        pod("b", "u-b", &format!("kubernetes.io/config.source: file, kubernetes.io/config.hash: {HASH}")),
        pod("c", "u-c", "kubernetes.io/config.mirror: ''"),
    ];
    let applied = planned(&manifests.concat());
    let of_hash = Sandbox::OfStaticUid(HASH.into());
    assert_eq!(sandboxes(&applied), [("a", &of_hash), ("b", &Sandbox::OfUid), ("c", &Sandbox::OfUid)]);
    // The name of the pod in the API stays its name.
    assert_eq!(&*applied.pods[0].uid, "u-a");
}

/// Mutation that breaks it: leaving the comparison out.
#[test]
fn a_mirror_pod_that_names_another_pods_uid_is_refused_with_a_word() {
    let manifests = [pod("victim", "u-v", ""), pod("forger", "u-f", "kubernetes.io/config.mirror: u-v")];
    let applied = planned(&manifests.concat());
    assert_eq!(sandboxes(&applied), [("victim", &Sandbox::OfUid)]);
    let said = messages(&applied);
    assert!(said.iter().any(|message| message.contains("names the UID of Pod mirror/victim")), "{said:?}");
    // Also if nobody wants that one to be enrolled.
    let unlabelled = manifests[0].replace("enabled", "disabled");
    assert!(planned(&[unlabelled, manifests[1].clone()].concat()).pods.is_empty());
}
