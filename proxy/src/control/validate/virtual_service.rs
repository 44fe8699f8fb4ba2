//! A VirtualService (Istio's `pkg/config/validation/virtualservice.go`).

use serde_yaml::Value;

use super::{
    actions,
    matching::rule_match,
    names::{full_host, host_problem, is_dns_label, overlap},
};
use crate::control::{
    manifest::{
        decode::decode,
        istio::{Destination, HttpRoute, Mirror, Percent, RouteDestination, VirtualService as Wire},
        path::FieldPath,
        reporter::Reporter,
    },
    model::{
        DestinationRef, Edits, HostRef, HttpRule, Kind, MirrorRef, ObjectId, RuleAction, RuleMatch, VirtualService,
    },
    percent,
};

/// The annotation that says what happens to new connections while the proxy cannot take them.
const FAILURE_POLICY: &str = "understudy.dev/failure-policy";
const MESH: &str = "mesh";

/// Checks a VirtualService. One that binds to gateways only is accepted whatever it says: it is not for pods.
pub(super) fn check(
    id: &ObjectId,
    value: Value,
    cluster_domain: &str,
    reporter: &mut Reporter<'_>,
) -> Option<VirtualService> {
    if gateways_only(&value) {
        let remedy = "add `mesh` to it if pods' traffic is meant";
        reporter.note(&"spec.gateways".into(), "`gateways` does not name `mesh`: the rules do not apply here", remedy);
        return Some(empty(id));
    }
    let wire: Wire = decode(Kind::VirtualService, value, reporter)?;
    let names = Names { namespace: &id.namespace, cluster_domain };
    let closed = failure_policy(&wire, reporter);
    only_exported_to_all(&wire.spec.export_to, reporter);
    let hosts = hosts(&wire.spec.hosts, &names, reporter);
    let path = FieldPath::from("spec.http");
    if wire.spec.http.is_empty() {
        reporter.error_at_key(&"spec".into(), "there is no `http` rule", "add one, or delete the object");
    }
    let mut catch_all = false;
    let mut rules = Vec::with_capacity(wire.spec.http.len());
    for (index, route) in wire.spec.http.into_iter().enumerate() {
        let path = path.index(index);
        if catch_all {
            reporter.warning(&path, "this rule never applies: an earlier one matches every request", "move it up");
        }
        let Some(rule) = rule(route, &path, &names, reporter) else { continue };
        let always = |m: &RuleMatch| m.request.is_empty() && m.port.is_none() && !m.gateways_only;
        catch_all |= rule.matches.is_empty() || rule.matches.iter().any(always);
        rules.push(rule);
    }
    Some(VirtualService {
        created: wire.metadata.creation_timestamp.into(),
        hosts,
        closed,
        rules,
        mesh: true,
        ..empty(id)
    })
}

/// What short names in a manifest are completed with.
struct Names<'a> {
    namespace: &'a str,
    cluster_domain: &'a str,
}

impl Names<'_> {
    fn host(&self, host: &str, path: &FieldPath, reporter: &Reporter<'_>) -> HostRef {
        HostRef { name: full_host(host, self.namespace, self.cluster_domain).into(), location: reporter.value(path) }
    }
}

fn empty(id: &ObjectId) -> VirtualService {
    VirtualService {
        namespace: id.namespace.clone(),
        name: id.name.clone(),
        created: Box::default(),
        hosts: Vec::new(),
        mesh: false,
        closed: false,
        rules: Vec::new(),
    }
}

fn gateways_only(value: &Value) -> bool {
    let gateways = value.get("spec").and_then(|spec| spec.get("gateways")).and_then(Value::as_sequence);
    gateways.is_some_and(|names| {
        !names.is_empty() && names.iter().all(|name| name.as_str().is_some_and(|name| name != MESH))
    })
}

fn failure_policy(wire: &Wire, reporter: &mut Reporter<'_>) -> bool {
    match wire.metadata.annotations.get(FAILURE_POLICY).map(String::as_str) {
        None | Some("open") => false,
        Some("closed") => true,
        Some(other) => {
            let path = FieldPath::from("metadata.annotations").key(FAILURE_POLICY);
            reporter.error(&path, format!("`{FAILURE_POLICY}` is `{other}`"), "write `open` or `closed`");
            false
        }
    }
}

/// Rules that only some namespaces may see would need to know each client's namespace.
pub(super) fn only_exported_to_all(export_to: &[String], reporter: &mut Reporter<'_>) {
    if let Some(index) = export_to.iter().position(|namespace| namespace != "*") {
        let path = FieldPath::from("spec.exportTo").index(index);
        let message = format!("`exportTo: {}` is not supported: rules apply to every enrolled pod", export_to[index]);
        reporter.error(&path, message, "write `*` or remove it");
    }
}

