//! The composition root of `understudy run` and `understudy node`: makes every part in order, wires them, and takes them apart at the end.
//!
//! The control side (this file, `control`, `admin`, `enrol`, the signals) runs on one thread of its own, so that it cannot starve traffic; the
//! workers are `runtime`'s. The order of a start: configuration (a bad manifest leaves no trace), addresses, hooks, workers, enrolment. A
//! reload publishes the table before the kernel's rules, so that what is redirected always finds a table that knows it.

mod control_loop;
mod drain;
mod hooks;
mod shown;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use serde_json::Value;
use tokio::{sync::watch, task::LocalSet};
use tokio_util::sync::CancellationToken;

use self::shown::Standing;
use crate::{
    accept::Dispatcher,
    admin::{AdminServer, Condition, Readiness, View},
    capture::CaptureOptions,
    control::{
        self, Controller, Rejected, Store,
        source::{Source, file::FileSource, kube},
    },
    enrol::{Early, Enrolment, InNamespaces},
    net::{SocketFactory, rlimit},
    observe::{access_log::AccessLog, metrics::Metrics, process, telemetry::Telemetry, unmirrorable::TlsHosts},
    report,
    runtime::Workers,
    settings::{CaptureSettings, ClusterSettings, ControlSettings, KernelLog, Settings, SourceSettings},
    shadow::{budget::Budget, plan::Limits},
    under_way::UnderWay,
    upstream::connect::Dialer,
    worker::Shared,
};

/// How long the cluster may take to hear our last words.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What the admin pages show of the control loop, which writes it. It becomes JSON when somebody asks.
type Shown = Arc<Mutex<Standing>>;

/// What must hold for `/readyz`. All of them are named before anybody can ask.
struct Conditions {
    hooks: Condition,
    configuration: Condition,
    pods: Condition,
}

impl Conditions {
    fn name(readiness: &Readiness) -> Self {
        Self {
            hooks: readiness.condition("hooks attached"),
            configuration: readiness.condition("first configuration in force"),
            pods: readiness.condition("every enrolled pod listens"),
        }
    }
}

/// Runs until a signal ends it.
///
/// # Errors
/// One line for the operator if it cannot start. Nothing stays behind then.
pub fn run(settings: Settings, telemetry: &Telemetry) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, supervise(settings, telemetry))
}

async fn supervise(settings: Settings, telemetry: &Telemetry) -> anyhow::Result<()> {
    let mut signals = drain::Signals::listen()?;
    let metrics = Arc::new(Metrics::new());
    process::register(&metrics);
    telemetry.register(&metrics);
    let client = match &settings.control.source {
        SourceSettings::Files(_) => None,
        SourceSettings::Cluster(cluster) => Some(kube::client(cluster.kubeconfig.as_deref()).await?),
    };
    let (source, mut controller, store) = configuration(&settings.control, client.as_ref(), &metrics)?;
    let applied = match &source {
        Source::Files(_) => controller.start(source.texts()).map_err(refuse)?,
        // A broken object of a cluster is its author's, and no reason for a node not to start.
        Source::Cluster(_) => controller.reload(source.texts()),
    };
    let files = rlimit::raise();
    tracing::info!(soft = files.soft, hard = files.hard, "open files");

    let admin = AdminServer::bind(&settings.admin)?;
    tracing::info!(admin = %admin.admin_address(), metrics = %admin.metrics_address(), "listening");
    let log = AccessLog::open(&settings.access_log)?;
    log.register(&metrics);

    let readiness = Readiness::new();
    let conditions = Conditions::name(&readiness);
    let node = match &settings.control.source {
        SourceSettings::Files(_) => None,
        SourceSettings::Cluster(cluster) => Some(&cluster.node),
    };
    let shown = Arc::new(Mutex::new(Standing::at_first(node, &applied)));
    let page = |of: fn(&Standing) -> Value| {
        let shown = Arc::clone(&shown);
        Arc::new(move || {
            let standing = shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
            of(&standing)
        })
    };
    let view = View {
        metrics: Arc::clone(&metrics),
        readiness,
        log_level: telemetry.level(),
        status: page(Standing::status),
        config_dump: page(Standing::dump),
    };
    tokio::task::spawn_local(async move {
        if let Err(error) = admin.serve(view).await {
            tracing::error!(%error, "the admin pages have ended");
        }
    });

    let options = capture_options(&settings.capture);
    let capture = match node {
        None => hooks::attach(&options)?,
        Some(_) => match hooks::attach_when_possible(&options, &conditions.hooks, &mut signals).await {
            Some(capture) => capture,
            None => return Ok(()),
        },
    };
    let capture = Arc::new(capture);
    let stop = CancellationToken::new();
    if let Some(events) = capture.events() {
        let stop = stop.clone();
        tokio::task::spawn_local(async move {
            if let Err(error) = events.run(stop).await {
                tracing::warn!(%error, "the kernel side's reports cannot be read");
            }
        });
    }

    let mark = settings.capture.mark;
    if let Some(whose) = mark.clash() {
        tracing::warn!(
            "--mark {mark} overlaps the marks of {whose}: connections may be taken for theirs or ours; choose another bit"
        );
    }
    let factory = SocketFactory::start(mark, u32::MAX)?;
    let dialer = Dialer {
        primaries: factory.clone(),
        shadows: SocketFactory::start(mark, files.for_shadows())?,
        timeout: settings.data.connect_timeout,
    };
    let shared = Shared {
        store: Arc::clone(&store),
        dialer,
        settings: settings.data,
        limits: Limits {
            budget: Budget::new(settings.data.shadow_node_buffer_bytes, metrics.shadow_buffered_bytes.clone()),
            active: metrics.shadows_active.clone(),
            under_way: UnderWay::default(),
        },
        metrics: Arc::clone(&metrics),
        log: log.clone(),
        tls_hosts: TlsHosts::default(),
        shadows_end: CancellationToken::new(),
    };
    let origins = (0..settings.data.workers).map(|_| capture.origins()).collect::<Result<Vec<_>, _>>()?;
    let workers = Workers::start(&shared, origins, capture.heartbeat()?).context("cannot start the workers")?;

    let dispatcher = Arc::new(Dispatcher::new(workers.handles(), shared.limits.under_way.clone()));
    let reach = InNamespaces::new(factory, settings.capture.machine.proc.clone(), settings.enrol.allow_host_netns);
    let hook = Arc::clone(&capture);
    let enrolment = Enrolment::new(reach, hook, dispatcher, Arc::clone(&metrics));

    // The last thing that can fail: from here on the name is given back by the graceful end.
    capture.claim_instance(&applied.capture)?;
    let mut control = control_loop::ControlLoop::new(
        controller,
        applied,
        Arc::clone(&capture),
        enrolment,
        metrics,
        conditions,
        shown,
    );
    let mut reporter = None;
    if let (SourceSettings::Cluster(cluster), Some(client)) = (&settings.control.source, client) {
        let (verdicts, heard) = watch::channel(Arc::default());
        reporter = Some(tokio::task::spawn_local(report::run(client, identity(cluster), heard)));
        control = control.on_node(&cluster.node, Early::watch(&cluster.netns_dir), verdicts);
    }

    tokio::select! {
        () = control.run(source, settings.enrol.reconcile_interval) => {}
        () = signals.first() => {}
    }
    stop.cancel();
    let (enrolment, metrics) = control.into_parts();
    drain::drain(
        drain::Running { capture, enrolment, workers, metrics, shared, log },
        settings.data.drain_timeout,
        &mut signals,
    )
    .await;
    if let Some(reporter) = reporter {
        // It gives its Lease back; a cluster that does not answer is not waited for.
        let _ = tokio::time::timeout(LAST_WORDS, reporter).await;
    }
    Ok(())
}

