//! Labels of a pod, or labels that pods are asked for.
//!
//! Comes in: names with values. Goes out: the value of a name. Never: a change once they are made; copies share them.

use std::{collections::BTreeMap, sync::Arc};

/// Names and values, in the order of the names. There are few in a set and many sets, so that a set is one piece of memory as large as
/// what is in it (a node of a `BTreeMap` has room for eleven pairs).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Arc<[(Box<str>, Box<str>)]>);

impl Labels {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every name with its value, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let index = self.0.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        Some(&self.0[index].1)
    }

    /// Whether all that is wanted is among these.
    #[must_use]
    pub fn include(&self, wanted: &Self) -> bool {
        wanted.iter().all(|(name, value)| self.get(name) == Some(value))
    }
}

impl From<BTreeMap<String, String>> for Labels {
    fn from(labels: BTreeMap<String, String>) -> Self {
        Self(labels.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>().into()
    }

    #[test]
    fn a_name_has_its_value_and_others_have_none() {
        let labels = labels(&[("version", "v1"), ("app", "web"), ("b", "")]);
        assert_eq!(labels.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["app", "b", "version"]);
        assert_eq!([labels.get("app"), labels.get("b"), labels.get("version")], [Some("web"), Some(""), Some("v1")]);
        assert_eq!([labels.get(""), labels.get("a"), labels.get("z")], [None; 3]);
    }

    #[test]
    fn all_that_is_wanted_must_be_there_with_its_value() {
        let has = labels(&[("app", "web"), ("version", "v1")]);
        assert!(has.include(&Labels::default()) && has.include(&labels(&[("version", "v1")])) && has.include(&has));
        assert!(!has.include(&labels(&[("version", "v2")])) && !has.include(&labels(&[("app", "web"), ("x", "")])));
        assert!(!Labels::default().include(&has));
    }
}
