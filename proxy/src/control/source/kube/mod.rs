//! The Kubernetes API as a source of manifests.
//!
//! Comes in: watches of what rules name, and no more (`wanted` says why: the API server's load). Goes out: a text for each object, under
//! its name, all of them, whenever one has changed: the same form that files have. Never: a part of the first snapshot; a removal that
//! nobody told (an API server that does not answer changes nothing); what an object means.
//!
//! Rules, policies, Namespaces and the pods of our node are always watched. The Services, slices and labels that rules name are watched
//! when a rule names them; the watches of before go only when the new ones are complete, so that no object vanishes in between.

mod cover;
mod definition;
mod known;
mod leaving;
mod listen;
mod snapshot;
mod trim;
mod wanted;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use kube::{Client, Config, config::KubeConfigOptions};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use self::{
    known::{Kept, Known, Names, State},
    leaving::Leaving,
    listen::{Heard, Out},
    snapshot::Keeper,
    wanted::Hosts,
    watch::Watch,
};
use super::ManifestText;

/// Changes come in bursts (a Deployment's pods, a list): delivered when there was none for so long.
const QUIET: Duration = Duration::from_millis(20);
/// A burst that does not end is delivered in between.
const LONGEST_BURST: Duration = Duration::from_millis(500);
/// So long a change waits for watches that it made necessary; the rest of the configuration does not wait for ever.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why the Kubernetes API cannot be a source.
#[derive(Debug, thiserror::Error)]
pub enum KubeError {
    /// Neither a pod's service account nor a kubeconfig.
    #[error("no way to the Kubernetes API: {0}: run as a pod with a service account, or give --kubeconfig a file")]
    Config(String),
    /// A client cannot be made of it.
    #[error("cannot make a client of the Kubernetes API: {0}")]
    Client(#[from] kube::Error),
}

/// A task that ends with whoever waits for it.
#[derive(Debug)]
struct Listener(JoinHandle<()>);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Debug)]
struct Watched {
    known: Known,
    _listener: Listener,
    since: Instant,
}

/// When what was heard is delivered.
#[derive(Clone, Copy, Debug)]
struct Burst {
    quiet: Instant,
    latest: Instant,
}

/// The objects of a cluster that concern one node.
pub struct KubeSource {
    client: Client,
    node: Arc<str>,
    cluster_domain: Arc<str>,
    watches: BTreeMap<Watch, Watched>,
    wanted: BTreeSet<Watch>,
    /// What rules name now: watches may show more.
    hosts: Hosts,
    out: Out,
    heard: UnboundedReceiver<(Watch, Heard)>,
    leaving: Leaving,
    burst: Option<Burst>,
    /// What was delivered last.
    last: Vec<ManifestText>,
    /// Everything wanted was complete once.
    complete: bool,
    /// Said already.
    problems: BTreeSet<String>,
    keeper: Option<Keeper>,
}

impl std::fmt::Debug for KubeSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubeSource")
            .field("node", &self.node)
            .field("watches", &self.watches.len())
            .finish_non_exhaustive()
    }
}

/// A client by a kubeconfig, or by the service account of the pod that we are in.
///
/// # Errors
/// If there is neither. The API server is not asked.
pub async fn client(kubeconfig: Option<&Path>) -> Result<Client, KubeError> {
    let config = match kubeconfig {
        Some(path) => {
            let read =
                kube::config::Kubeconfig::read_from(path).map_err(|error| KubeError::Config(error.to_string()))?;
            Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
                .await
                .map_err(|error| KubeError::Config(error.to_string()))?
        }
        None => Config::incluster().map_err(|error| KubeError::Config(error.to_string()))?,
    };
    Ok(Client::try_from(config)?)
}

impl KubeSource {
    /// Begins to watch. Objects of a former process that were kept in `state` are there at once: [`Self::texts`].
    #[must_use]
    pub fn open(client: Client, node: &Arc<str>, cluster_domain: &Arc<str>, state: Option<&Path>) -> Self {
        let (out, heard) = unbounded_channel();
        let keeper = state.and_then(|folder| {
            Keeper::start(folder, node)
                .inspect_err(|error| tracing::warn!(%error, folder = %folder.display(), "--state-dir cannot be used"))
                .ok()
        });
        let last = state.and_then(|folder| snapshot::load(folder, node)).unwrap_or_default();
        let mut source = Self {
            client,
            node: Arc::clone(node),
            cluster_domain: Arc::clone(cluster_domain),
            watches: BTreeMap::new(),
            wanted: BTreeSet::new(),
            hosts: Hosts::default(),
            out,
            heard,
            leaving: Leaving::default(),
            burst: None,
            last,
            complete: false,
            problems: BTreeSet::new(),
            keeper,
        };
        source.want();
        source
    }

    /// What was delivered last; before the first delivery what a former process had kept.
    #[must_use]
    pub fn texts(&self) -> &[ManifestText] {
        &self.last
    }

    /// Whether there is a configuration to go by: everything was heard once, or a former process had.
    #[must_use]
    pub fn has_configuration(&self) -> bool {
        self.complete || !self.last.is_empty()
    }

    /// What keeps us from hearing, each once; empty if all is well.
    #[must_use]
    pub fn problems(&self) -> Vec<&str> {
        let mut problems: Vec<_> = self.watches.values().filter_map(|watched| watched.known.problem()).collect();
        problems.dedup();
        problems
    }

