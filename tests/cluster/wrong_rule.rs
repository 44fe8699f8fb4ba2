//! A VirtualService that cannot work says so where its author looks, and no other rule minds.

use anyhow::{Context as _, Result, ensure};
use integration::{
    cluster::{
        cast::{self, NAMESPACE, NEAR},
        install::PATIENCE,
    },
    wait,
};
use serde_json::Value;

use crate::scene::Scene;

/// Its subset is in no DestinationRule.
const WRONG: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: wrong}
spec:
  hosts: [wrong]
  http:
  - route: [{destination: {host: wrong, subset: nowhere}}]
";
const RIGHT: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: wrong}
spec:
  hosts: [wrong]
  http:
  - route: [{destination: {host: wrong}}]
";

/// Fails if nobody writes the condition, if both agents do, or if it stays after the rule was mended.
pub(crate) fn play(scene: &Scene) -> Result<()> {
    let cast = scene.cast()?;
    let kubectl = &scene.cluster.kubectl;
    kubectl.apply(NAMESPACE, &cast::service("wrong", "httpbin", None).to_string())?;
    kubectl.apply(NAMESPACE, WRONG)?;
    let mut seen = Value::Null;
    let condition = |wanted: &str, seen: &mut Value| {
        wait::until_or(&format!("the rule's condition Effective is {wanted}"), PATIENCE, || {
            let rule = kubectl.json(&["get", "virtualservice", "-n", NAMESPACE, "wrong"])?;
            *seen = rule["status"].clone();
            let conditions = rule["status"]["conditions"].as_array();
            let own = conditions.into_iter().flatten().find(|condition| condition["type"] == "Effective");
            Ok(own.filter(|own| own["status"] == wanted).cloned())
        })
    };
    let found = condition("False", &mut seen).with_context(|| format!("its status is {seen}"))?;
    let (reason, message) =
        (found["reason"].as_str().unwrap_or_default(), found["message"].as_str().unwrap_or_default());
    ensure!(message.contains("nowhere"), "the message does not name the subset: {found}");
    scene.show(format!("condition Effective=False, {reason}: {message}"));
    // Events outlive their object, and another of this name may have been here.
    let uid = kubectl.run(&["get", "virtualservice", "-n", NAMESPACE, "wrong", "-o", "jsonpath={.metadata.uid}"])?;
    let selector = format!("--field-selector=involvedObject.uid={uid}");
    let events = wait::until_or("an event", PATIENCE, || {
        let all = kubectl.json(&["get", "events", "-n", NAMESPACE, &selector])?;
        let own = all["items"].as_array().into_iter().flatten().filter(|event| event["reason"] == reason);
        let own: Vec<_> = own.cloned().collect();
        Ok((!own.is_empty()).then_some(own))
    })?;
    ensure!(events.len() == 1, "{} events for one fault: {events:?}", events.len());
    scene.show(format!("one event: {} {}", events[0]["type"], events[0]["message"]));

    cast.captured(NEAR)?;
    let good = kubectl.json(&["get", "virtualservice", "-n", NAMESPACE, "httpbin"])?;
    let bad = |condition: &Value| condition["type"] == "Effective" && condition["status"] == "False";
    ensure!(
        !good["status"]["conditions"].as_array().into_iter().flatten().any(bad),
        "the good rule: {}",
        good["status"]
    );
    kubectl.apply(NAMESPACE, RIGHT)?;
    condition("True", &mut seen).with_context(|| format!("its status is {seen}"))?;
    scene.show("the good rule mirrored meanwhile; mended, the wrong one is Effective=True");
    for what in ["virtualservice/wrong", "service/wrong"] {
        kubectl.run(&["delete", "-n", NAMESPACE, what])?;
    }
    Ok(())
}
