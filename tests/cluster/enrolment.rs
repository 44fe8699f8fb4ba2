//! Labels that come and go: on a pod with connections, a hundred times, and on the namespace under load.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration::{
    cluster::{
        CAPTURE, Download, Load, agents,
        cast::{self, FAR, HOST, NAMESPACE, NEAR, PODS},
    },
    wait,
};
use serde_json::json;

use crate::scene::Scene;

/// How often a pod's label is flipped.
const FLIPS: usize = 100;

pub(crate) fn play(scene: &Scene) -> Result<()> {
    labelled_late(scene)?;
    namespace_unlabelled(scene)
}

/// T01, T03, T06. Fails if a connection is touched that is older than the enrolment, if the pod is not captured from its next one on, or if
/// flips leave a listener behind.
fn labelled_late(scene: &Scene) -> Result<()> {
    let cast = scene.cast()?;
    let (cluster, kubectl) = (&scene.cluster, &scene.cluster.kubectl);
    let pod =
        cast::client("late", &cluster.nodes[0], &cluster.images.client, &json!({"app": "late", CAPTURE: "disabled"}));
    kubectl.apply(NAMESPACE, &pod.to_string())?;
    cast::pods_ready(kubectl, NAMESPACE, "app=late")?;

    let old = Download::start(kubectl, NAMESPACE, "late", HOST)?;
    let native = cast.ask_tagged("late")?;
    ensure!(cast.listeners("late")? == 0, "a pod that is not enrolled has a listener");
    let label = |value: &str| {
        kubectl.run(&["label", "pod", "-n", NAMESPACE, "late", &format!("{CAPTURE}={value}"), "--overwrite"]).map(drop)
    };
    label("enabled")?;
    let took = cast.captured("late")?;
    ensure!(!old.is_captured()?, "a connection that is older than the enrolment was captured");
    ensure!(!old.has_ended()?, "the download was over before the pod was captured: it proves nothing");
    let tag = old.tag.clone();
    old.whole()?;
    for tag in [&native, &tag] {
        ensure!(cast.shadows(tag)?.is_empty(), "what began before the enrolment was mirrored: {tag}");
    }
    scene.show(format!(
        "first shadow {:.2} s after the label; the older download went on, whole and not mirrored",
        took.as_secs_f32()
    ));

    let start = Instant::now();
    for _ in 0..FLIPS {
        label("disabled")?;
        label("enabled")?;
    }
    let flipped = start.elapsed();
    agents::enrolled(cluster, PODS + 1)?;
    cast.captured("late")?;
    // Listeners of former enrolments drain first.
    wait::until_or("one listener is left", Duration::from_secs(60), || {
        Ok((cast.listeners("late")? == 1).then_some(()))
    })?;
    scene.show(format!("{FLIPS} times off and on in {:.0} s: captured, one listener", flipped.as_secs_f32()));
    cast.untouched()?;
    kubectl.run(&["delete", "pod", "-n", NAMESPACE, "late"])?;
    agents::enrolled(cluster, PODS)
}

/// T02. Fails if a request fails while the namespace loses its label and gets it back, or if a captured connection is cut by that.
fn namespace_unlabelled(scene: &Scene) -> Result<()> {
    let cast = scene.cast()?;
    let (cluster, kubectl) = (&scene.cluster, &scene.cluster.kubectl);
    let loads = [NEAR, FAR].map(|pod| Load::start(kubectl, NAMESPACE, pod, HOST));
    let [near, far] = loads;
    let (near, far) = (near?, far?);
    let captured = Download::start(kubectl, NAMESPACE, NEAR, HOST)?;
    ensure!(captured.is_captured()?, "the download was not captured: it proves nothing");
    kubectl.run(&["label", "namespace", NAMESPACE, &format!("{CAPTURE}-")])?;
    agents::enrolled(cluster, 0)?;
    let candidates = agents::settled(cluster)?;
    let native = cast.ask_tagged(NEAR)?;
    ensure!(agents::settled(cluster)? == candidates, "requests are mirrored although nothing is enrolled");
    ensure!(cast.shadows(&native)?.is_empty(), "a request of a pod that is not enrolled was mirrored");
    kubectl.run(&["label", "namespace", NAMESPACE, &format!("{CAPTURE}=enabled")])?;
    cast.on_stage(cluster)?;
    captured.whole()?;
    let tags = [near.tag.clone(), far.tag.clone()];
    for (load, tag) in [near, far].into_iter().zip(tags) {
        let tally = load.stop()?;
        ensure!(tally.failures() == 0, "the namespace's label costs requests: {tally}");
        scene.show(format!("label off and on: {tally}; {} of them mirrored", cast.shadows(&tag)?.len()));
    }
    scene.show("a captured download that was under way when the label went: whole");
    Ok(())
}
