//! Conditions and Events, written where they are not there yet.
//!
//! Comes in: verdicts. Goes out: at most one patch and one Event for each object whose verdict is another than it says. Never: other
//! writers' conditions changed.

use std::{collections::HashMap, sync::Arc};

use k8s_openapi::{
    api::core::v1::ObjectReference,
    jiff::{Timestamp, tz::TimeZone},
};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams},
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use serde_json::{Value, json};

use super::{Identity, Verdict, Verdicts};

/// Type of our condition.
const CONDITION: &str = "Effective";
/// Kinds with their versions; the first that a cluster serves is as good as any, for they all mean the same.
const VERSIONS: [(&str, &str, &str, &[&str]); 3] = [
    ("VirtualService", "networking.istio.io", "virtualservices", &["v1", "v1beta1", "v1alpha3"]),
    ("DestinationRule", "networking.istio.io", "destinationrules", &["v1", "v1beta1", "v1alpha3"]),
    ("ShadowPolicy", "understudy.dev", "shadowpolicies", &["v1alpha1"]),
];

pub(super) struct Writer {
    client: Client,
    recorder: Recorder,
    /// What each object says, as far as we have seen or written it.
    written: HashMap<Arc<str>, Verdict>,
}

impl Writer {
    pub(super) fn new(client: Client, identity: &Identity) -> Self {
        let reporter = Reporter { controller: "understudy".into(), instance: Some(identity.pod.to_string()) };
        Self { recorder: Recorder::new(client.clone(), reporter), client, written: HashMap::new() }
    }

    /// Makes the objects say these verdicts. True if they all do.
    pub(super) async fn write(&mut self, verdicts: &Verdicts) -> bool {
        self.written.retain(|path, _| verdicts.contains_key(path));
        let mut all = true;
        for (path, verdict) in verdicts.iter() {
            if self.written.get(path) == Some(verdict) {
                continue;
            }
            match self.one(path, verdict).await {
                Ok(()) => _ = self.written.insert(Arc::clone(path), verdict.clone()),
                // It is gone, and with it what there was to say.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => {
                    all = false;
                    tracing::warn!(object = %path, %error, "cannot write what there is to say about an object");
                }
            }
        }
        all
    }

    async fn one(&self, path: &str, verdict: &Verdict) -> Result<(), kube::Error> {
        let Some((kind, name)) = path.split_once(' ') else { return Ok(()) };
        let Some((namespace, name)) = name.split_once('/') else { return Ok(()) };
        let Some((api, resource, object)) = self.find(kind, namespace, name).await? else { return Ok(()) };
        let status = object.data.get("status").cloned().unwrap_or_default();
        // An object of Istio that works is left as it is.
        let ours = kind == "ShadowPolicy";
        let Some(conditions) = conditions(&status, verdict, object.metadata.generation, ours) else { return Ok(()) };
        // The version is in the patch: a condition that somebody else writes meanwhile is not lost, we come again.
        let patch = json!({"metadata": {"resourceVersion": object.metadata.resource_version}, "status": {"conditions": conditions}});
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        let reference = ObjectReference {
            api_version: Some(resource.api_version.clone()),
            kind: Some(resource.kind.clone()),
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            uid: object.metadata.uid.clone(),
            resource_version: object.metadata.resource_version.clone(),
            ..ObjectReference::default()
        };
        let (type_, reason, note) = match verdict {
            Verdict::Effective => (EventType::Normal, "Effective".to_owned(), "it does what it says".to_owned()),
            Verdict::Not { reason, message } => (EventType::Warning, reason.to_string(), message.clone()),
        };
        tracing::info!(object = path, reason, note, "said at the object");
        let event = Event { type_, reason, note: Some(note), action: "Compile".into(), secondary: None };
        self.recorder.publish(&event, &reference).await
    }

    /// The object in the best version that the cluster serves.
    async fn find(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<(Api<DynamicObject>, ApiResource, DynamicObject)>, kube::Error> {
        let Some((_, group, plural, versions)) = VERSIONS.iter().find(|(known, ..)| *known == kind) else {
            return Ok(None);
        };
        for version in *versions {
            let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
            let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource);
            if let Some(object) = api.get_opt(name).await? {
                return Ok(Some((api, resource, object)));
            }
        }
        Ok(None)
    }
}

/// The conditions as they should be; `None` if they are so, or if it is not for us to say something.
fn conditions(status: &Value, verdict: &Verdict, generation: Option<i64>, say_good: bool) -> Option<Vec<Value>> {
    let mut all: Vec<Value> = status["conditions"].as_array().cloned().unwrap_or_default();
    let place = all.iter().position(|condition| condition["type"] == CONDITION);
    let (value, reason, message) = match verdict {
        Verdict::Effective => ("True", "Effective".to_owned(), String::new()),
        Verdict::Not { reason, message } => ("False", reason.to_string(), message.clone()),
    };
    if place.is_none() && !say_good && value == "True" {
        return None;
    }
    let now = Timestamp::now().to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let before = place.map(|place| &all[place]);
    let same = |field: &str, text: &str| before.is_some_and(|before| before[field] == text);
    if same("status", value) && same("reason", &reason) && same("message", &message) {
        return None;
    }
    let since = if same("status", value) { before.map(|before| before["lastTransitionTime"].clone()) } else { None };
    let condition = json!({
        "type": CONDITION, "status": value, "reason": reason, "message": message,
        "observedGeneration": generation, "lastTransitionTime": since.unwrap_or_else(|| json!(now)),
    });
    match place {
        Some(place) => all[place] = condition,
        None => all.push(condition),
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::diagnostic::Reason;

    fn broken(message: &str) -> Verdict {
        Verdict::Not { reason: Reason::UnknownSubset, message: message.to_owned() }
    }

    #[test]
    fn an_object_of_istio_that_works_is_left_alone_until_it_once_did_not() {
        let nothing = json!({});
        assert_eq!(conditions(&nothing, &Verdict::Effective, Some(1), false), None);
        let said = conditions(&nothing, &broken("no such subset"), Some(1), false).unwrap();
        assert_eq!((&said[0]["status"], &said[0]["reason"]), (&json!("False"), &json!("UnknownSubset")));
        let well = conditions(&json!({"conditions": said}), &Verdict::Effective, Some(2), false).unwrap();
        assert_eq!((&well[0]["status"], &well[0]["observedGeneration"]), (&json!("True"), &json!(2)));
        assert!(conditions(&nothing, &Verdict::Effective, Some(1), true).is_some());
    }

    /// Fails if a condition of Istio's is lost, or if the same thing is written again and again.
    #[test]
    fn other_writers_conditions_stay_and_what_is_said_is_not_said_again() {
        let status = json!({"conditions": [{"type": "Reconciled", "status": "True"}]});
        let said = conditions(&status, &broken("a"), Some(1), false).unwrap();
        assert_eq!((said.len(), &said[0]["type"]), (2, &json!("Reconciled")));
        let status = json!({"conditions": said});
        assert_eq!(conditions(&status, &broken("a"), Some(1), false), None);
        let other = conditions(&status, &broken("b"), Some(1), false).unwrap();
        assert_eq!(other[1]["lastTransitionTime"], status["conditions"][1]["lastTransitionTime"]);
    }
}