    /// Waits until something has changed, and delivers all texts. If the future is dropped, the next one goes on where it was.
    pub async fn changed(&mut self) -> &[ManifestText] {
        loop {
            let heard = match self.burst {
                None => self.heard.recv().await,
                Some(Burst { quiet, latest }) => match timeout_at(quiet.min(latest), self.heard.recv()).await {
                    Ok(heard) => heard,
                    Err(_) => {
                        if self.settle() {
                            return &self.last;
                        }
                        continue;
                    }
                },
            };
            // We hold a sender, so the channel never ends.
            let Some((watch, heard)) = heard else { continue };
            for (watch, heard) in self.leaving.pass(watch, heard) {
                self.hear(watch, heard);
            }
        }
    }

    fn hear(&mut self, watch: Watch, heard: Heard) {
        // One that nobody wants any more may have had a last word.
        let Some(watched) = self.watches.get_mut(&watch) else { return };
        match &heard {
            Heard::Failed(problem) if self.problems.insert(problem.clone()) => tracing::warn!("{problem}"),
            Heard::Absent if watched.known.state != State::Absent => tracing::warn!(
                "the cluster has no {watch}: rules of that kind begin to count when it does (kubectl apply -k deploy/ brings them)"
            ),
            _ => {}
        }
        let had_problem = watched.known.problem().is_some();
        let changed = watched.known.hear(heard, &self.cluster_domain);
        if had_problem && watched.known.problem().is_none() {
            tracing::info!("watching {watch} again");
            self.problems.clear();
        }
        if changed {
            let now = Instant::now();
            let latest = self.burst.map_or(now + LONGEST_BURST, |burst| burst.latest);
            self.burst = Some(Burst { quiet: now + QUIET, latest });
        }
    }

    /// After a burst: asks for what is newly named, and delivers if everything wanted is known. True if there is something new.
    fn settle(&mut self) -> bool {
        self.burst = None;
        self.want();
        let now = Instant::now();
        let waiting = self.wanted.iter().filter_map(|watch| self.watches.get(watch)).filter(|watched| {
            let late = self.complete && (watched.known.problem().is_some() || now >= watched.since + PATIENCE);
            watched.known.state == State::Asked && !late
        });
        // What comes, comes with a burst of its own; what does not is looked for again.
        if let Some(first) = waiting.map(|watched| watched.since).min() {
            if self.complete {
                let later = (first + PATIENCE).max(now + QUIET);
                self.burst = Some(Burst { quiet: later, latest: later });
            }
            return false;
        }
        // The watches of before show what the new ones have not shown yet, also if we do not wait for those any longer.
        let asked = |watch| self.watches.get(watch).is_some_and(|watched| watched.known.state == State::Asked);
        if !self.wanted.iter().any(asked) {
            self.watches.retain(|watch, _| self.wanted.contains(watch));
        }
        let texts = self.gather();
        let first = !std::mem::replace(&mut self.complete, true);
        if !first && texts == self.last {
            return false;
        }
        self.last = texts;
        if let Some(keeper) = &self.keeper {
            keeper.keep(&self.last);
        }
        true
    }

    /// Starts the watches that what is known asks for.
    fn want(&mut self) {
        let mut hosts = Hosts::default();
        let mut told_apart = BTreeSet::new();
        for kept in self.watches.values().flat_map(|watched| watched.known.objects.values()) {
            match &kept.names {
                Names::Hosts(names) => names.iter().for_each(|host| hosts.add(host, &self.cluster_domain)),
                Names::Subsets(host) => _ = told_apart.insert(Arc::clone(host)),
                Names::Nothing | Names::Service { .. } | Names::Slice { .. } => {}
            }
        }
        let mut wanted = Watch::first(&self.node);
        wanted.extend(hosts.watches());
        let services = self.watches.values().flat_map(|watched| watched.known.objects.values());
        let selectors = services.filter_map(|kept| match &kept.names {
            Names::Service { namespace, name, selector } if hosts.covers(namespace, name) => {
                let host = format!("{name}.{namespace}.svc.{}", self.cluster_domain);
                is_told_apart(&told_apart, &host).then_some((namespace, &**selector))
            }
            _ => None,
        });
        wanted.extend(wanted::labels(selectors));
        let wanted = cover::cover(wanted, &self.watches.keys().collect());
        for watch in &wanted {
            if !self.watches.contains_key(watch) {
                let task = listen::listen(self.client.clone(), watch.clone(), UnboundedSender::clone(&self.out));
                let listener = Listener(tokio::task::spawn_local(task));
                let watched = Watched { known: Known::default(), _listener: listener, since: Instant::now() };
                self.watches.insert(watch.clone(), watched);
            }
        }
        self.wanted = wanted;
        self.hosts = hosts;
    }

    /// Every object that is named, once. Of a pod of our node more is known than its labels.
    fn gather(&self) -> Vec<ManifestText> {
        let mut texts = BTreeMap::new();
        for (watch, watched) in &self.watches {
            let named = |kept: &Kept| match &kept.names {
                Names::Service { namespace, name: service, .. } | Names::Slice { namespace, service } => {
                    self.hosts.covers(namespace, service)
                }
                _ => true,
            };
            for (path, kept) in watched.known.objects.iter().filter(|(_, kept)| named(kept)) {
                let text = || ManifestText { path: Arc::clone(path), text: Ok(Arc::clone(&kept.text)) };
                match watch {
                    Watch::Pods { .. } => _ = texts.insert(Arc::clone(path), text()),
                    _ => _ = texts.entry(Arc::clone(path)).or_insert_with(text),
                }
            }
        }
        texts.into_values().collect()
    }
}

/// Whether a DestinationRule is for this host, by its name or by a wildcard.
fn is_told_apart(rules: &BTreeSet<Arc<str>>, host: &str) -> bool {
    rules.contains(host) || rules.iter().any(|rule| rule.strip_prefix('*').is_some_and(|suffix| host.ends_with(suffix)))
}

#[cfg(test)]
mod tests;
