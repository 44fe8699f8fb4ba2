//! Our own kind.

use std::{sync::Arc, time::Duration};

use http::HeaderName;

use crate::{
    control::diagnostic::Location,
    net::Dscp,
    route::{Methods, SampleBy, header_ops::Field},
};

/// What a policy may be attached to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PolicyTarget {
    /// A VirtualService by name, or one of its rules by the rule's name.
    VirtualService(Box<str>, Option<Box<str>>),
    /// A Service by name.
    Service(Box<str>),
}

/// A ShadowPolicy; what is absent is left to the policy of the next wider target, and at last to the process's settings.
#[derive(Clone, Debug)]
pub struct ShadowPolicy {
    /// Its namespace, which is that of its targets.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// `metadata.creationTimestamp`, or empty.
    pub created: Box<str>,
    /// `spec.targetRefs`, and where they are written.
    pub targets: Vec<(PolicyTarget, Location)>,
    /// `spec.hostSuffix`.
    pub host_suffix: Option<Box<str>>,
    /// `spec.timeout`.
    pub timeout: Option<Duration>,
    /// `spec.maxConcurrent`.
    pub max_concurrent: Option<u32>,
    /// `spec.bufferBytes`.
    pub buffer_bytes: Option<usize>,
    /// `spec.methods`.
    pub methods: Option<Methods>,
    /// `spec.headers.remove`.
    pub remove_headers: Option<Arc<[HeaderName]>>,
    /// `spec.headers.set`.
    pub set_headers: Option<Arc<[Field]>>,
    /// `spec.headers.add`.
    pub add_headers: Option<Arc<[Field]>>,
    /// `spec.sampling.by`.
    pub sampling: Option<SampleBy>,
    /// `spec.dscp`.
    pub dscp: Option<Dscp>,
}
