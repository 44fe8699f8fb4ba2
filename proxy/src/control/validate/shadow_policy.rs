//! A ShadowPolicy.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_yaml::Value;

use super::header_ops;
use crate::{
    control::{
        manifest::{
            native::{ShadowPolicy as Wire, TargetRef},
            path::FieldPath,
            quantity,
            reporter::Reporter,
        },
        model::{ObjectId, PolicyTarget, ShadowPolicy},
    },
    net::Dscp,
    route::{Methods, SampleBy, header_ops::Field},
};

/// Checks a ShadowPolicy.
pub(super) fn check(id: &ObjectId, wire: Wire, reporter: &mut Reporter<'_>) -> Option<ShadowPolicy> {
    let spec = wire.spec;
    let path = FieldPath::from("spec.targetRefs");
    if spec.target_refs.is_empty() {
        reporter.error_at_key(
            &"spec".into(),
            "`targetRefs` is missing",
            "name the VirtualService or Service that it is for",
        );
    }
    let mut targets = Vec::with_capacity(spec.target_refs.len());
    for (index, target) in spec.target_refs.into_iter().enumerate() {
        let path = path.index(index);
        targets.extend(self::target(target, &path, reporter).map(|target| (target, reporter.key(&path))));
    }

    Some(ShadowPolicy {
        namespace: id.namespace.clone(),
        name: id.name.clone(),
        created: wire.metadata.creation_timestamp.into(),
        targets,
        host_suffix: spec.host_suffix.inspect(|suffix| host_suffix(suffix, reporter)),
        timeout: spec.timeout.and_then(|text| timeout(&text, reporter)),
        max_concurrent: spec.max_concurrent.inspect(|most| max_concurrent(*most, reporter)),
        buffer_bytes: spec.buffer_bytes.and_then(|value| buffer_bytes(&value, reporter)),
        methods: spec.methods.and_then(|names| methods(&names, reporter)),
        remove_headers: spec.headers.remove.map(|names| {
            header_ops::removed(&names, &"spec.headers.remove".into(), reporter, header_ops::of_shadow).into()
        }),
        set_headers: spec.headers.set.map(|set| fields(&set, "spec.headers.set", reporter)),
        add_headers: spec.headers.add.map(|add| fields(&add, "spec.headers.add", reporter)),
        sampling: spec.sampling.by.and_then(|text| sampling(&text, reporter)),
        dscp: spec.dscp.and_then(|number| dscp(number, reporter)),
    })
}

fn host_suffix(suffix: &str, reporter: &mut Reporter<'_>) {
    if !suffix.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.') || suffix.len() > 63 {
        let message = format!("`{suffix}` cannot be part of a host name");
        reporter.error(&"spec.hostSuffix".into(), message, "use at most 63 letters, digits, `-` and `.`");
    }
}

fn timeout(text: &str, reporter: &mut Reporter<'_>) -> Option<Duration> {
    let timeout = quantity::duration(text).filter(|timeout| !timeout.is_zero());
    if timeout.is_none() {
        let message = format!("`{text}` is not a duration above 0");
        reporter.error(&"spec.timeout".into(), message, "write it like `10s` or `1m30s`");
    }
    timeout
}

fn max_concurrent(most: u32, reporter: &mut Reporter<'_>) {
    if most == 0 {
        reporter.error(&"spec.maxConcurrent".into(), "`maxConcurrent: 0` would drop every shadow", "write at least 1");
    }
}

fn buffer_bytes(value: &Value, reporter: &mut Reporter<'_>) -> Option<usize> {
    let bytes = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => quantity::bytes(text),
        _ => None,
    };
    let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
    if bytes.is_none() {
        let message = "`bufferBytes` is not a number of bytes";
        reporter.error(&"spec.bufferBytes".into(), message, "write it like `1Mi` or `65536`");
    }
    bytes
}

fn methods(names: &[String], reporter: &mut Reporter<'_>) -> Option<Methods> {
    let path = FieldPath::from("spec.methods");
    let wrong = match Methods::from_words(names.iter().map(String::as_str)) {
        Ok(methods) => return Some(methods),
        Err(wrong) => wrong,
    };
    match names.iter().position(|name| *name == wrong) {
        Some(index) => {
            let remedy = "write names like `GET` in upper case, or `*` for all";
            reporter.error(&path.index(index), format!("`{wrong}` is not a method"), remedy);
        }
        None => reporter.error_at_key(
            &path,
            "`methods` is empty: nothing would be mirrored",
            "name methods, or write `*` for all",
        ),
    }
    None
}

fn fields(fields: &BTreeMap<String, String>, path: &str, reporter: &mut Reporter<'_>) -> Arc<[Field]> {
    header_ops::fields(fields, &path.into(), reporter, header_ops::of_shadow).into()
}

fn sampling(text: &str, reporter: &mut Reporter<'_>) -> Option<SampleBy> {
    let parsed = text.parse();
    if let Err(problem) = &parsed {
        reporter.error(
            &"spec.sampling.by".into(),
            format!("`{text}` is not a key of a sample: {problem}"),
            "write it like `request` or `header:x-user`",
        );
    }
    parsed.ok()
}

fn dscp(number: u32, reporter: &mut Reporter<'_>) -> Option<Dscp> {
    let dscp = Dscp::new(number);
    if dscp.is_none() {
        let message = format!("{number} is not a code point");
        reporter.error(&"spec.dscp".into(), message, "write 0 (leave as it is) to 63");
    }
    dscp
}

fn target(wire: TargetRef, path: &FieldPath, reporter: &mut Reporter<'_>) -> Option<PolicyTarget> {
    match (&*wire.group, &*wire.kind) {
        ("networking.istio.io", "VirtualService") => Some(PolicyTarget::VirtualService(wire.name, wire.section_name)),
        ("" | "core", "Service") if wire.section_name.is_none() => Some(PolicyTarget::Service(wire.name)),
        ("" | "core", "Service") => {
            reporter.error_at_key(
                &path.key("sectionName"),
                "a Service has no sections",
                "name the VirtualService, or remove it",
            );
            None
        }
        (group, kind) => {
            let message = format!("a policy cannot be for a `{kind}` of the group `{group}`");
            reporter.error(&path.key("kind"), message, "name a VirtualService of networking.istio.io or a Service");
            None
        }
    }
}
