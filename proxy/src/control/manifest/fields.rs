//! What we do with each field of the kinds whose `spec` we check: the place to look up what is supported.
//!
//! Comes in: the path of a field that no wire struct took. Goes out: what to say about it. Never: values.

use super::{
    path::{FieldPath, Step},
    spelling::closest,
};
use crate::control::model::Kind;

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// Honoured.
    Used,
    /// Only tunes how a request goes: ignored, with a warning.
    Tunes,
    /// Changes where a request goes or what it is: its object is refused.
    Changes,
    /// The same, unless it is an empty map or list.
    ChangesIfFilled,
}

use Support::{Changes, ChangesIfFilled, Tunes, Used};

/// Fields of one message: its path (`[]` any element, `*` any key), then each field.
type Shape = (&'static str, &'static [(&'static str, Support)]);

const OBJECT: Shape =
    ("", &[("apiVersion", Used), ("kind", Used), ("metadata", Used), ("spec", Used), ("status", Used)]);
const DESTINATION: &[(&str, Support)] = &[("host", Used), ("subset", Used), ("port", Used)];
const PORT: &[(&str, Support)] = &[("number", Used)];
const PERCENT: &[(&str, Support)] = &[("value", Used)];
const HEADERS: &[(&str, Support)] = &[("request", Used), ("response", Used)];
const HEADER_OPERATIONS: &[(&str, Support)] = &[("set", Used), ("add", Used), ("remove", Used)];
const STRING_MATCH: &[(&str, Support)] = &[("exact", Used), ("prefix", Used), ("regex", Used)];

/// Istio's `networking/v1alpha3/virtual_service.proto`.
const VIRTUAL_SERVICE: &[Shape] = &[
    OBJECT,
    (
        "spec",
        &[
            ("hosts", Used),
            ("gateways", Used),
            ("http", Used),
            ("exportTo", Used),
            ("tls", ChangesIfFilled),
            ("tcp", ChangesIfFilled),
        ],
    ),
    (
        "spec.http[]",
        &[
            ("name", Used),
            ("match", Used),
            ("route", Used),
            ("mirror", Used),
            ("mirrors", Used),
            ("mirrorPercentage", Used),
            ("mirrorPercent", Used),
            ("mirror_percent", Used),
            ("redirect", Used),
            ("directResponse", Used),
            ("delegate", Changes),
            ("rewrite", Used),
            ("fault", Changes),
            ("corsPolicy", Changes),
            ("headers", Used),
            ("timeout", Used),
            ("retries", Used),
        ],
    ),
    (
        "spec.http[].match[]",
        &[
            ("name", Used),
            ("uri", Used),
            ("method", Used),
            ("headers", Used),
            ("statPrefix", Tunes),
            ("scheme", Used),
            ("authority", Used),
            ("port", Used),
            ("ignoreUriCase", Used),
            ("sourceNamespace", Used),
            ("sourceLabels", Used),
            ("gateways", Used),
            ("withoutHeaders", Used),
            ("queryParams", Used),
        ],
    ),
    ("spec.http[].match[].uri", STRING_MATCH),
    ("spec.http[].match[].method", STRING_MATCH),
    ("spec.http[].match[].scheme", STRING_MATCH),
    ("spec.http[].match[].authority", STRING_MATCH),
    ("spec.http[].match[].headers.*", STRING_MATCH),
    ("spec.http[].match[].withoutHeaders.*", STRING_MATCH),
    ("spec.http[].match[].queryParams.*", STRING_MATCH),
    ("spec.http[].headers", HEADERS),
    ("spec.http[].headers.request", HEADER_OPERATIONS),
    ("spec.http[].headers.response", HEADER_OPERATIONS),
    ("spec.http[].rewrite", &[("uri", Used), ("authority", Used), ("uriRegexRewrite", Used)]),
    ("spec.http[].rewrite.uriRegexRewrite", &[("match", Used), ("rewrite", Used)]),
    (
        "spec.http[].redirect",
        &[
            ("uri", Used),
            ("authority", Used),
            ("port", Used),
            ("scheme", Used),
            ("redirectCode", Used),
            ("derivePort", Changes),
            ("prefixRewrite", Changes),
        ],
    ),
    ("spec.http[].directResponse", &[("status", Used), ("body", Used)]),
    ("spec.http[].directResponse.body", &[("string", Used), ("bytes", Changes)]),
    (
        "spec.http[].retries",
        &[
            ("attempts", Used),
            ("perTryTimeout", Tunes),
            ("retryOn", Tunes),
            ("retryRemoteLocalities", Tunes),
            ("retryIgnorePreviousHosts", Tunes),
            ("backoff", Tunes),
        ],
    ),
    ("spec.http[].route[]", &[("destination", Used), ("weight", Used), ("headers", Used)]),
    ("spec.http[].route[].headers", HEADERS),
    ("spec.http[].route[].headers.request", HEADER_OPERATIONS),
    ("spec.http[].route[].headers.response", HEADER_OPERATIONS),
    ("spec.http[].route[].destination", DESTINATION),
    ("spec.http[].route[].destination.port", PORT),
    ("spec.http[].mirror", DESTINATION),
    ("spec.http[].mirror.port", PORT),
    ("spec.http[].mirrorPercentage", PERCENT),
    ("spec.http[].mirrors[]", &[("destination", Used), ("percentage", Used)]),
    ("spec.http[].mirrors[].destination", DESTINATION),
    ("spec.http[].mirrors[].destination.port", PORT),
    ("spec.http[].mirrors[].percentage", PERCENT),
];

const LOAD_BALANCER: &[(&str, Support)] = &[
    ("consistentHash", Used),
    ("simple", Tunes),
    ("localityLbSetting", Tunes),
    ("warmup", Tunes),
    ("warmupDurationSecs", Tunes),
];
const TRAFFIC_POLICY: &[(&str, Support)] = &[
    ("tls", Used),
    ("loadBalancer", Used),
    ("portLevelSettings", Used),
    ("connectionPool", Tunes),
    ("outlierDetection", Tunes),
    ("tunnel", Tunes),
    ("proxyProtocol", Tunes),
    ("retryBudget", Tunes),
];
const PORT_POLICY: &[(&str, Support)] =
    &[("port", Used), ("tls", Used), ("loadBalancer", Used), ("connectionPool", Tunes), ("outlierDetection", Tunes)];

/// Istio's `networking/v1alpha3/destination_rule.proto`. Fields of `tls` are not listed: its mode decides alone.
const DESTINATION_RULE: &[Shape] = &[
    OBJECT,
    (
        "spec",
        &[
            ("host", Used),
            ("subsets", Used),
            ("exportTo", Used),
            ("trafficPolicy", Used),
            ("workloadSelector", Changes),
        ],
    ),
    ("spec.subsets[]", &[("name", Used), ("labels", Used), ("trafficPolicy", Used)]),
    ("spec.trafficPolicy", TRAFFIC_POLICY),
    ("spec.trafficPolicy.loadBalancer", LOAD_BALANCER),
    ("spec.trafficPolicy.portLevelSettings[]", PORT_POLICY),
    ("spec.trafficPolicy.portLevelSettings[].loadBalancer", LOAD_BALANCER),
    ("spec.subsets[].trafficPolicy", TRAFFIC_POLICY),
    ("spec.subsets[].trafficPolicy.loadBalancer", LOAD_BALANCER),
    ("spec.subsets[].trafficPolicy.portLevelSettings[]", PORT_POLICY),
    ("spec.subsets[].trafficPolicy.portLevelSettings[].loadBalancer", LOAD_BALANCER),
];

/// Our own.
const SHADOW_POLICY: &[Shape] = &[
    OBJECT,
    (
        "spec",
        &[
            ("targetRefs", Used),
            ("hostSuffix", Used),
            ("timeout", Used),
            ("maxConcurrent", Used),
            ("bufferBytes", Used),
            ("methods", Used),
            ("headers", Used),
            ("sampling", Used),
            ("dscp", Used),
            ("compare", Tunes),
        ],
    ),
    ("spec.headers", HEADER_OPERATIONS),
    ("spec.sampling", &[("by", Used)]),
    ("spec.targetRefs[]", &[("group", Used), ("kind", Used), ("name", Used), ("sectionName", Used)]),
];

/// What is known of a field that no wire struct took.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A field of the API that we do not honour.
    Known(Support),
    /// No field of the API; what to say about it.
    Unknown(String),
    /// Not ours to judge.
    Ignored,
}

/// Looks up a field by its path.
#[must_use]
pub fn verdict(kind: Kind, path: &FieldPath) -> Verdict {
    let shapes = match kind {
        Kind::VirtualService => VIRTUAL_SERVICE,
        Kind::DestinationRule => DESTINATION_RULE,
        Kind::ShadowPolicy => SHADOW_POLICY,
        _ => return Verdict::Ignored,
    };
    let Some((Step::Key(name), parent)) = path.0.split_last() else { return Verdict::Ignored };
    if matches!(path.0.first(), Some(Step::Key(root)) if matches!(&**root, "metadata" | "status")) {
        return Verdict::Ignored;
    }
    let Some((_, fields)) = shapes.iter().find(|(pattern, _)| fits(pattern, parent)) else { return Verdict::Ignored };
    if let Some((_, support)) = fields.iter().find(|(known, _)| *known == &**name) {
        return match support {
            Used => Verdict::Ignored,
            support => Verdict::Known(*support),
        };
    }
    let elsewhere = || shapes.iter().find(|(_, fields)| fields.iter().any(|(known, _)| *known == &**name));
    let remedy = match closest(name, fields.iter().map(|(name, _)| *name)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => match elsewhere() {
            Some((place, _)) if !place.is_empty() => format!("it belongs to `{place}`; check the indentation"),
            _ => "remove it".to_owned(),
        },
    };
    Verdict::Unknown(remedy)
}

/// Whether a path has the form of a pattern.
fn fits(pattern: &str, path: &[Step]) -> bool {
    let mut rest = pattern;
    for (position, step) in path.iter().enumerate() {
        let after = match step {
            Step::Index(_) => rest.strip_prefix("[]"),
            Step::Key(key) => {
                let rest = if position == 0 { Some(rest) } else { rest.strip_prefix('.') };
                rest.and_then(|rest| rest.strip_prefix('*').or_else(|| rest.strip_prefix(&**key)))
            }
        };
        let Some(after) = after else { return false };
        rest = after;
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(index: usize) -> FieldPath {
        FieldPath::from("spec.http").index(index)
    }

    #[test]
    fn a_field_of_the_api_is_told_from_a_misspelt_one() {
        let verdict = |path: FieldPath| verdict(Kind::VirtualService, &path);
        assert_eq!(verdict(http(3).key("match").index(0).key("statPrefix")), Verdict::Known(Tunes));
        assert_eq!(verdict(http(0).key("corsPolicy")), Verdict::Known(Changes));
        assert_eq!(
            verdict(http(0).key("mirrorPercantage")),
            Verdict::Unknown("did you mean `mirrorPercentage`?".into())
        );
        assert_eq!(verdict("speck".into()), Verdict::Unknown("did you mean `spec`?".into()));
        assert_eq!(verdict("metadata.anything".into()), Verdict::Ignored);
    }

    #[test]
    fn a_field_in_the_wrong_place_is_told_its_right_one() {
        let path = http(0).key("route").index(0).key("destination").key("weight");
        let expected = Verdict::Unknown("it belongs to `spec.http[].route[]`; check the indentation".into());
        assert_eq!(verdict(Kind::VirtualService, &path), expected);
    }

    #[test]
    fn a_header_may_have_any_name() {
        let path = http(0).key("match").index(0).key("headers").key("x-user").key("exactly");
        assert_eq!(verdict(Kind::VirtualService, &path), Verdict::Unknown("did you mean `exact`?".into()));
    }
}
