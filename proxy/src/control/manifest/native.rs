//! Wire form of our own kind, `understudy.dev/v1alpha1`. What is not here is judged by [`super::fields`].

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
