use std::{collections::BTreeMap, io};

use aya::sys::SyscallError;

use super::*;

/// A map with room for so many.
#[derive(Debug, Default)]
struct Small {
    room: usize,
    entries: BTreeMap<RuleKey, RuleEntry>,
    writes: usize,
}

fn errno(errno: i32) -> MapError {
    SyscallError { call: "bpf_map_update_elem", io_error: io::Error::from_raw_os_error(errno) }.into()
}

impl Table for Small {
    fn get(&self, key: &RuleKey) -> Result<RuleEntry, MapError> {
        self.entries.get(key).copied().ok_or(MapError::KeyNotFound)
    }

    fn put(&mut self, key: &RuleKey, entry: &RuleEntry) -> Result<(), MapError> {
        if !self.entries.contains_key(key) && self.entries.len() == self.room {
            return Err(errno(libc::E2BIG));
        }
        self.writes += 1;
        self.entries.insert(*key, *entry);
        Ok(())
    }

    fn delete(&mut self, key: &RuleKey) -> Result<(), MapError> {
        self.writes += 1;
        self.entries.remove(key).map(drop).ok_or_else(|| errno(libc::ENOENT))
    }
}

fn rules(room: usize) -> Rules<Small> {
    Rules::new(Small { room, ..Small::default() })
}

fn plan(ports: &[(&str, u32, bool)]) -> CapturePlan {
    let port = |rule, closed| CapturedPort { rule, closed, owner: Arc::from("mirror/httpbin") };
    CapturePlan {
        ports: ports.iter().map(|(address, rule, closed)| (address.parse().unwrap(), port(*rule, *closed))).collect(),
    }
}

#[test]
fn the_map_becomes_what_the_plan_says() {
    let mut rules = rules(10);
    let report = rules.sync(&plan(&[("10.96.0.10:8000", 1, false), ("[fd96::10]:8000", 1, true)]), 7);
    assert_eq!((report.inserted, report.failed.len()), (2, 0));
    let v4 = rules.map.entries[&RuleKey::v4([10, 96, 0, 10], 8000_u16.to_be())];
    assert_eq!(v4, RuleEntry { rule: 1, flags: 0, generation: 7 });
    assert!(rules.any_closed());
}

#[test]
fn a_reload_touches_only_what_changed() {
    let mut rules = rules(10);
    rules.sync(&plan(&[("10.0.0.1:1", 1, false), ("10.0.0.2:1", 2, false), ("10.0.0.3:1", 3, false)]), 1);
    let before = rules.map.writes;
    let report = rules.sync(&plan(&[("10.0.0.1:1", 1, false), ("10.0.0.2:1", 2, true), ("10.0.0.4:1", 4, false)]), 2);
    assert_eq!((report.inserted, report.updated, report.removed), (1, 1, 1));
    assert_eq!(rules.map.writes - before, 3);
    let generation = |ip| rules.map.entries[&RuleKey::v4(ip, 1_u16.to_be())].generation;
    assert_eq!((generation([10, 0, 0, 1]), generation([10, 0, 0, 2])), (1, 2));
}

/// Mutation that breaks it: inserting before deleting.
#[test]
fn a_full_map_is_an_error_of_the_rule_that_found_no_room_and_of_no_other() {
    let mut rules = rules(2);
    let report = rules.sync(&plan(&[("10.0.0.1:1", 1, false), ("10.0.0.2:1", 2, false), ("10.0.0.3:1", 3, false)]), 1);
    assert_eq!((report.inserted, report.overflow()), (2, 1));
    assert_eq!(report.failed[0].address, "10.0.0.3:1".parse().unwrap());
    assert_eq!(&*report.failed[0].owner, "mirror/httpbin");

    let report = rules.sync(&plan(&[("10.0.0.2:1", 2, false), ("10.0.0.3:1", 3, false)]), 2);
    assert_eq!(
        (report.removed, report.inserted, report.overflow()),
        (1, 1, 0),
        "the room of a removed rule is used at once"
    );
}

#[test]
fn an_entry_that_someone_else_deleted_is_gone_all_the_same() {
    let mut rules = rules(2);
    rules.sync(&plan(&[("10.0.0.1:1", 1, true)]), 1);
    rules.map.entries.clear();
    let report = rules.sync(&plan(&[]), 2);
    assert_eq!((report.removed, report.failed.len()), (1, 0));
    assert!(!rules.any_closed());
}

/// Mutation that breaks it: taking what was written once for what is there.
#[test]
fn reconciliation_writes_again_what_was_deleted_or_changed_and_nothing_else() {
    let mut rules = rules(10);
    let plan = plan(&[("10.0.0.1:1", 1, true), ("10.0.0.2:1", 2, true), ("10.0.0.3:1", 3, false)]);
    rules.sync(&plan, 1);
    let wanted = rules.map.entries.clone();
    let key = |ip| RuleKey::v4(ip, 1_u16.to_be());
    rules.map.entries.remove(&key([10, 0, 0, 1]));
    rules.map.entries.get_mut(&key([10, 0, 0, 2])).unwrap().flags = 0;
    let before = rules.map.writes;
    let report = rules.reconcile(&plan, 1);
    assert_eq!((report.repaired, report.inserted, report.updated, report.failed.len()), (2, 0, 0, 0));
    assert_eq!((rules.map.writes - before, &rules.map.entries), (2, &wanted));
    assert_eq!(rules.reconcile(&plan, 1).repaired, 0);
}

#[test]
fn reconciliation_tries_again_what_found_no_room() {
    let mut rules = rules(1);
    let plan = plan(&[("10.0.0.1:1", 1, false), ("10.0.0.2:1", 2, false)]);
    assert_eq!(rules.sync(&plan, 1).overflow(), 1);
    assert_eq!(rules.reconcile(&plan, 1).overflow(), 1);
    rules.map.room = 2;
    let report = rules.reconcile(&plan, 1);
    assert_eq!((report.inserted, report.repaired, report.overflow()), (1, 0, 0));
}

#[test]
fn what_cannot_be_repaired_is_told_with_its_owner_each_time() {
    let mut rules = rules(1);
    let plan = plan(&[("10.0.0.1:1", 1, false)]);
    rules.sync(&plan, 1);
    rules.map.entries.clear();
    rules.map.room = 0;
    for _ in 0..2 {
        let report = rules.reconcile(&plan, 1);
        assert_eq!((report.repaired, report.overflow()), (0, 1));
        assert_eq!(&*report.failed[0].owner, "mirror/httpbin");
    }
}
