//! What is watched, by name.
//!
//! Comes in: nothing. Goes out: for each watch, the resource, the part of it, and whether its metadata is enough. Never: connections.

use std::{collections::BTreeSet, fmt, sync::Arc};

use kube::{
    core::{ApiResource, GroupVersionKind},
    runtime::watcher,
};

/// A kind that a CustomResourceDefinition brings, and that may not be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Custom {
    VirtualServices,
    DestinationRules,
    ShadowPolicies,
}

impl Custom {
    pub(super) const ALL: [Self; 3] = [Self::VirtualServices, Self::DestinationRules, Self::ShadowPolicies];

    pub(super) fn group(self) -> &'static str {
        match self {
            Self::VirtualServices | Self::DestinationRules => "networking.istio.io",
            Self::ShadowPolicies => "understudy.dev",
        }
    }

    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::VirtualServices => "VirtualService",
            Self::DestinationRules => "DestinationRule",
            Self::ShadowPolicies => "ShadowPolicy",
        }
    }

    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::VirtualServices => "virtualservices",
            Self::DestinationRules => "destinationrules",
            Self::ShadowPolicies => "shadowpolicies",
        }
    }

    /// The name of its CustomResourceDefinition.
    pub(super) fn definition(self) -> String {
        format!("{}.{}", self.plural(), self.group())
    }

    /// The versions that we read, the best first: Istio's mean the same.
    pub(super) fn versions(self) -> &'static [&'static str] {
        match self {
            Self::VirtualServices | Self::DestinationRules => &["v1", "v1beta1", "v1alpha3"],
            Self::ShadowPolicies => &["v1alpha1"],
        }
    }

    pub(super) fn resource(self, version: &str) -> ApiResource {
        let kind = GroupVersionKind::gvk(self.group(), version, self.kind());
        ApiResource::from_gvk_with_plural(&kind, self.plural())
    }
}

/// One watch. Two with the same name show the same objects, so a name that changes is another watch.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Watch {
    /// Objects of a kind that may not be there.
    Custom(Custom),
    /// Namespaces that say something about capture.
    Namespaces,
    /// The pods of our node.
    Pods { node: Arc<str> },
    /// Services of a namespace, or of all; one of them, or all.
    Services { namespace: Option<Arc<str>>, only: Option<Arc<str>> },
    /// Endpoints of these Services of a namespace, or of all.
    Slices { namespace: Option<Arc<str>>, services: Option<BTreeSet<Arc<str>>> },
    /// Labels of the pods that a Service selects, which are among those with one of these values.
    Labels { namespace: Arc<str>, key: Arc<str>, values: BTreeSet<Arc<str>> },
}

/// The label by which a slice belongs to a Service.
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";
const CAPTURE: &str = "understudy.dev/capture";

impl Watch {
    /// What is always watched.
    pub(super) fn first(node: &Arc<str>) -> BTreeSet<Self> {
        let custom = Custom::ALL.into_iter().map(Self::Custom);
        custom.chain([Self::Namespaces, Self::Pods { node: Arc::clone(node) }]).collect()
    }

