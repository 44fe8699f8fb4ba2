//! One watch, from the cluster to a channel, for as long as it is wanted.
//!
//! Comes in: a [`Watch`]. Goes out: what is heard of it. Never: an end, or a question in a tight loop.
//!
//! kube's `watcher` lists, watches, takes bookmarks and begins anew after 410 Gone. What is added here: a pause after each error, kinds
//! that are not there, and words for operators.

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
    core::{ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta},
    runtime::watcher::{self, Event, watcher},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::{
    sync::{mpsc::UnboundedSender, watch as channel},
    time::{sleep, timeout},
};

use super::{
    trim::trim,
    watch::{Custom, Watch, from_cache},
};

/// The first pause after an error; each next one is twice as long, up to the longest.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
/// So long after the API server is back we know it at the latest.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often it is looked for a kind whose definition we may not watch.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

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
        (Watch::Custom(kind), _) => custom(&client, *kind, &watch, &out).await,
        (_, Some(resource)) => _ = objects(&client, &resource, &watch, &out).await,
        (_, None) => {}
    }
}

/// The stream has ended for good: the kind is not served (any more).
struct NotServed;

async fn objects(client: &Client, resource: &ApiResource, watch: &Watch, out: &Out) -> Option<NotServed> {
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

/// What is known of a kind's definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Definition {
    /// We have not heard yet.
    Unknown,
    /// We cannot watch it, so only asking tells.
    Unclear,
    Absent,
    Present,
}

/// A kind that may come and go: its definition is watched, and its objects while it is there.
async fn custom(client: &Client, kind: Custom, watch: &Watch, out: &Out) {
    let (tell, mut definition) = channel::channel(Definition::Unknown);
    let definitions = follow_definition(client, kind, &tell);
    let objects = async {
        let mut pause = Pause::default();
        loop {
            let known = *definition.borrow_and_update();
            match known {
                Definition::Unknown => {}
                Definition::Absent => _ = out.send((watch.clone(), Heard::Absent)),
                Definition::Unclear | Definition::Present => match version(client, kind).await {
                    Ok(Some(version)) => {
                        pause = Pause::default();
                        let resource = kind.resource(version);
                        tokio::select! {
                            _ = objects(client, &resource, watch, out) => {}
                            _ = definition.wait_for(|known| *known == Definition::Absent) => {}
                        }
                        if *definition.borrow() != Definition::Absent {
                            sleep(pause.next()).await; // 404: the definition's end is told elsewhere
                        }
                        continue;
                    }
                    Ok(None) if known == Definition::Unclear => {
                        let _ = out.send((watch.clone(), Heard::Absent));
                        let _ = timeout(LOOK_AGAIN, definition.changed()).await;
                        continue;
                    }
                    // It takes a moment from a definition to its kind.
                    Ok(None) => {
                        let _ = timeout(pause.next(), definition.changed()).await;
                        continue;
                    }
                    Err(error) => {
                        let _ = out.send((watch.clone(), Heard::Failed(describe(watch, &error))));
                        sleep(pause.next()).await;
                        continue;
                    }
                },
            }
            if definition.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::join!(definitions, objects);
}

async fn follow_definition(client: &Client, kind: Custom, tell: &channel::Sender<Definition>) {
    let resource =
        ApiResource::from_gvk(&GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition"));
    let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(client.clone(), &resource);
    let config = from_cache().fields(&format!("metadata.name={}", kind.definition()));
    let mut events = pin!(watcher(api, config));
    let mut pause = Pause::default();
    let mut listed = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed = false,
            Ok(Event::InitApply(_)) => listed = true,
            Ok(Event::InitDone) => {
                pause = Pause::default();
                tell.send_replace(if listed { Definition::Present } else { Definition::Absent });
            }
            Ok(Event::Apply(_)) => _ = tell.send_replace(Definition::Present),
            Ok(Event::Delete(_)) => _ = tell.send_replace(Definition::Absent),
            Err(error) => {
                tracing::debug!(definition = kind.definition(), %error, "cannot watch a definition");
                tell.send_if_modified(|known| {
                    let new = *known == Definition::Unknown;
                    if new {
                        *known = Definition::Unclear;
                    }
                    new
                });
                sleep(pause.next()).await;
            }
        }
    }
}

/// The best version that the cluster serves.
async fn version(client: &Client, kind: Custom) -> Result<Option<&'static str>, kube::Error> {
    for version in kind.versions() {
        match client.list_api_group_resources(&format!("{}/{version}", kind.group())).await {
            Ok(served) if served.resources.iter().any(|resource| resource.name == kind.plural()) => {
                return Ok(Some(version));
            }
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
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

fn describe(watch: &Watch, error: &kube::Error) -> String {
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
struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(SHORTEST_PAUSE)
    }
}

impl Pause {
    fn next(&mut self) -> Duration {
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
