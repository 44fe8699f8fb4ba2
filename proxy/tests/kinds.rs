//! The schemas in `deploy/crds` and the corpus of manifests: what the API server would do with each object. It accepts what we accept, and
//! drops no field, for what it drops we cannot tell anybody about. (A real API server does the same in `cargo xtask e2e`.)
#![expect(clippy::unwrap_used, reason = "in tests, also in their helpers")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use regex::Regex;
use serde::Deserialize as _;
use serde_yaml::{Mapping, Value};

const KEEP: &str = "x-kubernetes-preserve-unknown-fields";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn documents(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    serde_yaml::Deserializer::from_str(&text)
        .map_while(|document| Value::deserialize(document).ok())
        .map(|mut value| {
            let _ = value.apply_merge();
            value
        })
        .collect()
}

struct Kinds(Vec<Value>);

impl Kinds {
    fn load() -> Self {
        let files = ["shadow-policy/shadowpolicies.yaml", "istio/virtualservices.yaml", "istio/destinationrules.yaml"];
        Self(files.iter().flat_map(|file| documents(&root().join("deploy/crds").join(file))).collect())
    }

    /// The schema of an object, if its kind and version are there and served.
    fn schema(&self, object: &Value) -> Option<&Value> {
        let (group, version) = object["apiVersion"].as_str()?.split_once('/')?;
        let definition =
            self.0.iter().find(|it| it["spec"]["group"] == group && it["spec"]["names"]["kind"] == object["kind"])?;
        let versions = definition["spec"]["versions"].as_sequence()?;
        let found = versions.iter().find(|it| it["name"] == version && it["served"] == true)?;
        Some(&found["schema"]["openAPIV3Schema"])
    }
}