    /// The resource; a custom kind's version is only known to the cluster.
    pub(super) fn resource(&self) -> Option<ApiResource> {
        let (group, version, kind) = match self {
            Self::Custom(_) => return None,
            Self::Namespaces => ("", "v1", "Namespace"),
            Self::Pods { .. } | Self::Labels { .. } => ("", "v1", "Pod"),
            Self::Services { .. } => ("", "v1", "Service"),
            Self::Slices { .. } => ("discovery.k8s.io", "v1", "EndpointSlice"),
        };
        Some(ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind)))
    }

    /// Whether labels and names are all that is wanted.
    pub(super) fn metadata_only(&self) -> bool {
        matches!(self, Self::Namespaces | Self::Labels { .. })
    }

    /// The namespace, if it is one.
    pub(super) fn namespace(&self) -> Option<&str> {
        match self {
            Self::Services { namespace, .. } | Self::Slices { namespace, .. } => namespace.as_deref(),
            Self::Labels { namespace, .. } => Some(namespace),
            Self::Custom(_) | Self::Namespaces | Self::Pods { .. } => None,
        }
    }

    /// The names that it is for, if it is for some of many.
    pub(super) fn names(&self) -> Option<&BTreeSet<Arc<str>>> {
        match self {
            Self::Slices { services, .. } => services.as_ref(),
            Self::Labels { values, .. } => Some(values),
            _ => None,
        }
    }

    /// The same for other names.
    pub(super) fn with_names(&self, names: BTreeSet<Arc<str>>) -> Self {
        let mut other = self.clone();
        match &mut other {
            Self::Slices { services, .. } => *services = Some(names),
            Self::Labels { values, .. } => *values = names,
            _ => {}
        }
        other
    }

    /// Whether two watches differ in their names alone.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Slices { namespace: one, .. }, Self::Slices { namespace: two, .. }) => one == two,
            (Self::Labels { namespace: one, key: of_one, .. }, Self::Labels { namespace: two, key: of_two, .. }) => {
                one == two && of_one == of_two
            }
            _ => false,
        }
    }

    /// Which objects of it.
    pub(super) fn selection(&self) -> watcher::Config {
        let config = from_cache();
        match self {
            Self::Custom(_) | Self::Services { only: None, .. } | Self::Slices { services: None, .. } => config,
            Self::Namespaces => config.labels(CAPTURE),
            Self::Pods { node } => config.fields(&format!("spec.nodeName={node}")),
            Self::Services { only: Some(name), .. } => config.fields(&format!("metadata.name={name}")),
            Self::Slices { services: Some(names), .. } => config.labels(&one_of(SERVICE_NAME, names)),
            Self::Labels { key, values, .. } => config.labels(&one_of(key, values)),
        }
    }
}

/// The API server answers from its cache, as it does to kubelets: 5,000 nodes that ask at once cost etcd nothing. A page is never taken from
/// there, so lists are whole.
pub(super) fn from_cache() -> watcher::Config {
    watcher::Config { page_size: None, ..watcher::Config::default().any_semantic() }
}

fn one_of(key: &str, values: &BTreeSet<Arc<str>>) -> String {
    let values: Vec<_> = values.iter().map(|value| &**value).collect();
    format!("{key} in ({})", values.join(","))
}

/// `services of namespace mirror`, for people.
impl fmt::Display for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Custom(kind) => return write!(f, "{}", kind.definition()),
            Self::Namespaces => return f.write_str("namespaces"),
            Self::Pods { node } => return write!(f, "pods of node {node}"),
            Self::Services { .. } => "services",
            Self::Slices { .. } => "endpointslices.discovery.k8s.io",
            Self::Labels { .. } => "pods",
        };
        match self.namespace() {
            Some(namespace) => write!(f, "{what} of namespace {namespace}"),
            None => f.write_str(what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    /// Fails if a watch asks for more than it names: the API server would send every change of a namespace, or of a cluster, to every node.
    #[test]
    fn a_watch_asks_for_what_it_names_and_for_no_more() {
        let labels = |watch: Watch| watch.selection().label_selector;
        let fields = |watch: Watch| watch.selection().field_selector;
        let ns = || Some(Arc::from("mirror"));
        assert_eq!(fields(Watch::Pods { node: "w1".into() }).as_deref(), Some("spec.nodeName=w1"));
        assert_eq!(labels(Watch::Namespaces).as_deref(), Some("understudy.dev/capture"));
        let one = Watch::Services { namespace: ns(), only: Some("httpbin".into()) };
        assert_eq!(fields(one).as_deref(), Some("metadata.name=httpbin"));
        let two = Watch::Slices { namespace: ns(), services: Some(set(&["b", "a"])) };
        assert_eq!(labels(two).as_deref(), Some("kubernetes.io/service-name in (a,b)"));
        // Of the API server's cache, and not of etcd.
        for watch in Watch::first(&"w1".into()) {
            assert!(matches!(watch.selection().list_semantic, watcher::ListSemantic::Any), "{watch}");
        }
        let pods = Watch::Labels { namespace: "mirror".into(), key: "app".into(), values: set(&["httpbin"]) };
        assert!(pods.metadata_only());
        assert_eq!(labels(pods).as_deref(), Some("app in (httpbin)"));
    }
}