fn hosts(written: &[String], names: &Names<'_>, reporter: &mut Reporter<'_>) -> Vec<HostRef> {
    let path = FieldPath::from("spec.hosts");
    if written.is_empty() {
        reporter.error_at_key(
            &"spec".into(),
            "`hosts` is missing",
            "name the Service whose requests the rules are for",
        );
    }
    let mut hosts: Vec<HostRef> = Vec::with_capacity(written.len());
    for (index, host) in written.iter().enumerate() {
        let path = path.index(index);
        if host == "*" {
            reporter.error(&path, "the host `*` is not allowed for rules of the mesh", "name the Services");
            continue;
        }
        if let Some(problem) = host_problem(host) {
            reporter.error(&path, format!("the host `{host}` {problem}"), "write the name of a Service");
            continue;
        }
        let host = names.host(host, &path, reporter);
        if let Some(other) = hosts.iter().find(|other| overlap(&other.name, &host.name)) {
            let message = if other.name == host.name {
                format!("the host `{}` is there twice", host.name)
            } else {
                format!("the hosts `{}` and `{}` overlap", other.name, host.name)
            };
            reporter.error(&path, message, "keep one of them");
        }
        hosts.push(host);
    }
    hosts
}

fn rule(wire: HttpRoute, path: &FieldPath, names: &Names<'_>, reporter: &mut Reporter<'_>) -> Option<HttpRule> {
    let match_path = path.key("match");
    let matches = wire.r#match.into_iter().enumerate();
    let matches = matches.filter_map(|(index, entry)| rule_match(entry, &match_path.index(index), reporter)).collect();
    let edits = actions::edits(&wire.headers, &path.key("headers"), reporter);
    let other = [("redirect", wire.redirect.is_some()), ("directResponse", wire.direct_response.is_some())];
    let other: Vec<&str> = other.into_iter().filter_map(|(name, is_there)| is_there.then_some(name)).collect();
    if let [first, rest @ ..] = &*other {
        for (name, is_there) in [("route", !wire.route.is_empty()), ("rewrite", wire.rewrite.is_some())] {
            if is_there {
                reporter.error_at_key(
                    &path.key(name),
                    format!("a rule cannot have both `{first}` and `{name}`"),
                    "keep one",
                );
            }
        }
        for second in rest {
            reporter.error_at_key(
                &path.key(second),
                format!("a rule cannot have both `{first}` and `{second}`"),
                "keep one",
            );
        }
    }
    let action = match (wire.redirect, wire.direct_response) {
        (Some(redirect), _) => RuleAction::Answer(actions::redirect(redirect, &path.key("redirect"), reporter)?),
        (None, Some(direct)) => RuleAction::Answer(actions::direct(direct, &path.key("directResponse"), reporter)?),
        (None, None) => {
            let (rewritten, authority) =
                wire.rewrite.map_or((None, None), |wire| actions::rewrite(wire, &path.key("rewrite"), reporter));
            let attempts = wire.retries.map(|retries| attempts(retries.attempts, path, reporter));
            let timeout = wire.timeout.and_then(|text| actions::timeout(&text, &path.key("timeout"), reporter));
            let route = route(wire.route, path, names, reporter);
            RuleAction::Forward { route, path: rewritten, authority, timeout, attempts }
        }
    };
    let mirrors = mirrors(
        Mirroring {
            mirror: wire.mirror,
            mirrors: wire.mirrors,
            percentage: wire.mirror_percentage,
            percent: wire.mirror_percent,
            percent_snake: wire.mirror_percent_snake,
        },
        path,
        names,
        reporter,
    );
    Some(HttpRule { name: wire.name.filter(|name| !name.is_empty()), matches, action, edits, mirrors })
}

fn attempts(written: i32, path: &FieldPath, reporter: &mut Reporter<'_>) -> u32 {
    u32::try_from(written).unwrap_or_else(|_| {
        let path = path.key("retries").key("attempts");
        reporter.error(&path, format!("{written} attempts cannot be made"), "write 0 for none");
        0
    })
}

fn route(
    wire: Vec<RouteDestination>,
    path: &FieldPath,
    names: &Names<'_>,
    reporter: &mut Reporter<'_>,
) -> Vec<(u32, DestinationRef, Edits)> {
    let route_path = path.key("route");
    if wire.is_empty() && !reporter.broken() {
        reporter.error_at_key(path, "the rule has no `route`", "say where its requests go");
    }
    let mut route = Vec::with_capacity(wire.len());
    for (index, target) in wire.into_iter().enumerate() {
        let path = route_path.index(index);
        let weight = u32::try_from(target.weight).unwrap_or_else(|_| {
            reporter.error(&path.key("weight"), format!("the weight {} is negative", target.weight), "");
            0
        });
        let edits = actions::edits(&target.headers, &path.key("headers"), reporter);
        route.push((weight, destination(target.destination, &path.key("destination"), names, reporter), edits));
    }
    if route.len() > 1 && route.iter().all(|(weight, ..)| *weight == 0) {
        reporter.error_at_key(&route_path, "the weights add up to 0", "give at least one destination a weight");
    }
    route
}

/// What a rule says about mirrors.
struct Mirroring {
    mirror: Option<Destination>,
    mirrors: Vec<Mirror>,
    percentage: Option<Percent>,
    percent: Option<u32>,
    percent_snake: Option<u32>,
}

