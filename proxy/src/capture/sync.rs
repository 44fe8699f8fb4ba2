//! Plan → `RULES`, by difference: what is new is inserted, what changed is replaced, what is gone is deleted, and all else is not touched, so
//! that a reload does not interrupt a rule that it does not concern.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
};

use aya::maps::{HashMap as BpfHashMap, MapData, MapError};
use proxy_common::{
    FAMILY_V4, PROTO_TCP,
    rule::{CLOSED, RuleEntry, RuleKey},
};

use super::{
    CaptureError,
    maps::{is_full, is_missing},
    origins::to_address,
};
use crate::control::plan::{CapturePlan, CapturedPort};

/// What a sync did.
#[derive(Debug, Default)]
pub struct SyncReport {
    /// New destinations.
    pub inserted: usize,
    /// Destinations whose rule or policy changed.
    pub updated: usize,
    /// Destinations that have no rule any more.
    pub removed: usize,
    /// Destinations whose entry was not what had been written, and is again.
    pub repaired: usize,
    /// Destinations that are not as planned.
    pub failed: Vec<Unsynced>,
    /// The rules are in force, but closed ones would open if the process died.
    pub pin_error: Option<CaptureError>,
}

impl SyncReport {
    /// Destinations for which the map has no room.
    #[must_use]
    pub fn overflow(&self) -> usize {
        self.failed.iter().filter(|failed| failed.full).count()
    }
}

/// A destination that the map does not have as planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsynced {
    /// The destination.
    pub address: SocketAddr,
    /// Whose rule it is; empty if it should have been deleted.
    pub owner: Arc<str>,
    /// The map is full.
    pub full: bool,
    /// What happened, for the operator.
    pub reason: String,
}

/// What [`Rules`] needs of a map.
pub(super) trait Table {
    fn get(&self, key: &RuleKey) -> Result<RuleEntry, MapError>;
    fn put(&mut self, key: &RuleKey, entry: &RuleEntry) -> Result<(), MapError>;
    fn delete(&mut self, key: &RuleKey) -> Result<(), MapError>;
}

impl Table for BpfHashMap<MapData, RuleKey, RuleEntry> {
    fn get(&self, key: &RuleKey) -> Result<RuleEntry, MapError> {
        BpfHashMap::get(self, key, 0)
    }

    fn put(&mut self, key: &RuleKey, entry: &RuleEntry) -> Result<(), MapError> {
        self.insert(key, entry, 0)
    }

    fn delete(&mut self, key: &RuleKey) -> Result<(), MapError> {
        self.remove(key)
    }
}

/// `RULES` and what is in it.
pub(super) struct Rules<T = BpfHashMap<MapData, RuleKey, RuleEntry>> {
    map: T,
    known: HashMap<RuleKey, (SocketAddr, RuleEntry)>,
}

impl<T: Table> Rules<T> {
    pub(super) fn new(map: T) -> Self {
        Self { map, known: HashMap::new() }
    }

    /// Is a closed rule in the map?
    pub(super) fn any_closed(&self) -> bool {
        self.known.values().any(|(_, entry)| entry.flags & CLOSED != 0)
    }

    /// Like [`Rules::sync`], after a look at every entry: what someone deleted or changed is written again.
    pub(super) fn reconcile(&mut self, plan: &CapturePlan, generation: u64) -> SyncReport {
        // What has to go is not worth mending.
        let mut report = self.sync(plan, generation);
        for (key, (address, entry)) in &self.known {
            if self.map.get(key).is_ok_and(|there| there == *entry) {
                continue;
            }
            match self.map.put(key, entry) {
                Ok(()) => report.repaired += 1,
                Err(error) => {
                    let owner = plan.ports.get(address).map(|port| Arc::clone(&port.owner)).unwrap_or_default();
                    report.failed.push(unsynced(*address, owner, &error));
                }
            }
        }
        report
    }

    /// Deletes first, so that there is room for what is new.
    pub(super) fn sync(&mut self, plan: &CapturePlan, generation: u64) -> SyncReport {
        let mut report = SyncReport::default();
        let wanted: HashSet<RuleKey> = plan.ports.keys().map(rule_key).collect();
        let gone: Vec<_> = self
            .known
            .iter()
            .filter(|(key, _)| !wanted.contains(*key))
            .map(|(key, (address, _))| (*key, *address))
            .collect();
        for (key, address) in gone {
            match self.map.delete(&key) {
                Err(error) if !is_missing(&error) => report.failed.push(unsynced(address, Arc::from(""), &error)),
                _ => {
                    self.known.remove(&key);
                    report.removed += 1;
                }
            }
        }
        for (address, port) in &plan.ports {
            let key = rule_key(address);
            let entry = rule_entry(port, generation);
            let old = self.known.get(&key).map(|(_, entry)| *entry);
            if old.is_some_and(|old| old.rule == entry.rule && old.flags == entry.flags) {
                continue;
            }
            match self.map.put(&key, &entry) {
                Ok(()) => {
                    self.known.insert(key, (*address, entry));
                    *(if old.is_some() { &mut report.updated } else { &mut report.inserted }) += 1;
                }
                Err(error) => report.failed.push(unsynced(*address, Arc::clone(&port.owner), &error)),
            }
        }
        report
    }
}

fn unsynced(address: SocketAddr, owner: Arc<str>, error: &MapError) -> Unsynced {
    let full = is_full(error);
    let reason = if full {
        "the map of rules is full, so this destination is not captured; raise its size or remove rules".to_owned()
    } else {
        super::chain(error)
    };
    Unsynced { address, owner, full, reason }
}

/// The destination as the hook looks it up.
fn rule_key(address: &SocketAddr) -> RuleKey {
    let (ip, family) = to_address(address.ip());
    debug_assert!(family == FAMILY_V4 || address.is_ipv6());
    RuleKey { address: ip, port: address.port().to_be(), family, protocol: PROTO_TCP }
}

fn rule_entry(port: &CapturedPort, generation: u64) -> RuleEntry {
    // The low half, as the type says.
    let generation = (generation & u64::from(u32::MAX)) as u32;
    RuleEntry { rule: port.rule, flags: if port.closed { CLOSED } else { 0 }, generation }
}

#[cfg(test)]
mod tests;
