//! The objects in force: what the files say now, and the last good state of what they say wrongly.
//!
//! Comes in: readings of every file, and the objects of before. Goes out: the objects of now, and findings about objects that are there
//! twice. Never: a part of an object.
//!
//! | what the files say of an object | what is in force |
//! | --- | --- |
//! | it is well | its new state |
//! | it is there, but broken | its last good state, if it ever had one |
//! | nothing, but its file is only partly understood or cannot be read | its last good state |
//! | nothing | nothing: it is removed |

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
};

use super::{
    diagnostic::{Diagnostic, Location, Severity},
    manifest::Reading,
    model::{Object, ObjectId},
};

/// An object in force.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its content.
    pub object: Arc<Object>,
    /// The file that it came from.
    pub path: Arc<str>,
    /// Changes when its content does.
    pub fingerprint: u64,
    /// The files say something else of it now, which does not work.
    pub stale: bool,
}

/// Every object in force.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    entries: BTreeMap<ObjectId, Entry>,
}

impl Objects {
    /// Every object, by its identity.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectId, &Object)> {
        self.entries.iter().map(|(id, entry)| (id, &*entry.object))
    }

    /// The objects that are kept in an older state.
    pub fn stale(&self) -> impl Iterator<Item = &ObjectId> {
        self.entries.iter().filter(|(_, entry)| entry.stale).map(|(id, _)| id)
    }

    /// Whether the same objects are there with the same content.
    #[must_use]
    pub fn same_content(&self, other: &Self) -> bool {
        let content = |objects: &Self| {
            objects.entries.iter().map(|(id, entry)| (id.clone(), entry.fingerprint)).collect::<Vec<_>>()
        };
        content(self) == content(other)
    }

    /// What is in force after a reload. `unreadable` are the files and folders that could not be read.
    #[must_use]
    pub fn merge(&self, readings: &[Arc<Reading>], unreadable: &[Arc<str>], findings: &mut Vec<Diagnostic>) -> Self {
        let mut entries = BTreeMap::new();
        let mut seen: HashMap<&ObjectId, &Location> = HashMap::new();
        for reading in readings {
            for read in &reading.objects {
                if let Some(first) = seen.get(&read.id) {
                    let message = format!("the same object is already at {first}");
                    let finding = Diagnostic::new(Severity::Error, read.location.clone(), message);
                    findings.push(
                        finding.about(&read.id.to_string().into()).remedy("remove one of them; the first one counts"),
                    );
                    continue;
                }
                seen.insert(&read.id, &read.location);
                let entry = match &read.object {
                    Some(object) => Some(Entry {
                        object: Arc::clone(object),
                        path: Arc::clone(&reading.path),
                        fingerprint: read.fingerprint,
                        stale: false,
                    }),
                    None => self.entries.get(&read.id).map(|old| Entry {
                        stale: true,
                        path: Arc::clone(&reading.path),
                        ..old.clone()
                    }),
                };
                entries.extend(entry.map(|entry| (read.id.clone(), entry)));
            }
        }
        let incomplete: Vec<&Arc<str>> =
            readings.iter().filter(|r| r.incomplete).map(|r| &r.path).chain(unreadable).collect();
        for (id, old) in &self.entries {
            let in_doubt = || incomplete.iter().any(|path| Path::new(&*old.path).starts_with(&***path));
            if !seen.contains_key(id) && in_doubt() {
                entries.insert(id.clone(), Entry { stale: true, ..old.clone() });
            }
        }
        Self { entries }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::manifest;

    const GOOD: &str = "{apiVersion: v1, kind: Namespace, metadata: {name: a, labels: {x: y}}}\n";
    const BROKEN: &str = "{apiVersion: v1, kind: Namespace, metadata: {name: a, labels: [x]}}\n";
    const OTHER: &str = "{apiVersion: v1, kind: Namespace, metadata: {name: b}}\n";

    /// Loads (path, text) pairs on top of `before`; the objects as `name` or `name!` if stale, and the findings of the merge.
    fn load(before: &Objects, files: &[(&str, &str)], unreadable: &[&str]) -> (Objects, Vec<String>, Vec<String>) {
        let read = |(path, text): &(&str, &str)| Arc::new(manifest::read(&(*path).into(), text, "cluster.local"));
        let readings: Vec<_> = files.iter().map(read).collect();
        let unreadable: Vec<Arc<str>> = unreadable.iter().map(|path| (*path).into()).collect();
        let mut findings = Vec::new();
        let after = before.merge(&readings, &unreadable, &mut findings);
        let names =
            after.entries.iter().map(|(id, entry)| format!("{}{}", id.name, if entry.stale { "!" } else { "" }));
        let names = names.collect();
        (after, names, findings.iter().map(ToString::to_string).collect())
    }

    fn names(before: &Objects, files: &[(&str, &str)], unreadable: &[&str]) -> Vec<String> {
        load(before, files, unreadable).1
    }

    #[test]
    fn a_broken_object_keeps_its_last_good_state_and_the_others_go_on() {
        let (good, ..) = load(&Objects::default(), &[("f", GOOD)], &[]);
        assert_eq!(names(&good, &[("f", BROKEN), ("g", OTHER)], &[]), ["a!", "b"]);
        assert_eq!(names(&Objects::default(), &[("f", BROKEN)], &[]), Vec::<String>::new());
    }

    #[test]
    fn a_file_that_does_not_parse_keeps_its_objects_and_applies_what_stands_before_the_error() {
        let both = format!("{GOOD}---\n{OTHER}");
        let (good, ..) = load(&Objects::default(), &[("f", &both)], &[]);
        assert_eq!(names(&good, &[("f", &format!("{GOOD}---\na: [\n"))], &[]), ["a", "b!"]);
    }

    #[test]
    fn an_object_that_left_a_good_file_is_removed() {
        let (good, ..) = load(&Objects::default(), &[("f", GOOD), ("g", OTHER)], &[]);
        assert_eq!(names(&good, &[("f", GOOD)], &[]), ["a"]);
        assert_eq!(names(&good, &[("f", ""), ("g", "x: [")], &[]), ["b!"]);
    }

    #[test]
    fn an_unreadable_folder_keeps_the_objects_of_its_files_only() {
        let (good, ..) = load(&Objects::default(), &[("dir/f", GOOD), ("dir2/g", OTHER)], &[]);
        assert_eq!(names(&good, &[], &["dir"]), ["a!"]);
    }

    #[test]
    fn an_object_moves_to_another_file_although_its_old_one_is_broken() {
        let (good, ..) = load(&Objects::default(), &[("f", GOOD)], &[]);
        assert_eq!(names(&good, &[("f", "x: ["), ("g", GOOD)], &[]), ["a"]);
    }

    #[test]
    fn the_second_of_two_equal_objects_is_an_error_and_the_first_counts() {
        let (objects, names, findings) = load(&Objects::default(), &[("f", GOOD), ("g", BROKEN)], &[]);
        assert_eq!(names, ["a"]);
        let expected =
            "g:1:1: error: Namespace a: the same object is already at f:1:1 (remove one of them; the first one counts)";
        assert_eq!(findings, [expected]);
        assert!(objects.stale().next().is_none());
    }
}