/// In whose name the cluster's users are told what becomes of their objects.
fn identity(cluster: &ClusterSettings) -> report::Identity {
    report::Identity {
        namespace: Arc::clone(&cluster.namespace),
        pod: Arc::clone(&cluster.pod),
        node: Arc::clone(&cluster.node),
    }
}

fn configuration(
    settings: &ControlSettings,
    client: Option<&::kube::Client>,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<(Source, Controller, Arc<Store>)> {
    let (source, node) = match (&settings.source, client) {
        (SourceSettings::Cluster(cluster), Some(client)) => {
            let state = cluster.state_dir.as_deref();
            let source = kube::KubeSource::open(client.clone(), &cluster.node, &settings.cluster_domain, state);
            (Source::Cluster(Box::new(source)), Some(Arc::clone(&cluster.node)))
        }
        _ => (Source::Files(Box::new(FileSource::open(&settings.paths())?)), None),
    };
    let store = Arc::new(Store::new(Arc::clone(metrics)));
    let decided = control::Settings {
        cluster_domain: Arc::clone(&settings.cluster_domain),
        shadow: settings.shadow.clone(),
        node,
    };
    let controller = Controller::new(decided, Arc::clone(metrics), Arc::clone(&store));
    Ok((source, controller, store))
}

/// The first configuration does not work: the first error says it all, `understudy check` shows the rest.
fn refuse(rejected: Rejected) -> anyhow::Error {
    let errors = rejected.diagnostics.iter().filter(|finding| finding.is_error()).count();
    match rejected.diagnostics.iter().find(|finding| finding.is_error()) {
        Some(first) if errors == 1 => anyhow::anyhow!("{first}"),
        Some(first) => anyhow::anyhow!("{first} (and {} more errors; `understudy check` shows all)", errors - 1),
        None => anyhow::anyhow!("the configuration was rejected"),
    }
}

fn capture_options(settings: &CaptureSettings) -> CaptureOptions {
    CaptureOptions {
        cgroup: settings.machine.cgroup_root.clone(),
        proc: settings.machine.proc.clone(),
        bpffs: settings.machine.bpffs.clone(),
        instance: settings.machine.instance.to_string(),
        mark: settings.mark,
        stale_after: settings.heartbeat_stale,
        max_rules: settings.max_rules,
        log_level: match settings.kernel_log {
            KernelLog::Off => 0,
            KernelLog::Error => 1,
            KernelLog::Warn => 2,
            KernelLog::Info => 3,
            KernelLog::Debug => 4,
        },
        ..CaptureOptions::default()
    }
}
