//! `deploy/`: that kustomize and Helm say the same, and that what they say fits the binary.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail, ensure};
use integration::{
    Theatre, case, harness,
    needs::Need,
    paths,
    rendered::{Objects, container, helm, kustomize, without_helms_own},
    theatre::{GET, NEEDS},
};
use serde_json::{Value, json};

const RENDERER: &[Need] = &[Need::Renderer];
const BOTH: &[Need] = &[Need::Renderer, Need::Agent];

fn main() -> ExitCode {
    harness::main(&[
        case!(kustomize_and_helm_render_the_same).needs(RENDERER),
        case!(values_of_the_chart_arrive).needs(RENDERER),
        case!(a_value_that_the_chart_does_not_know_is_refused).needs(RENDERER),
        case!(the_daemonset_fits_the_binary).needs(BOTH),
        case!(the_agent_may_do_what_it_does_and_no_more).needs(RENDERER),
        case!(only_the_overlay_is_privileged).needs(RENDERER),
        case!(the_dashboard_knows_only_metrics_that_there_are).needs(NEEDS),
    ])
}

/// Fails if one of them is changed without the other (a probe, a verb, a mount).
fn kustomize_and_helm_render_the_same() -> Result<()> {
    for (folder, values) in [("", ""), ("with-istio", "crds: {istio: false}"), ("privileged", "privileged: true")] {
        let mut kustomized = kustomize(folder)?;
        // Helm makes its own.
        kustomized.remove("Namespace/understudy-system").context("no Namespace")?;
        same(folder, &kustomized, &without_helms_own(helm(values)?))?;
    }
    // In kustomize monitoring stands alone, in the chart beside the rest.
    let mut monitored = without_helms_own(helm("podMonitor: {enabled: true}\ngrafanaDashboard: {enabled: true}")?);
    for name in helm("")?.keys() {
        monitored.remove(name).with_context(|| format!("{name} is gone"))?;
    }
    same("monitoring", &kustomize("monitoring")?, &monitored)
}

fn same(folder: &str, kustomized: &Objects, helmed: &Objects) -> Result<()> {
    let mut differences = Vec::new();
    let object = |objects: &Objects| json!(objects);
    compare(&object(kustomized), &object(helmed), "", &mut differences);
    ensure!(differences.is_empty(), "deploy/{folder}, kustomize | Helm:\n{}", differences.join("\n"));
    Ok(())
}

fn compare(one: &Value, other: &Value, path: &str, differences: &mut Vec<String>) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            for key in one.keys().chain(other.keys()).collect::<BTreeSet<_>>() {
                let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                compare(&of(one), &of(other), &format!("{path}/{key}"), differences);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                compare(one, other, &format!("{path}/{index}"), differences);
            }
        }
        _ if one == other => {}
        _ => differences.push(format!("{path}: {one:.200} | {other:.200}")),
    }
}

/// Fails if a value is not used, or a number of bytes is written as a float.
fn values_of_the_chart_arrive() -> Result<()> {
    let objects = helm(
        "image: {repository: registry.example/understudy, tag: '1'}\n\
         priorityClassName: ''\n\
         tolerations: []\n\
         resources: {limits: {memory: 1Gi}}\n\
         crds: {istio: false, shadowPolicy: false}\n\
         shadow: {timeout: 5s, bufferBytes: 1048576, removeHeaders: 'authorization,cookie', hostSuffix: ''}\n\
         env: {UNDERSTUDY_LOG_FORMAT: json}",
    )?;
    ensure!(!objects.keys().any(|name| name.starts_with("CustomResourceDefinition")));
    let daemon = &objects["DaemonSet/understudy"];
    let pod = daemon.pointer("/spec/template/spec").context("no pod")?;
    ensure!(pod.get("priorityClassName").is_none() && pod.get("tolerations").is_none(), "{pod}");
    let container = container(&objects)?;
    ensure!(container["image"] == "registry.example/understudy:1");
    ensure!(container["resources"]["limits"]["memory"] == "1Gi", "{}", container["resources"]);
    let env: BTreeMap<_, _> = variables(container)?.collect();
    for (name, value) in [
        ("UNDERSTUDY_SHADOW_TIMEOUT", "5s"),
        ("UNDERSTUDY_SHADOW_BUFFER_BYTES", "1048576"),
        ("UNDERSTUDY_SHADOW_REMOVE_HEADERS", "authorization,cookie"),
        ("UNDERSTUDY_SHADOW_HOST_SUFFIX", ""),
        ("UNDERSTUDY_LOG_FORMAT", "json"),
    ] {
        ensure!(env.get(name).is_some_and(|it| it["value"] == value), "{name}: {:?}", env.get(name));
    }
    Ok(())
}

