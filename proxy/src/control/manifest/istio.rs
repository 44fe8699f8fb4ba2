//! Wire forms of `networking.istio.io`. What is not here is judged by [`super::fields`].

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_yaml::Value;

use super::decode::Meta;

/// A VirtualService.
#[derive(Debug, Deserialize)]
pub struct VirtualService {
    /// Annotations and age.
    #[serde(default)]
    pub metadata: Meta,
    /// The rules.
    pub spec: VirtualServiceSpec,
}

/// `spec` of a VirtualService.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
#[expect(missing_docs, reason = "named and documented by Istio's API")]
pub struct VirtualServiceSpec {
    pub hosts: Vec<String>,
    pub gateways: Vec<String>,
    pub http: Vec<HttpRoute>,
    pub export_to: Vec<String>,
}

/// `http[]`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named and documented by Istio's API")]
pub struct HttpRoute {
    pub name: Option<Box<str>>,
    pub r#match: Vec<HttpMatch>,
    pub route: Vec<RouteDestination>,
    pub redirect: Option<HttpRedirect>,
    pub direct_response: Option<DirectResponse>,
    pub rewrite: Option<HttpRewrite>,
    pub headers: Headers,
    pub timeout: Option<String>,
    pub retries: Option<Retries>,
    pub mirror: Option<Destination>,
    pub mirrors: Vec<Mirror>,
    pub mirror_percentage: Option<Percent>,
    pub mirror_percent: Option<u32>,
    /// The spelling of the oldest API, which the CRD keeps as an alias.
    #[serde(rename = "mirror_percent")]
    pub mirror_percent_snake: Option<u32>,
}

/// `http[].match[]`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named and documented by Istio's API")]
pub struct HttpMatch {
    pub name: Option<Box<str>>,
    pub uri: Option<StringMatch>,
    pub method: Option<StringMatch>,
    pub headers: BTreeMap<String, StringMatch>,
    pub without_headers: BTreeMap<String, StringMatch>,
    pub ignore_uri_case: bool,
    pub scheme: Option<StringMatch>,
    pub authority: Option<StringMatch>,
    pub query_params: BTreeMap<String, StringMatch>,
    pub port: Option<u32>,
    pub source_labels: BTreeMap<String, String>,
    pub source_namespace: Option<Box<str>>,
    pub gateways: Vec<String>,
}

/// One of its fields, or for headers none.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "named and documented by Istio's API")]
pub struct StringMatch {
    pub exact: Option<String>,
    pub prefix: Option<String>,
    pub regex: Option<String>,
}

/// `http[].route[]`.
#[derive(Debug, Deserialize)]
#[expect(missing_docs, reason = "named and documented by Istio's API")]
pub struct RouteDestination {
    pub destination: Destination,
    #[serde(default)]
    pub weight: i32,
    #[serde(default)]
    pub headers: Headers,
}

/// `headers` of a rule or a destination.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "named and documented by Istio's API")]
pub struct Headers {
    pub request: HeaderOperations,
    pub response: HeaderOperations,
}

/// `headers.request`, `headers.response`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "named and documented by Istio's API")]
pub struct HeaderOperations {
    pub set: BTreeMap<String, String>,
    pub add: BTreeMap<String, String>,
    pub remove: Vec<String>,
}

/// `http[].rewrite`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named and documented by Istio's API")]
pub struct HttpRewrite {
    pub uri: Option<String>,
    pub authority: Option<Box<str>>,
    pub uri_regex_rewrite: Option<RegexRewrite>,
}

/// `http[].rewrite.uriRegexRewrite`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "named and documented by Istio's API")]
pub struct RegexRewrite {
    pub r#match: String,
    pub rewrite: String,
}

/// `http[].redirect`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named and documented by Istio's API")]
pub struct HttpRedirect {
    pub uri: Option<String>,
    pub authority: Option<String>,
    pub port: Option<u16>,
    pub scheme: Option<String>,
    pub redirect_code: u32,
}

/// `http[].directResponse`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "named and documented by Istio's API")]
pub struct DirectResponse {
    pub status: u16,
    pub body: Option<DirectBody>,
}

/// `http[].directResponse.body`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "named and documented by Istio's API")]
pub struct DirectBody {
    pub string: Option<String>,
}

/// `http[].retries`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "named and documented by Istio's API")]
pub struct Retries {
    pub attempts: i32,
}

/// A Service's subset.
#[derive(Debug, Deserialize)]
#[expect(missing_docs, reason = "named and documented by Istio's API")]
pub struct Destination {
    pub host: String,
    pub subset: Option<String>,
    pub port: Option<PortSelector>,
}

/// `port: {number: 80}`.
#[derive(Debug, Deserialize)]
#[expect(missing_docs, reason = "named and documented by Istio's API")]
pub struct PortSelector {
    #[serde(default)]
    pub number: u32,
}

/// `http[].mirrors[]`.
#[derive(Debug, Deserialize)]
#[expect(missing_docs, reason = "named and documented by Istio's API")]
pub struct Mirror {
    pub destination: Option<Destination>,
    pub percentage: Option<Percent>,
}

/// `{value: 12.5}`; empty means 0.
#[derive(Debug, Deserialize)]
#[expect(missing_docs, reason = "named and documented by Istio's API")]
pub struct Percent {
    #[serde(default)]
    pub value: f64,
}

/// A DestinationRule.
#[derive(Debug, Deserialize)]
pub struct DestinationRule {
    /// Its age.
    #[serde(default)]
    pub metadata: Meta,
    /// Its subsets.
    pub spec: DestinationRuleSpec,
}

/// `spec` of a DestinationRule.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "named and documented by Istio's API")]
pub struct DestinationRuleSpec {
    pub host: String,
    #[serde(default)]
    pub subsets: Vec<Subset>,
    #[serde(default)]
    pub export_to: Vec<String>,
    #[serde(default)]
    pub traffic_policy: TrafficPolicy,
}

/// `subsets[]`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "named and documented by Istio's API")]
pub struct Subset {
    pub name: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub traffic_policy: TrafficPolicy,
}

/// `trafficPolicy`, and each of its `portLevelSettings[]`: only what must not pass unseen.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named and documented by Istio's API")]
pub struct TrafficPolicy {
    pub tls: Option<Tls>,
    pub load_balancer: Option<LoadBalancer>,
    pub port_level_settings: Vec<PortPolicy>,
}

/// `trafficPolicy.portLevelSettings[]`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named and documented by Istio's API")]
pub struct PortPolicy {
    pub tls: Option<Tls>,
    pub load_balancer: Option<LoadBalancer>,
}

/// `tls`; without a mode it is `DISABLE`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "named and documented by Istio's API")]
pub struct Tls {
    pub mode: Option<String>,
}

/// `loadBalancer`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named and documented by Istio's API")]
pub struct LoadBalancer {
    pub consistent_hash: Option<Value>,
}
