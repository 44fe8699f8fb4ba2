//! What was heard of one watch, and whether all of it was.
//!
//! Comes in: what `listen` tells. Goes out: texts for the manifest parser, and what is in them that says what else to watch. Never: a half
//! list in place of a whole one.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tokio::time::Instant;

use super::{
    listen::{Found, Heard},
    watch::SERVICE_NAME,
};
use crate::control::{
    manifest,
    model::{Object, RuleAction},
};

/// How a watch stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing complete was heard yet.
    #[default]
    Asked,
    /// What is known is what there is.
    Synced,
    /// The cluster has no such kind.
    Absent,
}

/// Objects of one watch.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) state: State,
    /// Why it could not be watched, and when that was found.
    problem: Option<(String, Instant)>,
    pub(super) objects: BTreeMap<Arc<str>, Kept>,
    /// A list that is not complete yet.
    listing: BTreeMap<Arc<str>, Kept>,
}

/// An object.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    /// For the manifest parser.
    pub(super) text: Arc<str>,
    pub(super) names: Names,
}

/// What of an object says what else to watch, or whether anybody asked for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Names {
    #[default]
    Nothing,
    /// Hosts of a rule and of its destinations.
    Hosts(Arc<[Arc<str>]>),
    /// The host whose endpoints a DestinationRule tells apart.
    Subsets(Arc<str>),
    /// The pods of a Service.
    Service { namespace: Arc<str>, name: Arc<str>, selector: Arc<BTreeMap<String, String>> },
    /// Whose endpoints they are.
    Slice { namespace: Arc<str>, service: Arc<str> },
}

/// A watch that goes on where it was says nothing as long as nothing happens. One that cannot says so at every attempt, and between two of them
/// are at most a pause and the time in which a connection is given up.
const RECENT: Duration = Duration::from_secs(60);

impl Known {
    /// Why it cannot be watched now.
    pub(super) fn problem(&self) -> Option<&str> {
        let (problem, since) = self.problem.as_ref()?;
        (self.state == State::Asked || since.elapsed() < RECENT).then_some(problem)
    }

    /// Takes in what was heard; true if it may change what is in force.
    pub(super) fn hear(&mut self, heard: Heard, cluster_domain: &str) -> bool {
        match heard {
            Heard::Begin => self.listing.clear(),
            Heard::Listed(found) => {
                let (path, kept) = self.keep(found, cluster_domain);
                self.listing.insert(path, kept);
            }
            Heard::All => {
                let changed = self.state != State::Synced || !same(&self.listing, &self.objects);
                self.objects = std::mem::take(&mut self.listing);
                self.state = State::Synced;
                self.problem = None;
                return changed;
            }
            Heard::Changed(found) => {
                let (path, kept) = self.keep(found, cluster_domain);
                self.problem = None;
                let before = self.objects.insert(path, kept.clone());
                return before.is_none_or(|before| before.text != kept.text);
            }
            Heard::Gone(path) => return self.objects.remove(&path).is_some(),
            Heard::Absent => {
                let changed = self.state != State::Absent;
                *self = Self { state: State::Absent, ..Self::default() };
                return changed;
            }
            // What it means for all of them is known elsewhere.
            Heard::Leaving(_) => {}
            Heard::Failed(problem) => self.problem = Some((problem, Instant::now())),
        }
        false
    }

    /// An object whose rules do not parse keeps the names of before, as its last good state keeps its rules.
    fn keep(&self, found: Found, cluster_domain: &str) -> (Arc<str>, Kept) {
        let Found { path, object } = found;
        let text: Arc<str> = object.to_string().into();
        let before = self.objects.get(&path);
        if let Some(before) = before.filter(|before| before.text == text) {
            return (path, before.clone());
        }
        let names = names(&path, &text, &object, cluster_domain);
        let names = names.or_else(|| before.map(|before| before.names.clone())).unwrap_or_default();
        (path, Kept { text, names })
    }
}

fn same(a: &BTreeMap<Arc<str>, Kept>, b: &BTreeMap<Arc<str>, Kept>) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|((path, one), (other, two))| path == other && one.text == two.text)
}

/// `None` if the object is broken.
fn names(path: &Arc<str>, text: &str, object: &Value, cluster_domain: &str) -> Option<Names> {
    let of = |name: &str| object["metadata"][name].as_str().unwrap_or_default().into();
    match object["kind"].as_str() {
        Some("EndpointSlice") => {
            let service = object["metadata"]["labels"][SERVICE_NAME].as_str().unwrap_or_default().into();
            Some(Names::Slice { namespace: of("namespace"), service })
        }
        Some("Service") => {
            let selector: HashMap<String, String> =
                serde_json::from_value(object["spec"]["selector"].clone()).unwrap_or_default();
            let selector = Arc::new(selector.into_iter().collect());
            Some(Names::Service { namespace: of("namespace"), name: of("name"), selector })
        }
        Some("VirtualService" | "DestinationRule") => {
            let reading = manifest::read(path, text, cluster_domain);
            let object = reading.objects.into_iter().next()?.object?;
            match &*object {
                Object::VirtualService(rules) => {
                    let mut hosts: Vec<Arc<str>> = rules.hosts.iter().map(|host| Arc::clone(&host.name)).collect();
                    for rule in &rules.rules {
                        if let RuleAction::Forward { route, .. } = &rule.action {
                            hosts.extend(route.iter().map(|(_, to, _)| Arc::clone(&to.host.name)));
                        }
                        hosts.extend(rule.mirrors.iter().map(|mirror| Arc::clone(&mirror.destination.host.name)));
                    }
                    Some(Names::Hosts(hosts.into()))
                }
                Object::DestinationRule(rule) => Some(Names::Subsets(Arc::clone(&rule.host.name))),
                _ => Some(Names::Nothing),
            }
        }
        _ => Some(Names::Nothing),
    }
}

#[cfg(test)]
mod tests;
