//! Wire form of our own kind, `understudy.dev/v1alpha1`. What is not here is judged by [`super::fields`].

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_yaml::Value;

use super::decode::Meta;

/// A ShadowPolicy.
#[derive(Debug, Deserialize)]
pub struct ShadowPolicy {
    /// Its age.
    #[serde(default)]
    pub metadata: Meta,
    /// How shadows behave.
    pub spec: ShadowPolicySpec,
}

/// `spec` of a ShadowPolicy.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ShadowPolicySpec {
    /// To what it applies.
    pub target_refs: Vec<TargetRef>,
    /// Appended to the Host.
    pub host_suffix: Option<Box<str>>,
    /// `10s`.
    pub timeout: Option<String>,
    /// Per mirror and node.
    pub max_concurrent: Option<u32>,
    /// `1Mi`, or a number.
    pub buffer_bytes: Option<Value>,
    /// `GET`, or `*` for all.
    pub methods: Option<Vec<String>>,
    /// What happens to a shadow's fields.
    pub headers: Headers,
    /// What a sample is a sample of.
    pub sampling: Sampling,
    /// 0 to 63.
    pub dscp: Option<u32>,
}

/// `spec.headers`: what is absent is left to the next policy.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Headers {
    /// Fields that get one value.
    pub set: Option<BTreeMap<String, String>>,
    /// Values that are added.
    pub add: Option<BTreeMap<String, String>>,
    /// Fields that go.
    pub remove: Option<Vec<String>>,
}

/// `spec.sampling`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Sampling {
    /// `request`, `connection`, `sourceIP`, `header:NAME` or `cookie:NAME`.
    pub by: Option<String>,
}

/// `spec.targetRefs[]`, in the policy's namespace.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetRef {
    /// API group, empty for a Service.
    #[serde(default)]
    pub group: String,
    /// VirtualService or Service.
    pub kind: String,
    /// Its name.
    pub name: Box<str>,
    /// A rule of a VirtualService, by its name.
    pub section_name: Option<Box<str>>,
}