fn variables(container: &Value) -> Result<impl Iterator<Item = (&str, &Value)>> {
    let list = container["env"].as_array().context("no env")?;
    Ok(list.iter().filter_map(|it| Some((it["name"].as_str()?, it))))
}

/// Fails if the chart's schema is missing: Helm takes a misspelt value for a new one.
fn a_value_that_the_chart_does_not_know_is_refused() -> Result<()> {
    for values in
        ["privilegd: true", "shadow: {timeOut: 5s}", "shadow: {dscp: 64}", "env: {PATH: x}", "crds: {keep: ja}"]
    {
        match helm(values) {
            Ok(_) => bail!("accepted: {values}"),
            Err(error) => ensure!(error.to_string().contains("schema"), "{values}: {error:#}"),
        }
    }
    Ok(())
}

/// Fails if a variable or flag is named that `understudy node` does not have, if a path of the node is not mounted where the agent is told to
/// look, if the probes ask for a port or path that nobody serves, or the version of the image is not the program's.
fn the_daemonset_fits_the_binary() -> Result<()> {
    // Every default of shadows that the chart knows, so that their names are looked at as well.
    let schema: Value =
        serde_json::from_slice(&fs::read(paths::workspace().join("deploy/helm/understudy/values.schema.json"))?)?;
    let known = schema.pointer("/properties/shadow/properties").and_then(Value::as_object).context("no schema")?;
    let defaults: Vec<_> = known
        .keys()
        .map(|name| format!("{name}: {}", if name == "dscp" || name == "maxConcurrent" { "1" } else { "'1'" }))
        .collect();
    let output = Command::new(paths::binary()).args(["node", "--help"]).env_clear().output()?;
    // In one line: where it is wrapped depends on the terminal.
    let help = String::from_utf8(output.stdout)?.split_whitespace().collect::<Vec<_>>().join(" ");
    for objects in [kustomize("")?, helm(&format!("shadow: {{{}}}", defaults.join(", ")))?] {
        let container = container(&objects)?;
        ensure!(container["args"][0] == "node", "{}", container["args"]);
        for (name, variable) in variables(container)? {
            ensure!(help.contains(&format!("[env: {name}=")), "`understudy node` has no variable {name}");
            let mounts = container["volumeMounts"].as_array().context("no mounts")?;
            if let Some(path) = variable["value"].as_str().filter(|value| value.starts_with('/')) {
                ensure!(mounts.iter().any(|mount| mount["mountPath"] == path), "{name}={path} is not mounted");
            }
        }
        for word in container["args"].as_array().into_iter().flatten().filter_map(Value::as_str).skip(1) {
            let flag = word.split('=').next().unwrap_or(word);
            ensure!(help.contains(&format!("{flag} ")), "`understudy node` has no flag {flag}");
        }
        let port = &container["ports"][0];
        ensure!(port["name"] == "metrics" && help.contains(&format!("0.0.0.0:{} for node", port["containerPort"])));
        for (probe, path) in [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
            let get = &container[probe]["httpGet"];
            ensure!(get["port"] == "metrics" && get["path"] == path, "{probe}: {get}");
        }
        let image = format!("understudy:{}", env!("CARGO_PKG_VERSION"));
        ensure!(container["image"] == image.as_str(), "{} instead of {image}", container["image"]);
    }
    Ok(())
}

