//! What a manifest does to header fields: remove, set, add, in this order (Envoy's `HeaderParser::evaluateHeaders` removes first; Istio lists
//! `set` before `add`).
//!
//! Comes in: a head's fields. Goes out: the same fields, changed where an operation says so, the others in their order. Which operations are
//! allowed at all is `control::validate`'s question. The letter case of fields is the codec's: it remembers how each was written.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{self, Entry},
};

/// Most operations of one kind in one place of a manifest (Envoy's bound for mutations of a mirror), so that a head stays a head.
pub const MAX_OPERATIONS: usize = 1000;

/// Fields that say how a message is framed or belong to one connection: an operation on them would break the message
/// (RFC 9110, 7.6.1; RFC 9112, 6).
const FRAMING: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
];

/// A field with the value that it is given.
pub type Field = (HeaderName, HeaderValue);

/// Operations on header fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderOps {
    /// Fields that go, whatever their values.
    pub remove: Arc<[HeaderName]>,
    /// Fields that get one value instead of those that they have.
    pub set: Arc<[Field]>,
    /// Values that are added to those that are there.
    pub add: Arc<[Field]>,
}

impl HeaderOps {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Does it all, once.
    pub fn apply(&self, headers: &mut HeaderMap) {
        if !self.remove.is_empty() {
            *headers = without(std::mem::take(headers), |name| self.remove.contains(name));
        }
        for (name, value) in self.set.iter() {
            // Keeps the field's place.
            headers.insert(name, value.clone());
        }
        for (name, value) in self.add.iter() {
            headers.append(name, value.clone());
        }
    }
}

/// Whether a field frames a message or belongs to one connection.
#[must_use]
pub fn is_framing(name: &HeaderName) -> bool {
    FRAMING.contains(name)
}

/// The fields that do not go, in their order: removing from a `HeaderMap` itself would reorder it.
#[must_use]
pub fn without(headers: HeaderMap, goes: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    if !headers.keys().any(&goes) {
        return headers;
    }
    let mut kept = HeaderMap::with_capacity(headers.len());
    let mut last: Option<HeaderName> = None;
    for (name, value) in headers {
        // `None` = another value of the field before.
        if let Some(name) = name {
            last = Some(name);
        }
        let Some(name) = &last else { continue };
        if goes(name) {
            continue;
        }
        match kept.entry(name) {
            Entry::Occupied(mut entry) => {
                entry.append(value);
            }
            Entry::Vacant(entry) => {
                entry.insert(value);
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn field(name: &str, value: &str) -> Field {
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
    }

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let (name, value) = field(name, value);
            headers.append(name, value);
        }
        headers
    }

    fn listed(headers: &HeaderMap) -> Vec<(String, String)> {
        headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
    }

    fn ops(remove: &[&str], set: &[(&str, &str)], add: &[(&str, &str)]) -> HeaderOps {
        let fields = |list: &[(&str, &str)]| list.iter().map(|(name, value)| field(name, value)).collect();
        HeaderOps { remove: remove.iter().map(|name| field(name, "").0).collect(), set: fields(set), add: fields(add) }
    }

    fn applied(ops: &HeaderOps, fields: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut headers = map(fields);
        ops.apply(&mut headers);
        listed(&headers)
    }

    fn texts(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// Breaks if `remove` comes last, or if `set` appends.
    #[test]
    fn removed_then_set_then_added() {
        let ops = ops(&["a", "b"], &[("b", "set"), ("c", "set")], &[("b", "more"), ("d", "1"), ("d", "2")]);
        let found = applied(&ops, &[("a", "1"), ("b", "1"), ("b", "2"), ("c", "1"), ("c", "2"), ("e", "1")]);
        let expected = [("c", "set"), ("e", "1"), ("b", "set"), ("b", "more"), ("d", "1"), ("d", "2")];
        assert_eq!(found, texts(&expected));
    }

    /// Breaks if a field is removed by `HeaderMap::remove`, which puts the last field into its place.
    #[test]
    fn what_stays_keeps_its_place() {
        let found = applied(&ops(&["a"], &[("b", "9")], &[]), &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]);
        assert_eq!(found, texts(&[("b", "9"), ("c", "3"), ("d", "4")]));
    }

    proptest! {
        #[test]
        fn fields_that_no_operation_names_are_untouched(
            names in proptest::collection::vec(("[a-f]", "[a-z]{0,3}"), 0..12),
            remove in proptest::collection::vec("[d-f]", 0..3),
            set in proptest::collection::vec(("[d-f]", "[a-z]{0,3}"), 0..3),
        ) {
            let before: Vec<_> = names.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let ops = ops(
                &remove.iter().map(String::as_str).collect::<Vec<_>>(),
                &set.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>(),
                &[],
            );
            let free = |fields: &[(String, String)]| -> Vec<_> {
                fields.iter().filter(|(name, _)| name.as_str() < "d").cloned().collect()
            };
            prop_assert_eq!(free(&applied(&ops, &before)), free(&listed(&map(&before))));
        }
    }
}
