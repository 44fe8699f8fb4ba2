//! One watch, from the cluster to a channel, for as long as it is wanted.
//!
//! Comes in: a [`Watch`]. Goes out: what is heard of it. Never: an end, or a question in a tight loop.
//!
//! kube's `watcher` lists, watches, takes bookmarks and begins anew after 410 Gone. What is added here: a pause after each error, and words
//! for operators. Of kinds that may not be there, [`definition`] knows.

use std::{
    fmt::Debug,
    hash::{BuildHasher as _, RandomState},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures_util::StreamExt as _;
use kube::{
    Api, Client, Resource,
    core::{ApiResource, DynamicObject, PartialObjectMeta},
    runtime::watcher::{self, Event, watcher},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::{sync::mpsc::UnboundedSender, time::sleep};

use super::{definition, trim::trim, watch::Watch};

/// The first pause after an error; each next one is twice as long, up to the longest.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
/// So long after the API server is back we know it at the latest.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What is heard of a watch.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Heard {
    /// All objects follow, then [`Heard::All`].
    Begin,
    /// An object of such a list.
    Listed(Found),
    /// The list is complete: what was not in it is gone.
    All,
    /// An object is new or changed.
    Changed(Found),
    /// An object is gone.
    Gone(Arc<str>),
    /// The cluster has no such kind.
    Absent,
    /// Its definition is being deleted, and all its objects with it; or is so no longer.
    Leaving(bool),
    /// It cannot be watched at the moment. What was heard before stays true.
    Failed(String),
}

/// An object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    /// `VirtualService mirror/httpbin`: its identity, and its name in diagnostics.
    pub(super) path: Arc<str>,
    /// What is kept of it.
    pub(super) object: Value,
}

/// Where it is told.
pub(super) type Out = UnboundedSender<(Watch, Heard)>;

/// Listens until nobody wants to hear it any more.
pub(super) async fn listen(client: Client, watch: Watch, out: Out) {
    match (&watch, watch.resource()) {
        (Watch::Custom(kind), _) => definition::listen(&client, *kind, &watch, &out).await,
        (_, Some(resource)) => _ = objects(&client, &resource, &watch, &out).await,
        (_, None) => {}
    }
}

/// The stream has ended for good: the kind is not served (any more).
pub(super) struct NotServed;

pub(super) async fn objects(client: &Client, resource: &ApiResource, watch: &Watch, out: &Out) -> Option<NotServed> {
    if watch.metadata_only() {
        let api: Api<PartialObjectMeta<DynamicObject>> = api(client, resource, watch.namespace());
        return follow(api, resource, watch, out).await;
    }
    let api: Api<DynamicObject> = api(client, resource, watch.namespace());
    follow(api, resource, watch, out).await
}

fn api<K>(client: &Client, resource: &ApiResource, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = ApiResource>,
    K: Resource<Scope = kube::core::DynamicResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        None => Api::all_with(client.clone(), resource),
    }
}

async fn follow<K>(api: Api<K>, resource: &ApiResource, watch: &Watch, out: &Out) -> Option<NotServed>
where
    K: Resource + Clone + DeserializeOwned + Serialize + Debug + Send + 'static,
{
    let found = |object: &K| {
        let whole = serde_json::to_value(object).unwrap_or_default();
        let object = trim(watch, &resource.api_version, &resource.kind, &whole);
        Found { path: path(&resource.kind, &object), object }
    };
    let mut events = pin!(watcher(api, watch.selection()));
    let mut pause = Pause::default();
    while let Some(event) = events.next().await {
        let heard = match event {
            Ok(Event::Init) => Heard::Begin,
            Ok(Event::InitApply(object)) => Heard::Listed(found(&object)),
            Ok(Event::InitDone) => Heard::All,
            Ok(Event::Apply(object)) => Heard::Changed(found(&object)),
            Ok(Event::Delete(object)) => Heard::Gone(found(&object).path),
            Err(error) => {
                if matches!(watch, Watch::Custom(_)) && status(&error) == Some(404) {
                    return Some(NotServed);
                }
                Heard::Failed(explain(watch, &error))
            }
        };
        let failed = matches!(heard, Heard::Failed(_));
        let good = !failed && heard != Heard::Begin;
        out.send((watch.clone(), heard)).ok()?;
        if failed {
            sleep(pause.next()).await;
        } else if good {
            pause = Pause::default();
        }
    }
    None
}

/// `VirtualService mirror/httpbin`; of a trimmed object.
fn path(kind: &str, object: &Value) -> Arc<str> {
    let field = |name: &str| object["metadata"][name].as_str().unwrap_or_default();
    match field("namespace") {
        "" => format!("{kind} {}", field("name")).into(),
        namespace => format!("{kind} {namespace}/{}", field("name")).into(),
    }
}

fn client_error(error: &watcher::Error) -> Option<&kube::Error> {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => Some(error),
        watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => None,
    }
}

fn status(error: &watcher::Error) -> Option<u16> {
    match (error, client_error(error)) {
        (watcher::Error::WatchError(status), _) => Some(status.code),
        (_, Some(kube::Error::Api(status))) => Some(status.code),
        _ => None,
    }
}

fn explain(watch: &Watch, error: &watcher::Error) -> String {
    match client_error(error) {
        Some(error) => describe(watch, error),
        None => format!("cannot watch {watch}: {error}"),
    }
}

pub(super) fn describe(watch: &Watch, error: &kube::Error) -> String {
    let (what, remedy) = match error {
        kube::Error::Api(status) => {
            let remedy = match status.code {
                401 => "the service account's token is not accepted: is it mounted, and is the node's clock right?",
                403 => "bind the ClusterRole `understudy` to this pod's service account (kubectl apply -k deploy/)",
                _ => "",
            };
            (status.message.clone(), remedy)
        }
        kube::Error::Service(_) | kube::Error::HyperError(_) => {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(error);
            while let Some(source) = cause {
                let part = source.to_string();
                if !text.contains(&part) {
                    text = format!("{text}: {part}");
                }
                cause = source.source();
            }
            (text, "is the API server up, and may this pod reach it?")
        }
        _ => (error.to_string(), ""),
    };
    let remedy = if remedy.is_empty() { String::new() } else { format!(" ({remedy})") };
    format!("cannot watch {watch}: {what}{remedy}")
}

/// How long to wait after errors in a row. Nodes that lost the API server together do not come back together.
#[derive(Debug)]
pub(super) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(SHORTEST_PAUSE)
    }
}

impl Pause {
    pub(super) fn next(&mut self) -> Duration {
        let longest = self.0;
        self.0 = (longest * 2).min(LONGEST_PAUSE);
        let random = RandomState::new().hash_one(()) % 1000;
        longest / 2 + longest * u32::try_from(random).unwrap_or_default() / 2000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_never_vanish() {
        let mut pause = Pause::default();
        let all: Vec<_> = (0..20).map(|_| pause.next()).collect();
        assert!(all.iter().all(|one| *one >= SHORTEST_PAUSE / 2 && *one <= LONGEST_PAUSE), "{all:?}");
        assert!(all[10] >= LONGEST_PAUSE / 2);
    }
}
