//! A kind that may come and go: its definition is watched, and its objects while it is there.
//!
//! Comes in: a kind. Goes out: what is heard of its objects, whether there are any to hear of, and when all of them are about to go. Never: a
//! question in a tight loop about a kind that is not there.

use std::{pin::pin, time::Duration};

use futures_util::StreamExt as _;
use kube::{
    Api, Client,
    core::{ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta},
    runtime::watcher::{Event, watcher},
};
use tokio::{
    sync::watch as channel,
    time::{Instant, sleep, timeout},
};

use super::{
    listen::{Heard, LONGEST_PAUSE, Out, Pause, describe, objects},
    watch::{Custom, Watch, from_cache},
};

/// How often it is looked for a kind whose definition we may not watch.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// So long the deletion of a kind may take. An object that somebody's finalizer holds would make it last for ever.
const LONGEST_DELETION: Duration = Duration::from_secs(60);
/// Kinds whose ends are no further apart end together.
const TOGETHER: Duration = Duration::from_secs(1);

/// What is known of a kind's definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Definition {
    /// We have not heard yet.
    Unknown,
    /// We cannot watch it, so only asking tells.
    Unclear,
    Absent,
    Present,
    /// It is being deleted, with its objects.
    Leaving,
}

/// Listens until nobody wants to hear it any more.
pub(super) async fn listen(client: &Client, kind: Custom, watch: &Watch, out: &Out) {
    let (tell, mut definition) = channel::channel(Definition::Unknown);
    let definitions = follow(client, kind, &tell);
    let end = follow_end(definition.clone(), watch, out);
    let objects = async {
        let mut pause = Pause::default();
        loop {
            let known = *definition.borrow_and_update();
            match known {
                // Of its end another tells.
                Definition::Unknown | Definition::Absent => {}
                Definition::Unclear | Definition::Present | Definition::Leaving => match version(client, kind).await {
                    Ok(Some(version)) => {
                        let resource = kind.resource(version);
                        let begun = Instant::now();
                        tokio::select! {
                            _ = objects(client, &resource, watch, out) => {}
                            _ = definition.wait_for(|known| *known == Definition::Absent) => {}
                        }
                        if begun.elapsed() > LONGEST_PAUSE {
                            pause = Pause::default();
                        }
                        // 404: the definition's end is told elsewhere.
                        let _ = timeout(pause.next(), definition.wait_for(|known| *known == Definition::Absent)).await;
                        continue;
                    }
                    Ok(None) if known == Definition::Unclear => {
                        let _ = out.send((watch.clone(), Heard::Leaving(true)));
                        is_absent(watch, out).await;
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
    // In this order: objects that go wait only if it was told before that all of them do.
    futures_util::join!(definitions, end, objects);
}

/// Tells when a kind's end begins, and that it is over.
async fn follow_end(mut definition: channel::Receiver<Definition>, watch: &Watch, out: &Out) {
    let is = |known: &Definition| *known == Definition::Leaving;
    let ends = |known: &Definition| matches!(known, Definition::Leaving | Definition::Absent);
    while let Ok(known) = definition.wait_for(ends).await.map(|known| *known) {
        let _ = out.send((watch.clone(), Heard::Leaving(true)));
        if is(&known) {
            tracing::info!("{watch} is being deleted: rules stay as they are until it is gone");
            if timeout(LONGEST_DELETION, definition.wait_for(|known| !is(known))).await.is_err() {
                let seconds = LONGEST_DELETION.as_secs();
                tracing::warn!(
                    "{watch} is being deleted for {seconds} s: what is left of it counts again (does a finalizer hold an object?)"
                );
                let _ = out.send((watch.clone(), Heard::Leaving(false)));
                let _ = definition.wait_for(|known| !is(known)).await;
            }
        }
        if *definition.borrow() == Definition::Absent {
            is_absent(watch, out).await;
        } else {
            let _ = out.send((watch.clone(), Heard::Leaving(false)));
        }
        let _ = definition.wait_for(|known| !ends(known)).await;
    }
}

/// Tells that there is no such kind, and a moment later that nothing waits for it any more: kinds that are deleted together do not go, and are
/// not heard to go, at the same time. The watch of its objects may have ended before it told of theirs.
async fn is_absent(watch: &Watch, out: &Out) {
    let _ = out.send((watch.clone(), Heard::Absent));
    sleep(TOGETHER).await;
    let _ = out.send((watch.clone(), Heard::Leaving(false)));
}

async fn follow(client: &Client, kind: Custom, tell: &channel::Sender<Definition>) {
    let resource =
        ApiResource::from_gvk(&GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition"));
    let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(client.clone(), &resource);
    let config = from_cache().fields(&format!("metadata.name={}", kind.definition()));
    let mut events = pin!(watcher(api, config));
    let mut pause = Pause::default();
    let mut listed = Definition::Absent;
    let found = |object: &PartialObjectMeta<DynamicObject>| match object.metadata.deletion_timestamp {
        Some(_) => Definition::Leaving,
        None => Definition::Present,
    };
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed = Definition::Absent,
            Ok(Event::InitApply(object)) => listed = found(&object),
            Ok(Event::InitDone) => {
                pause = Pause::default();
                tell.send_replace(listed);
            }
            Ok(Event::Apply(object)) => _ = tell.send_replace(found(&object)),
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
