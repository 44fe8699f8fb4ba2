//! From an untyped value to a wire struct, with a finding for each field that the struct does not take.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_yaml::Value;

use super::{
    fields::{self, Support, Verdict},
    nulls,
    path::{FieldPath, Step},
    reporter::Reporter,
};
use crate::control::model::Kind;

/// Decodes an object. `None` if a type does not fit; other errors only show in the reporter.
#[must_use]
pub fn decode<T: DeserializeOwned>(kind: Kind, mut value: Value, reporter: &mut Reporter<'_>) -> Option<T> {
    let checked = matches!(kind, Kind::VirtualService | Kind::DestinationRule | Kind::ShadowPolicy);
    if checked {
        nulls::strip(&mut value, &FieldPath::default(), &mut |path| {
            if path.0.first() == Some(&Step::Key("spec".into())) {
                reporter.error_at_key(path, format!("`{path}` is null"), "give it a value or remove it");
            }
        });
        if reporter.broken() {
            return None;
        }
    } else {
        nulls::strip_silently(&mut value);
    }
    // Values of fields that may turn out to be ignored: only their emptiness counts.
    let original = checked.then(|| value.clone());
    let mut ignored = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(value, &mut track);
    let decoded = serde_ignored::deserialize(tracked, |path| {
        if checked {
            ignored.push(FieldPath::from(&path));
        }
    });
    for path in ignored {
        judge(kind, &path, original.as_ref().and_then(|root| at(root, &path)), reporter);
    }
    match decoded {
        Ok(decoded) => Some(decoded),
        Err(error) => {
            report_type_error(&FieldPath::from(&track.path()), &error.to_string(), reporter);
            None
        }
    }
}

fn judge(kind: Kind, path: &FieldPath, value: Option<&Value>, reporter: &mut Reporter<'_>) {
    let empty = match value {
        Some(Value::Mapping(fields)) => fields.is_empty(),
        Some(Value::Sequence(items)) => items.is_empty(),
        _ => false,
    };
    match fields::verdict(kind, path) {
        Verdict::Ignored => {}
        Verdict::Known(Support::ChangesIfFilled) if empty => {}
        Verdict::Known(Support::Tunes) => {
            reporter.warning(path, format!("`{path}` is not supported and has no effect"), "");
        }
        Verdict::Known(_) => {
            let message = format!("`{path}` is not supported, and without it requests would not go as it says");
            reporter.error_at_key(path, message, "remove it");
        }
        Verdict::Unknown(remedy) => {
            let name = path.last_key().unwrap_or_default();
            reporter.error_at_key(path, format!("unknown field `{name}`"), &remedy);
        }
    }
}

fn report_type_error(path: &FieldPath, message: &str, reporter: &mut Reporter<'_>) {
    let mut message = message.to_owned();
    for (rust, plain) in [
        ("unit value", "nothing"),
        ("a sequence", "a list"),
        ("sequence", "a list"),
        ("expected f64", "expected a number"),
        ("expected u32", "expected a whole number"),
        ("expected u16", "expected a port number"),
        ("expected i32", "expected a whole number"),
        ("expected a map", "expected an object"),
        ("invalid type: map", "invalid type: an object"),
    ] {
        message = message.replace(rust, plain);
    }
    if let Some((before, after)) = message.split_once("expected struct ") {
        let after = after.split_once(' ').map(|(_, rest)| format!(" {rest}")).unwrap_or_default();
        message = format!("{before}expected an object{after}");
    }
    let message = if path.0.is_empty() { message } else { format!("`{path}`: {message}") };
    if message.contains("missing field") {
        reporter.error_at_key(path, message, "");
    } else {
        reporter.error(path, message, "");
    }
}

fn at<'a>(root: &'a Value, path: &FieldPath) -> Option<&'a Value> {
    path.0.iter().try_fold(root, |value, step| match step {
        Step::Key(key) => value.get(&**key),
        Step::Index(index) => value.get(*index),
    })
}

/// `metadata`, as far as we use it.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// Unique for the life of the cluster.
    pub uid: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// RFC 3339, UTC.
    pub creation_timestamp: String,
    /// Set while the object is being deleted.
    pub deletion_timestamp: Option<String>,
}
