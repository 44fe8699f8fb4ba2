use tracing::Level;
use tracing_subscriber::filter::Targets;

use super::*;
use crate::net::Mark;

fn resolve(line: &str) -> Result<Invocation, SettingsError> {
    Invocation::resolve(Cli::parse_arguments(line.split_whitespace().map(Into::into)).unwrap())
}

fn run_settings(line: &str) -> Settings {
    match resolve(line).unwrap().task {
        Task::Run(settings) => *settings,
        other => panic!("not run: {other:?}"),
    }
}

#[test]
fn the_defaults_are_those_of_the_parts_that_use_them() {
    let settings = run_settings("understudy run --config x");
    assert_eq!(settings.control.shadow, ShadowSettings::default());
    assert_eq!(settings.capture.mark, Mark::default());
    let stale = u64::try_from(settings.capture.heartbeat_stale.as_nanos()).unwrap();
    assert_eq!(stale, proxy_common::config::DEFAULT_STALE_NS);
    assert_eq!(settings.data.shadow_node_buffer_bytes, 64 << 20);
    assert!(settings.access_log.target.is_none() && settings.capture.machine.cgroup_root.is_none());
}

#[test]
fn a_hyphen_is_standard_input_once_and_standard_output() {
    let settings = run_settings("understudy run --config - --config y --access-log -");
    let sources = vec![ConfigPath::Stdin, ConfigPath::Path("y".into())];
    assert_eq!(settings.control.source, SourceSettings::Files(sources));
    assert_eq!(settings.access_log.target, Some(AccessLogTarget::Stdout));
    assert_eq!(resolve("understudy check - -").unwrap_err(), SettingsError::StdinTwice);
}

#[test]
fn a_node_is_looked_at_from_elsewhere_and_its_pod_is_named_after_it_unless_told() {
    let settings = run_settings("understudy node --node-name worker.example");
    assert_eq!(settings.admin.metrics, ([0, 0, 0, 0], 15090).into());
    assert_eq!(run_settings("understudy run --config x").admin.metrics, ([127, 0, 0, 1], 15090).into());
    let SourceSettings::Cluster(cluster) = settings.control.source else { panic!("not a cluster") };
    assert_eq!(
        (&*cluster.node, &*cluster.pod, &*cluster.namespace),
        ("worker.example", "worker.example", "understudy-system")
    );
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    let same = resolve("understudy run --config x --admin-addr 127.0.0.1:15090").unwrap_err();
    assert_eq!(same, SettingsError::SameAddress(([127, 0, 0, 1], 15090).into()));
    let free = "understudy run --config x --admin-addr 127.0.0.1:0 --metrics-addr 127.0.0.1:0";
    assert!(resolve(free).is_ok(), "port 0 is a different port each time");
    let buffers = resolve("understudy run --config x --shadow-buffer-bytes 2Mi --shadow-node-buffer-bytes 1Mi");
    assert_eq!(buffers.unwrap_err(), SettingsError::Buffers { one: 2 << 20, all: 1 << 20 });
}

#[test]
fn only_what_captures_talks_about_itself_unasked() {
    let enabled = |line: &str, level| filter(line).would_enable("understudy::app", &level);
    assert!(enabled("understudy node --node-name n", Level::INFO));
    assert!(enabled("understudy run --config x", Level::INFO));
    assert!(!enabled("understudy run --config x", Level::DEBUG));
    assert!(enabled("understudy doctor", Level::WARN) && !enabled("understudy doctor", Level::INFO));
    assert_eq!(resolve("understudy doctor --log-level debug").unwrap().logging.filter, "debug");
}

/// As the log's own filter reads it.
fn filter(line: &str) -> Targets {
    resolve(line).unwrap().logging.filter.parse().unwrap()
}

/// A missing right would fill the log for as long as it is missing. Mutations that break it: a default filter that is a level alone; one that
/// is added to what the user typed.
#[test]
fn what_kube_says_at_every_retry_is_not_in_the_log_unless_asked_for() {
    let by_default = filter("understudy node --node-name n");
    for target in ["kube_runtime::watcher", "kube_client::client", "kube_client::client::builder"] {
        assert!(!by_default.would_enable(target, &Level::WARN), "{target}");
    }
    assert!(by_default.would_enable("kube_runtime::watcher", &Level::ERROR));
    assert!(by_default.would_enable("kube_client::client::tls", &Level::WARN));
    assert!(by_default.would_enable("understudy::control::source::kube", &Level::WARN));
    let asked = filter("understudy node --node-name n --log-level info");
    assert!(asked.would_enable("kube_runtime::watcher", &Level::WARN));
}

#[test]
fn doctor_looks_at_the_mark_that_run_would_be_given() {
    let Task::Doctor(doctor) = resolve("understudy doctor --mark 0x4000 --bpffs /x").unwrap().task else {
        panic!("not doctor");
    };
    assert_eq!((doctor.mark.clash(), doctor.machine.bpffs), (Some("kube-proxy"), "/x".into()));
}
