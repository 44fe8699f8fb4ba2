//! A ShadowPolicy.

use serde_yaml::Value;

use crate::control::{
    manifest::{
        native::{ShadowPolicy as Wire, TargetRef},
        path::FieldPath,
        quantity,
        reporter::Reporter,
    },
    model::{ObjectId, PolicyTarget, ShadowPolicy},
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

    let host_suffix = spec.host_suffix.inspect(|suffix| {
        if !suffix.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.') || suffix.len() > 63
        {
            let message = format!("`{suffix}` cannot be part of a host name");
            reporter.error(&"spec.hostSuffix".into(), message, "use at most 63 letters, digits, `-` and `.`");
        }
    });
    let timeout = spec.timeout.and_then(|text| {
        let timeout = quantity::duration(&text).filter(|timeout| !timeout.is_zero());
        if timeout.is_none() {
            reporter.error(
                &"spec.timeout".into(),
                format!("`{text}` is not a duration above 0"),
                "write it like `10s` or `1m30s`",
            );
        }
        timeout
    });
    if spec.max_concurrent == Some(0) {
        reporter.error(&"spec.maxConcurrent".into(), "`maxConcurrent: 0` would drop every shadow", "write at least 1");
    }
    let buffer_bytes = spec.buffer_bytes.and_then(|value| {
        let bytes = match &value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => quantity::bytes(text),
            _ => None,
        };
        let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
        if bytes.is_none() {
            reporter.error(
                &"spec.bufferBytes".into(),
                "`bufferBytes` is not a number of bytes",
                "write it like `1Mi` or `65536`",
            );
        }
        bytes
    });
    Some(ShadowPolicy {
        namespace: id.namespace.clone(),
        name: id.name.clone(),
        created: wire.metadata.creation_timestamp.into(),
        targets,
        host_suffix,
        timeout,
        max_concurrent: spec.max_concurrent,
        buffer_bytes,
    })
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
