//! Manifests: text to typed objects.
//!
//! Comes in: the content of a file. Goes out: for each object that it names, its model form or the fact that it is broken; and findings
//! with line and column. Never: other files, older states (see `objects`), panics.

pub mod core;
pub mod decode;
pub mod fields;
pub mod istio;
pub mod native;
mod nulls;
pub mod path;
pub mod position;
pub mod quantity;
pub mod reporter;
pub mod spelling;
pub mod text;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use serde_yaml::Value;

use self::{
    path::FieldPath,
    reporter::{Places, Reporter, Source},
};
use super::{
    diagnostic::{Diagnostic, Location},
    model::{Kind, Object, ObjectId},
    validate,
};

/// What a file says.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The file.
    pub path: Arc<str>,
    /// Its objects, in order.
    pub objects: Vec<ReadObject>,
    /// Part of the file could not be understood: it may have held any of its former objects.
    pub incomplete: bool,
    /// What there is to say about it.
    pub findings: Vec<Diagnostic>,
}

/// One object of a file.
#[derive(Clone, Debug)]
pub struct ReadObject {
    /// Which one.
    pub id: ObjectId,
    /// Where it begins.
    pub location: Location,
    /// Its content, unless it is broken.
    pub object: Option<Arc<Object>>,
    /// Changes when its content does.
    pub fingerprint: u64,
}

/// Reads a file.
#[must_use]
pub fn read(path: &Arc<str>, text: &str, cluster_domain: &str) -> Reading {
    let source = Source::new(path, text);
    let mut reader = Reader {
        places: &source,
        cluster_domain,
        namespace: "".into(),
        reading: Reading { path: Arc::clone(path), objects: Vec::new(), incomplete: false, findings: Vec::new() },
    };
    for document in text::documents(&source) {
        match document {
            Ok((number, value)) => reader.object(number, FieldPath::default(), value, None),
            Err(error) => {
                reader.reading.incomplete = true;
                reader.reading.findings.push(error);
            }
        }
    }
    // It is kept for as long as the file stays as it is.
    reader.reading.objects.shrink_to_fit();
    reader.reading
}

struct Reader<'a> {
    places: &'a dyn Places,
    cluster_domain: &'a str,
    /// Of the last object: its neighbours are mostly of the same one.
    namespace: Arc<str>,
    reading: Reading,
}

/// Takes the elements out of a list of a kind (empty: of any). `null` and absent are empty, as Go writes and reads them.
fn list_items(of: &str, value: &mut Value) -> Option<Vec<Value>> {
    match value.get_mut("items") {
        Some(Value::Sequence(items)) => Some(std::mem::take(items)),
        None | Some(Value::Null) if of.is_empty() || Kind::ALL.iter().any(|(_, _, kind)| *kind == of) => {
            Some(Vec::new())
        }
        _ => None,
    }
}

/// Group and kind of the items of a typed list, which do not repeat them.
type ListOf = Option<(String, String)>;

impl Reader<'_> {
    fn object(&mut self, document: usize, base: FieldPath, mut value: Value, list_of: ListOf) {
        let Some((group, kind)) = self.group_and_kind(document, &base, &value, list_of) else { return };
        if let Some(items) = kind.strip_suffix("List")
            && let Some(values) = list_items(items, &mut value)
        {
            let list_of = (!items.is_empty()).then(|| (group.clone(), items.to_owned()));
            let path = base.key("items");
            for (index, item) in values.into_iter().enumerate() {
                self.object(document, path.index(index), item, list_of.clone());
            }
            return;
        }
        let known = Kind::ALL.iter().find(|(_, g, k)| *g == group.split('/').next().unwrap_or_default() && *k == kind);
        let Some((kind, ..)) = known else { return self.ignored(document, &base, &group, &kind) };
        self.known(document, base, value, *kind, &group);
    }

    /// An object of a kind that we use. `group` still has its version.
    fn known(&mut self, document: usize, base: FieldPath, value: Value, kind: Kind, group: &str) {
        let field = |name: &str| value.get("metadata").and_then(|meta| meta.get(name)).and_then(Value::as_str);
        let name = field("name").filter(|name| !name.is_empty());
        let namespace = if kind == Kind::Namespace {
            ""
        } else {
            field("namespace").filter(|ns| !ns.is_empty()).unwrap_or("default")
        };
        let Some(name) = name else {
            let mut reporter = self.reporter(document, base, None);
            let path = if value.get("metadata").is_some() { "metadata" } else { "kind" };
            reporter.error_at_key(
                &path.into(),
                format!("this {} has no `metadata.name`", kind.as_str()),
                "give it one",
            );
            self.reading.incomplete = true;
            return;
        };
        if *self.namespace != *namespace {
            self.namespace = namespace.into();
        }
        let id = ObjectId { kind, namespace: Arc::clone(&self.namespace), name: name.into() };
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        let cluster_domain = self.cluster_domain;
        let mut reporter = self.reporter(document, base, Some(id.to_string().into()));
        let location = reporter.key(&FieldPath::default());
        let object = if kind == Kind::ShadowPolicy && group != "understudy.dev/v1alpha1" {
            let message = format!("`{group}` is not a version of ShadowPolicy that we know");
            reporter.error(&"apiVersion".into(), message, "write `understudy.dev/v1alpha1`");
            None
        } else {
            validate::object(&id, value, cluster_domain, &mut reporter)
        };
        let object = object.map(Arc::new);
        self.reading.objects.push(ReadObject { id, location, object, fingerprint: hasher.finish() });
    }

    /// `group/version` (or `v1`: the empty group) without the version for core kinds, and the kind.
    fn group_and_kind(&mut self, document: usize, base: &FieldPath, value: &Value, list_of: ListOf) -> ListOf {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let found = match (text("apiVersion"), text("kind")) {
            (Some(version), Some(kind)) => {
                let group = if version.contains('/') { version } else { "" };
                Some((group.to_owned(), kind.to_owned()))
            }
            (None, None) if value.is_mapping() => list_of,
            _ => None,
        };
        if found.is_none() {
            let message = match (value.is_mapping(), value.get("kind").is_some()) {
                (false, _) => "this is not a Kubernetes object",
                (true, false) => "this object has no `kind`",
                (true, true) => "this object has no `apiVersion`, or its `kind` is not a text",
            };
            self.reporter(document, base.clone(), None).error_at_key(
                &FieldPath::default(),
                message,
                "write `apiVersion` and `kind`",
            );
            self.reading.incomplete = true;
        }
        found
    }

    fn ignored(&mut self, document: usize, base: &FieldPath, group: &str, kind: &str) {
        let group = group.split('/').next().unwrap_or_default();
        let of = if group.is_empty() { String::new() } else { format!(" of {group}") };
        let near = spelling::closest(kind, Kind::ALL.iter().map(|(_, _, kind)| *kind));
        let remedy = match Kind::ALL.iter().find(|(_, _, known)| near == Some(known)) {
            Some((_, ours, known)) if *known == kind && !ours.is_empty() => format!("ours is of {ours}"),
            Some((_, _, known)) if *known != kind => format!("did you mean `{known}`?"),
            _ => String::new(),
        };
        let mut reporter = self.reporter(document, base.clone(), None);
        reporter.warning(&"kind".into(), format!("{kind}{of} is not a kind that we use; it is ignored"), &remedy);
    }

    fn reporter(&mut self, document: usize, base: FieldPath, object: Option<Arc<str>>) -> Reporter<'_> {
        Reporter::new(self.places, document, base, object, &mut self.reading.findings)
    }
}