/// What an API server says about a value, or drops of it.
fn look(schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    let fits = match schema["type"].as_str() {
        _ if value.is_null() => schema["nullable"] == true,
        Some("object") => value.is_mapping(),
        Some("array") => value.is_sequence(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_bool(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        None if schema["x-kubernetes-int-or-string"] == true => value.is_i64() || value.is_u64() || value.is_string(),
        other => panic!("{path}: a schema of the type {other:?}"),
    };
    if !fits {
        found.push(format!("{path}: wrong type"));
        return;
    }
    let beyond = |bound: &str, over: fn(f64, f64) -> bool, size: Option<f64>| {
        size.zip(schema[bound].as_f64()).is_some_and(|(size, bound)| over(size, bound))
    };
    let items = value.as_sequence().map(|items| items.len() as f64);
    let length = value.as_str().map(|text| text.len() as f64);
    let no_match = schema["pattern"]
        .as_str()
        .zip(value.as_str())
        .is_some_and(|(pattern, text)| !Regex::new(pattern).unwrap().is_match(text));
    let not_listed = schema["enum"].as_sequence().is_some_and(|allowed| !value.is_null() && !allowed.contains(value));
    if beyond("minimum", |a, b| a < b, value.as_f64())
        || beyond("maximum", |a, b| a > b, value.as_f64())
        || beyond("minItems", |a, b| a < b, items)
        || beyond("maxLength", |a, b| a > b, length)
        || no_match
        || not_listed
    {
        found.push(format!("{path}: out of bounds"));
    }
    for required in schema["required"].as_sequence().into_iter().flatten() {
        if value.get(required).is_none() {
            found.push(format!("{path}: lacks {}", required.as_str().unwrap()));
        }
    }
    for (index, item) in value.as_sequence().into_iter().flatten().enumerate() {
        look(&schema["items"], item, &format!("{path}[{index}]"), found);
    }
    for (key, field) in value.as_mapping().into_iter().flatten() {
        let path = format!("{path}.{}", key.as_str().unwrap_or("?"));
        match (schema["properties"].get(key), schema.get("additionalProperties")) {
            // A null is taken for an absent field, as we take it.
            (Some(schema), _) if field.is_null() && schema["nullable"] != true => {}
            (Some(schema), _) | (None, Some(schema)) => look(schema, field, &path, found),
            (None, None) if schema[KEEP] == true => {}
            // The API server's own.
            (None, None) if ["object.apiVersion", "object.kind", "object.metadata"].contains(&&*path) => {}
            (None, None) => found.push(format!("{path}: dropped")),
        }
    }
}

fn verdict(kinds: &Kinds, object: &Value) -> Option<Vec<String>> {
    let mut found = Vec::new();
    look(kinds.schema(object)?, object, "object", &mut found);
    Some(found)
}

/// Every object of the corpus that is of one of the kinds, with the name of its file.
fn corpus(folder: &str) -> Vec<(String, Value)> {
    let mut objects = Vec::new();
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "yaml" && end != "json") {
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        for document in documents(&path) {
            match document["items"].as_sequence() {
                Some(items) => objects.extend(items.iter().map(|item| (name.clone(), item.clone()))),
                None => objects.push((name.clone(), document)),
            }
        }
    }
    objects
}

/// Mutation that breaks it: a `required`, a bound or a type that Istio or our parser does not have (weight as a string; `required: [subset]`).
#[test]
fn what_we_accept_the_api_server_accepts() {
    let kinds = Kinds::load();
    let objects =
        [corpus("tests/fixtures/manifests/valid"), corpus("tests/fixtures/mirror"), corpus("deploy/example")].concat();
    let looked: Vec<_> = objects.iter().filter_map(|(name, it)| Some((name, verdict(&kinds, it)?))).collect();
    assert!(looked.len() >= 30, "only {} objects", looked.len());
    let refused: Vec<_> = looked.iter().filter(|(_, found)| !found.is_empty()).collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

/// Mutation that breaks it: leaving `x-kubernetes-preserve-unknown-fields` out of any object of a schema.
#[test]
fn no_field_is_dropped_before_we_have_seen_it() {
    let kinds = Kinds::load();
    let objects = corpus("tests/fixtures/manifests/invalid");
    let looked: Vec<_> = objects.iter().filter_map(|(name, it)| Some((name, verdict(&kinds, it)?))).collect();
    assert!(looked.len() >= 70, "only {} objects", looked.len());
    let dropped: Vec<_> =
        looked.iter().filter(|(_, found)| found.iter().any(|finding| finding.ends_with("dropped"))).collect();
    assert!(dropped.is_empty(), "{dropped:#?}");
    for definition in &kinds.0 {
        for version in definition["spec"]["versions"].as_sequence().unwrap() {
            let path =
                format!("{} {}", definition["metadata"]["name"].as_str().unwrap(), version["name"].as_str().unwrap());
            keeps(&version["schema"]["openAPIV3Schema"], &path);
        }
    }
}

/// Every object with named fields keeps the others. (What stands in a status is written by us.)
fn keeps(schema: &Value, path: &str) {
    let none = Mapping::new();
    let fields = schema["properties"].as_mapping().unwrap_or(&none);
    assert!(fields.is_empty() || schema[KEEP] == true, "{path} drops what it does not know");
    for (name, field) in fields {
        if name != "status" {
            keeps(field, &format!("{path}.{}", name.as_str().unwrap()));
        }
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(schema) = schema.get(inner) {
            keeps(schema, &format!("{path}.{inner}"));
        }
    }
}

/// What users are told at once, when they apply it. Mutation that breaks it: leaving the bound out.
#[test]
fn a_policy_that_cannot_be_meant_is_refused_at_once() {
    let kinds = Kinds::load();
    let refused = |spec: &str| {
        let text = format!("{{apiVersion: understudy.dev/v1alpha1, kind: ShadowPolicy, spec: {spec}}}");
        !verdict(&kinds, &serde_yaml::from_str(&text).unwrap()).unwrap().is_empty()
    };
    let with = |field: &str| format!("{{targetRefs: [{{kind: Service, name: x}}], {field}}}");
    assert!(!refused(&with("timeout: 1m30s, bufferBytes: 65536, dscp: 0, hostSuffix: ''")));
    assert!(refused("{}"), "no target");
    assert!(refused("{targetRefs: []}"), "no target");
    for field in [
        "timeout: soon",
        "timeout: 10",
        "maxConcurrent: 0",
        "bufferBytes: 1x",
        "methods: []",
        "dscp: 64",
        "hostSuffix: a/b",
        "headers: {remove: authorization}",
    ] {
        assert!(refused(&with(field)), "{field}");
    }
}

/// Mutation that breaks it: a version that is not served, or two that are stored.
#[test]
fn every_version_is_served_and_one_is_stored() {
    let kinds = Kinds::load();
    for kind in ["VirtualService", "DestinationRule"] {
        for version in ["v1", "v1beta1", "v1alpha3"] {
            let text = format!("{{apiVersion: networking.istio.io/{version}, kind: {kind}}}");
            assert!(kinds.schema(&serde_yaml::from_str(&text).unwrap()).is_some(), "{text}");
        }
    }
    for definition in &kinds.0 {
        let versions = definition["spec"]["versions"].as_sequence().unwrap();
        assert_eq!(versions.iter().filter(|it| it["storage"] == true).count(), 1);
        assert!(versions.iter().all(|it| it["subresources"].get("status").is_some()));
    }
}