fn mirrors(wire: Mirroring, path: &FieldPath, names: &Names<'_>, reporter: &mut Reporter<'_>) -> Vec<MirrorRef> {
    let mut mirrors = Vec::new();
    let integer = integer_percent(&wire.percent, &wire.percent_snake, path, reporter);
    let percentage = wire.percentage.map(|p| checked(&p, &path.key("mirrorPercentage"), reporter));
    if let Some(mirror) = wire.mirror {
        if !wire.mirrors.is_empty() {
            reporter.error_at_key(
                &path.key("mirrors"),
                "a rule cannot have both `mirror` and `mirrors`",
                "move `mirror` into `mirrors`",
            );
        }
        if percentage.is_none() && integer == Some(0) {
            let spelling = if wire.percent.is_some() { "mirrorPercent" } else { "mirror_percent" };
            reporter.warning(
                &path.key(spelling),
                format!("`{spelling}: 0` mirrors nothing"),
                "remove the mirror, or raise it",
            );
        }
        let destination = destination(mirror, &path.key("mirror"), names, reporter);
        mirrors.push(MirrorRef { destination, sample_ppm: percent::mirror(percentage, integer) });
    } else {
        for (spelling, written) in [
            ("mirrorPercentage", percentage.is_some()),
            ("mirrorPercent", wire.percent.is_some()),
            ("mirror_percent", wire.percent_snake.is_some()),
        ] {
            if written {
                let message = format!("`{spelling}` without `mirror` has no effect");
                reporter.warning(&path.key(spelling), message, "add a `mirror`, or remove it");
            }
        }
    }
    let mirrors_path = path.key("mirrors");
    for (index, mirror) in wire.mirrors.into_iter().enumerate() {
        let path = mirrors_path.index(index);
        let percentage = mirror.percentage.map(|p| checked(&p, &path.key("percentage"), reporter));
        let Some(target) = mirror.destination else {
            reporter.error_at_key(&path, "the mirror has no `destination`", "say where its shadows go");
            continue;
        };
        let destination = destination(target, &path.key("destination"), names, reporter);
        mirrors.push(MirrorRef { destination, sample_ppm: percent::mirror(percentage, None) });
    }
    mirrors
}

fn integer_percent(
    camel: &Option<u32>,
    snake: &Option<u32>,
    path: &FieldPath,
    reporter: &mut Reporter<'_>,
) -> Option<u32> {
    if camel.is_some() && snake.is_some() {
        let remedy = "keep `mirrorPercentage` and remove both";
        reporter.error_at_key(
            &path.key("mirror_percent"),
            "`mirrorPercent` and `mirror_percent` are the same field",
            remedy,
        );
    }
    let (spelling, percent) = match (camel, snake) {
        (Some(percent), _) => ("mirrorPercent", *percent),
        (None, Some(percent)) => ("mirror_percent", *percent),
        (None, None) => return None,
    };
    let path = path.key(spelling);
    if percent > 100 {
        reporter.error(&path, format!("`{spelling}` is {percent}, but a percentage is at most 100"), "");
    }
    reporter.warning(&path, format!("`{spelling}` is deprecated"), "write `mirrorPercentage: {value: …}` instead");
    Some(percent)
}

/// A percentage that is within its bounds, or was reported.
fn checked(percent: &Percent, path: &FieldPath, reporter: &mut Reporter<'_>) -> f64 {
    let value = percent.value;
    let name = path.last_key().unwrap_or_default();
    if !(0.0..=100.0).contains(&value) {
        reporter.error(&path.key("value"), format!("`{name}` is {value}, but a percentage is between 0 and 100"), "");
        return 0.0;
    }
    if percent::ppm(value) == 0 {
        let message = if value == 0.0 {
            format!("`{name}` without a value, or with 0, mirrors nothing")
        } else {
            format!("`{name}` is below 0.0001 and mirrors nothing")
        };
        reporter.warning(path, message, "remove the mirror, or raise it");
    }
    value
}

fn destination(wire: Destination, path: &FieldPath, names: &Names<'_>, reporter: &mut Reporter<'_>) -> DestinationRef {
    let host_path = path.key("host");
    if wire.host == "*" {
        reporter.error(&host_path, "a destination cannot be `*`", "name a Service");
    } else if let Some(problem) = host_problem(&wire.host) {
        reporter.error(&host_path, format!("the host `{}` {problem}", wire.host), "write the name of a Service");
    }
    let subset = wire.subset.filter(|subset| !subset.is_empty()).map(|subset| {
        let path = path.key("subset");
        if !is_dns_label(&subset) {
            let message = format!("`{subset}` cannot be the name of a subset");
            reporter.error(&path, message, "use lower-case letters, digits and `-`, at most 63");
        }
        HostRef { name: subset.into(), location: reporter.value(&path) }
    });
    let port = wire.port.and_then(|port| {
        let number = u16::try_from(port.number).ok().filter(|number| *number > 0);
        if number.is_none() {
            let message = format!("{} is not a port", port.number);
            reporter.error(&path.key("port").key("number"), message, "write a port of the Service, 1 to 65535");
        }
        number
    });
    DestinationRef { host: names.host(&wire.host, &host_path, reporter), subset, port }
}
