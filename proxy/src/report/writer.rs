//! Conditions and Events, written where they are not there yet.
//!
//! Comes in: verdicts. Goes out: at most one patch and one Event for each object whose verdict is another than it says. Never: other
//! writers' conditions changed.
//!
//! What was written is not asked about again at each change. Another writer may have removed or changed it (an older status that somebody applies,
//! a controller that writes the whole of it), so a look from time to time finds what no longer stands; that is written again, without an Event, for
//! there is no news. A look is a list of each kind, and between two of them nothing is written twice: who writes against us is no loop.

use std::{collections::HashMap, sync::Arc};

use k8s_openapi::{
    api::core::v1::ObjectReference,
    jiff::{Timestamp, tz::TimeZone},
};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams},
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

/// Objects of one answer of a look.
const PAGE: u32 = 500;

pub(super) struct Writer {
    client: Client,
    recorder: Recorder,
    /// What each object says, as far as we have seen or written it.
    said: HashMap<Arc<str>, Said>,
    /// Why an object could not be written; told already.
    failed: HashMap<Arc<str>, String>,
}

struct Said {
    verdict: Verdict,
    /// It was there when we last looked.
    stands: bool,
}

/// An object's kind as the cluster serves it, and the object.
type Object = (Api<DynamicObject>, ApiResource, DynamicObject);

impl Writer {
    pub(super) fn new(client: Client, identity: &Identity) -> Self {
        let reporter = Reporter { controller: "understudy".into(), instance: Some(identity.pod.to_string()) };
        let recorder = Recorder::new(client.clone(), reporter);
        Self { recorder, client, said: HashMap::new(), failed: HashMap::new() }
    }

    /// Looks what the objects say now. True if all of them could be seen.
    pub(super) async fn look(&mut self, verdicts: &Verdicts) -> bool {
        let mut all = true;
        for (kind, ..) in VERSIONS {
            let of_kind = |path: &Arc<str>| path.split_once(' ').is_some_and(|(of, _)| of == kind);
            if verdicts.keys().any(of_kind)
                && let Err(error) = self.look_at(kind, verdicts).await
            {
                all = false;
                tracing::debug!(kind, %error, "cannot look at what objects say");
            }
        }
        all
    }

    async fn look_at(&mut self, kind: &str, verdicts: &Verdicts) -> Result<(), kube::Error> {
        for resource in resources(kind) {
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
            // From the API server's cache; what is a little old there is only written again if it is so when we write.
            let mut page = ListParams::default().match_any().limit(PAGE);
            loop {
                let objects = match api.list(&page).await {
                    Err(kube::Error::Api(status)) if status.code == 404 => break,
                    listed => listed?,
                };
                objects.items.iter().for_each(|object| self.see(kind, object, verdicts));
                match objects.metadata.continue_.filter(|token| !token.is_empty()) {
                    Some(token) => page = ListParams::default().limit(PAGE).continue_token(&token),
                    None => return Ok(()),
                }
            }
        }
        Ok(())
    }

    fn see(&mut self, kind: &str, object: &DynamicObject, verdicts: &Verdicts) {
        let metadata = &object.metadata;
        let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) else { return };
        let Some((path, verdict)) = verdicts.get_key_value(&*format!("{kind} {namespace}/{name}")) else { return };
        if missing(kind, object, verdict).is_none() {
            self.said.insert(Arc::clone(path), Said { verdict: verdict.clone(), stands: true });
        } else if let Some(said) = self.said.get_mut(path) {
            said.stands = false;
        }
    }

    /// Makes the objects say these verdicts, as long as it `may`. True if they all do.
    pub(super) async fn write(&mut self, verdicts: &Verdicts, may: impl Fn() -> bool) -> bool {
        self.said.retain(|path, _| verdicts.contains_key(path));
        self.failed.retain(|path, _| verdicts.contains_key(path));
        let mut all = true;
        for (path, verdict) in verdicts.iter() {
            let said = self.said.get(path).filter(|said| said.verdict == *verdict);
            if said.is_some_and(|said| said.stands) {
                continue;
            }
            if !may() {
                return false;
            }
            match self.one(path, verdict, said.is_none()).await {
                Ok(()) => {
                    self.said.insert(Arc::clone(path), Said { verdict: verdict.clone(), stands: true });
                    self.failed.remove(path);
                }
                // It is gone or going with its namespace, and with it what there was to say.
                Err(kube::Error::Api(status))
                    if status.code == 404 || status.message.contains("is being terminated") => {}
                Err(error) => {
                    all = false;
                    let error = error.to_string();
                    if self.failed.get(path) != Some(&error) {
                        tracing::warn!(object = %path, error, "cannot write what there is to say about an object");
                    }
                    self.failed.insert(Arc::clone(path), error);
                }
            }
        }
        all
    }

    async fn one(&self, path: &str, verdict: &Verdict, is_news: bool) -> Result<(), kube::Error> {
        let Some((kind, name)) = path.split_once(' ') else { return Ok(()) };
        let Some((namespace, name)) = name.split_once('/') else { return Ok(()) };
        let Some((api, resource, object)) = self.find(kind, namespace, name).await? else { return Ok(()) };
        let Some(conditions) = missing(kind, &object, verdict) else { return Ok(()) };
        // The version is in the patch: a condition that somebody else writes meanwhile is not lost, we come again.
        let patch = json!({"metadata": {"resourceVersion": object.metadata.resource_version}, "status": {"conditions": conditions}});
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        let (type_, reason, note) = match verdict {
            Verdict::Effective => (EventType::Normal, "Effective".to_owned(), "it does what it says".to_owned()),
            Verdict::Not { reason, message } => (EventType::Warning, reason.to_string(), message.clone()),
        };
        if !is_news {
            tracing::info!(object = path, reason, note, "said again at the object, where somebody else had changed it");
            return Ok(());
        }
        tracing::info!(object = path, reason, note, "said at the object");
        let reference = ObjectReference {
            api_version: Some(resource.api_version.clone()),
            kind: Some(resource.kind.clone()),
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            uid: object.metadata.uid.clone(),
            resource_version: object.metadata.resource_version.clone(),
            ..ObjectReference::default()
        };
        let event = Event { type_, reason, note: Some(note), action: "Compile".into(), secondary: None };
        self.recorder.publish(&event, &reference).await
    }

    /// The object in the best version that the cluster serves.
    async fn find(&self, kind: &str, namespace: &str, name: &str) -> Result<Option<Object>, kube::Error> {
        for resource in resources(kind) {
            let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource);
            match api.get(name).await {
                Ok(object) => return Ok(Some((api, resource, object))),
                // No such object, or no such version: that is said in plain text, without a reason.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// A kind in every version, the best first.
fn resources(kind: &str) -> impl Iterator<Item = ApiResource> {
    let versions = VERSIONS.into_iter().filter(move |(known, ..)| *known == kind);
    versions.flat_map(|(kind, group, plural, versions)| {
        versions
            .iter()
            .map(move |version| ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural))
    })
}

/// The conditions that an object should have and has not.
fn missing(kind: &str, object: &DynamicObject, verdict: &Verdict) -> Option<Vec<Value>> {
    let status = object.data.get("status").unwrap_or(&Value::Null);
    // An object of Istio that works is left as it is.
    let ours = kind == "ShadowPolicy";
    conditions(status, verdict, object.metadata.generation, ours)
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
mod tests;