/// Fails if a rule has a wildcard or a verb too many. A change of this list is a change of what every cluster grants us: make it on purpose.
fn the_agent_may_do_what_it_does_and_no_more() -> Result<()> {
    let objects = kustomize("")?;
    let mut granted = BTreeSet::new();
    for role in ["ClusterRole/understudy", "Role/understudy"] {
        for rule in objects[role]["rules"].as_array().context("no rules")? {
            let words = |field: &str| {
                let list = rule[field].as_array().into_iter().flatten();
                list.filter_map(|it| Some(it.as_str()?.to_owned())).collect::<Vec<_>>()
            };
            let names = words("resourceNames").len();
            for resource in words("resources") {
                let only = if names == 0 { String::new() } else { format!(" ({names} names)") };
                granted.insert(format!(
                    "{role} {resource}.{}: {}{only}",
                    words("apiGroups").join("+"),
                    words("verbs").join(" ")
                ));
            }
        }
    }
    let wanted: BTreeSet<_> = [
        "ClusterRole/understudy customresourcedefinitions.apiextensions.k8s.io: get list watch (3 names)",
        "ClusterRole/understudy destinationrules.networking.istio.io: get list watch",
        "ClusterRole/understudy destinationrules/status.networking.istio.io: patch",
        "ClusterRole/understudy endpointslices.discovery.k8s.io: get list watch",
        "ClusterRole/understudy events.events.k8s.io: create patch",
        "ClusterRole/understudy namespaces.: get list watch",
        "ClusterRole/understudy pods.: get list watch",
        "ClusterRole/understudy services.: get list watch",
        "ClusterRole/understudy shadowpolicies.understudy.dev: get list watch",
        "ClusterRole/understudy shadowpolicies/status.understudy.dev: patch",
        "ClusterRole/understudy virtualservices.networking.istio.io: get list watch",
        "ClusterRole/understudy virtualservices/status.networking.istio.io: patch",
        "Role/understudy leases.coordination.k8s.io: create",
        "Role/understudy leases.coordination.k8s.io: get update patch (1 names)",
    ]
    .map(str::to_owned)
    .into();
    ensure!(granted == wanted, "{granted:#?}");
    Ok(())
}

/// Fails if the base gets a right that it does without, or the overlay loses the mount that it is for.
fn only_the_overlay_is_privileged() -> Result<()> {
    for folder in ["", "with-istio", "privileged"] {
        let objects = kustomize(folder)?;
        let pod = objects["DaemonSet/understudy"].pointer("/spec/template/spec").context("no pod")?;
        for field in ["hostNetwork", "hostPID", "hostIPC"] {
            ensure!(pod.get(field).is_none(), "deploy/{folder}: {field}");
        }
        let container = container(&objects)?;
        let (rights, mount) = (&container["securityContext"], &container["volumeMounts"][0]);
        ensure!(rights["readOnlyRootFilesystem"] == true && mount["mountPath"] == "/sys/fs/bpf", "deploy/{folder}");
        if folder == "privileged" {
            ensure!(rights["privileged"] == true && mount["mountPropagation"] == "Bidirectional", "{container}");
            continue;
        }
        ensure!(rights.get("privileged").is_none() && mount.get("mountPropagation").is_none(), "deploy/{folder}");
        ensure!(rights["seccompProfile"]["type"] == "RuntimeDefault", "deploy/{folder}");
        let few = json!({"drop": ["ALL"], "add": ["BPF", "NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE"]});
        ensure!(rights["capabilities"] == few, "deploy/{folder}: {}", rights["capabilities"]);
    }
    Ok(())
}

/// Fails if a metric is renamed and the dashboard is not.
fn the_dashboard_knows_only_metrics_that_there_are() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    theatre.ask(GET)?;
    theatre.outcomes(&[("answered", 1)])?;
    // A family without series is not shown: somebody has to be at fault.
    ensure!(theatre.ask(b"GET / HTTP/1.1\r\n\r\n")?.status == 400);
    let there = String::from_utf8(theatre.agent.get_metrics_address("/metrics")?.body)?;
    let mut names: BTreeSet<String> = BTreeSet::new();
    for line in there.lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["#", "TYPE", name, "counter"] => names.insert(format!("{name}_total")),
            ["#", "TYPE", name, "histogram"] => names.insert(format!("{name}_bucket")),
            ["#", "TYPE", name, "info"] => names.insert(format!("{name}_info")),
            ["#", "TYPE", name, _] => names.insert(name.to_owned()),
            _ => continue,
        };
    }
    let dashboard = fs::read_to_string(paths::workspace().join("deploy/monitoring/understudy.json"))?;
    let dashboard: Value = serde_json::from_str(&dashboard)?;
    let mut queries = vec![];
    strings(&dashboard, &mut queries);
    let mut used: BTreeSet<&str> = BTreeSet::new();
    for query in queries {
        let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        used.extend(words.filter(|word| word.starts_with("understudy_") || word.starts_with("process_")));
    }
    ensure!(used.len() > 20, "only {used:?}");
    let unknown: Vec<_> = used.iter().filter(|name| !names.contains(**name)).collect();
    ensure!(unknown.is_empty(), "the dashboard names {unknown:?}; there are {names:#?}");
    Ok(())
}

fn strings<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| strings(field, found)),
        _ => {}
    }
}
