//! Operations on header fields: which names and values they may have.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue, header};

use crate::{
    control::manifest::{path::FieldPath, reporter::Reporter},
    route::header_ops::{Field, MAX_OPERATIONS, is_framing},
    shadow,
};

/// A field of a shadow that an operation may name.
///
/// # Errors
/// Why it may not.
pub fn of_shadow(name: &str) -> Result<HeaderName, &'static str> {
    match any(name)? {
        name if name == header::HOST => Err("a shadow's Host is that of its request with the suffix; see `hostSuffix`"),
        name if name == shadow::MARKER => Err("it marks shadows, so that they are not mirrored again"),
        name => Ok(name),
    }
}

/// A field that an operation may name, or the Host.
///
/// # Errors
/// Why it may not.
pub(super) fn any(name: &str) -> Result<HeaderName, &'static str> {
    if name.starts_with(':') {
        return Err("names that begin with `:` are no header fields");
    }
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "it cannot be the name of a header field")?;
    if is_framing(&name) {
        return Err("it frames the message or belongs to one connection, which is the proxy's business");
    }
    Ok(name)
}

/// Names that are removed.
pub(super) fn removed(
    names: &[String],
    path: &FieldPath,
    reporter: &mut Reporter<'_>,
    allowed: impl Fn(&str) -> Result<HeaderName, &'static str>,
) -> Vec<HeaderName> {
    bounded(names.len(), path, reporter);
    let mut removed = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        match allowed(name) {
            Ok(name) => removed.push(name),
            Err(problem) => reporter.error(&path.index(index), format!("`{name}` cannot be removed: {problem}"), ""),
        }
    }
    removed
}

/// Fields that are set or added, in the order of their names.
pub(super) fn fields(
    fields: &BTreeMap<String, String>,
    path: &FieldPath,
    reporter: &mut Reporter<'_>,
    allowed: impl Fn(&str) -> Result<HeaderName, &'static str>,
) -> Vec<Field> {
    bounded(fields.len(), path, reporter);
    let mut found: Vec<Field> = Vec::with_capacity(fields.len());
    for (name, value) in fields {
        let path = path.key(name);
        let name = match allowed(name) {
            Ok(name) => name,
            Err(problem) => {
                reporter.error_at_key(&path, format!("`{name}` cannot be changed: {problem}"), "");
                continue;
            }
        };
        if found.iter().any(|(other, _)| *other == name) {
            reporter.error_at_key(&path, format!("`{name}` is there twice: letter case does not count"), "keep one");
        }
        match HeaderValue::from_bytes(value.as_bytes()) {
            Ok(value) => found.push((name, value)),
            Err(_) => {
                reporter.error(&path, format!("the value of `{name}` has characters that no header may have"), "")
            }
        }
    }
    found
}

fn bounded(count: usize, path: &FieldPath, reporter: &mut Reporter<'_>) {
    if count > MAX_OPERATIONS {
        reporter.error_at_key(
            path,
            format!("`{path}` has {count} entries"),
            &format!("at most {MAX_OPERATIONS} are allowed"),
        );
    }
}
