//! `null` means absent, as it does for the Kubernetes API.

use serde_yaml::Value;

use super::path::{FieldPath, Step};

/// Takes fields without a value out of every mapping, and reports elements of sequences that have none. A condition on a header without
/// a value is reported as well, because leaving it out would make the rule match more; and so is a header that is set to nothing.
pub(super) fn strip(value: &mut Value, path: &FieldPath, report: &mut dyn FnMut(&FieldPath)) {
    match value {
        Value::Mapping(fields) => {
            let in_match = path.0.contains(&Step::Key("match".into()));
            let conditions = match path.last_key() {
                Some("headers" | "withoutHeaders" | "queryParams") => in_match,
                Some("set" | "add") => !in_match,
                _ => false,
            };
            fields.retain(|key, value| {
                let absent = value.is_null();
                if absent && conditions {
                    report(&path.key(key.as_str().unwrap_or_default()));
                }
                !absent
            });
            for (key, value) in fields {
                strip(value, &path.key(key.as_str().unwrap_or_default()), report);
            }
        }
        Value::Sequence(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                let path = path.index(index);
                if item.is_null() {
                    report(&path);
                }
                strip(item, &path, report);
            }
        }
        _ => {}
    }
}

/// The same for objects whose fields we do not check.
pub(super) fn strip_silently(value: &mut Value) {
    match value {
        Value::Mapping(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(strip_silently);
        }
        Value::Sequence(items) => {
            items.retain(|item| !item.is_null());
            items.iter_mut().for_each(strip_silently);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_without_a_value_go_and_elements_without_one_are_reported() {
        let mut value =
            serde_yaml::from_str("spec: {a: null, b: [1, ~], match: [{headers: {x: null, y: {}}}]}").unwrap();
        let mut reported = Vec::new();
        strip(&mut value, &FieldPath::default(), &mut |path| reported.push(path.to_string()));
        assert_eq!(value, serde_yaml::from_str::<Value>("spec: {b: [1, ~], match: [{headers: {y: {}}}]}").unwrap());
        assert_eq!(reported, ["spec.b[1]", "spec.match[0].headers.x"]);
    }
}
