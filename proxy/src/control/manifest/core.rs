//! Wire forms of Kubernetes' own kinds, as far as we use them. Their other fields are none of our business: a dump of a cluster is
//! valid input.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, de};

use super::decode::Meta;

/// `v1/Namespace`.
#[derive(Debug, Deserialize)]
pub struct Namespace {
    /// Labels.
    #[serde(default)]
    pub metadata: Meta,
}

/// `v1/Service`.
#[derive(Debug, Deserialize)]
#[serde(default)]
#[derive(Default)]
pub struct Service {
    /// What its author wants.
    pub spec: ServiceSpec,
    /// What the cluster gave it.
    pub status: ServiceStatus,
}

/// `spec` of a Service.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named and documented by the Kubernetes API")]
pub struct ServiceSpec {
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Vec<String>,
    #[serde(rename = "externalIPs")]
    pub external_ips: Vec<String>,
    pub ip_families: Vec<String>,
    pub ports: Vec<ServicePort>,
    pub selector: BTreeMap<String, String>,
    pub publish_not_ready_addresses: bool,
}

/// `spec.ports[]` of a Service.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "named and documented by the Kubernetes API")]
pub struct ServicePort {
    #[serde(default)]
    pub name: String,
    pub port: u16,
    pub target_port: Option<IntOrString>,
    pub protocol: Option<String>,
    pub app_protocol: Option<Box<str>>,
}

/// `status` of a Service.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named and documented by the Kubernetes API")]
pub struct ServiceStatus {
    pub load_balancer: LoadBalancer,
}

/// `status.loadBalancer`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "named and documented by the Kubernetes API")]
pub struct LoadBalancer {
    pub ingress: Vec<Ingress>,
}

/// `status.loadBalancer.ingress[]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "named and documented by the Kubernetes API")]
pub struct Ingress {
    pub ip: Option<String>,
}

/// `v1/Pod`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// Labels and annotations.
    pub metadata: Meta,
    /// What its author wants.
    pub spec: PodSpec,
    /// What the cluster made of it.
    pub status: PodStatus,
}

/// `spec` of a Pod.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named and documented by the Kubernetes API")]
pub struct PodSpec {
    pub node_name: Option<Box<str>>,
    pub runtime_class_name: Option<Box<str>>,
    pub host_network: bool,
    pub hostname: Option<Box<str>>,
    pub subdomain: Option<Box<str>>,
    pub containers: Vec<Container>,
    pub init_containers: Vec<Container>,
}

/// `spec.containers[]` and `spec.initContainers[]` of a Pod.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named and documented by the Kubernetes API")]
pub struct Container {
    pub ports: Vec<ContainerPort>,
    pub restart_policy: String,
}

/// `spec.containers[].ports[]` of a Pod.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "named and documented by the Kubernetes API")]
pub struct ContainerPort {
    pub name: Option<Box<str>>,
    pub container_port: u16,
    pub protocol: Option<String>,
}

/// `status` of a Pod.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named and documented by the Kubernetes API")]
pub struct PodStatus {
    pub phase: String,
    #[serde(rename = "podIP")]
    pub pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pub pod_ips: Vec<PodIp>,
    pub conditions: Vec<Condition>,
}

/// `status.podIPs[]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "named and documented by the Kubernetes API")]
pub struct PodIp {
    pub ip: String,
}

/// `status.conditions[]` of a Pod.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "named and documented by the Kubernetes API")]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
}

/// `discovery.k8s.io/EndpointSlice`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named and documented by the Kubernetes API")]
pub struct EndpointSlice {
    pub metadata: Meta,
    pub address_type: String,
    pub endpoints: Vec<Endpoint>,
    pub ports: Vec<EndpointPort>,
}

/// `endpoints[]` of an EndpointSlice.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named and documented by the Kubernetes API")]
pub struct Endpoint {
    pub addresses: Vec<String>,
    pub conditions: EndpointConditions,
    pub hostname: Option<Box<str>>,
    pub target_ref: Option<TargetRef>,
}

/// `endpoints[].conditions`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "named and documented by the Kubernetes API")]
pub struct EndpointConditions {
    pub ready: Option<bool>,
}

/// `endpoints[].targetRef`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "named and documented by the Kubernetes API")]
pub struct TargetRef {
    pub kind: String,
    pub name: String,
}

/// `ports[]` of an EndpointSlice.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named and documented by the Kubernetes API")]
pub struct EndpointPort {
    pub name: String,
    pub port: Option<u16>,
    pub protocol: Option<String>,
}

/// A port by number or by name.
#[derive(Debug, PartialEq, Eq)]
pub enum IntOrString {
    /// `80`.
    Int(u16),
    /// `http`.
    String(Box<str>),
}

impl<'de> Deserialize<'de> for IntOrString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = IntOrString;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port number or the name of a port")
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<IntOrString, E> {
                let port =
                    u16::try_from(value).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(value), &self))?;
                Ok(IntOrString::Int(port))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<IntOrString, E> {
                let port = u16::try_from(value).map_err(|_| E::invalid_value(de::Unexpected::Signed(value), &self))?;
                Ok(IntOrString::Int(port))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<IntOrString, E> {
                Ok(value.parse().map_or_else(|_| IntOrString::String(value.into()), IntOrString::Int))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
