//! The counted side: a worker as the agent has it, with its table, pools and sockets, and no hook. Runs under callgrind, in a process of its own.
//!
//! Comes in: connections on loopback, taken for captured ones. Goes out: two ports on standard output, one for clients and one that ends it when
//! somebody connects. Never: a timer that runs while nothing happens, for what it does would depend on the clock.

use std::{
    convert::Infallible,
    io::Write as _,
    net::{IpAddr, SocketAddr},
    process::exit,
    rc::Rc,
    sync::Arc,
};

use anyhow::{Context as _, Result, anyhow, bail};
use tokio::{
    net::TcpListener,
    runtime::{Builder, LocalOptions},
};
use tokio_util::sync::CancellationToken;
use understudy::{
    accept,
    capture::Origins,
    cli::Cli,
    control::{self, Controller, ManifestText, Store},
    enrol::EnrolledPod,
    net::{
        Netns, NetnsCookie, SocketFactory,
        addr::{ClientAddr, OriginalDst},
    },
    observe::{access_log::AccessLog, metrics::Metrics, unmirrorable::TlsHosts},
    settings::{Invocation, Settings, Task},
    shadow::{budget::Budget, plan::Limits},
    under_way::UnderWay,
    upstream::connect::Dialer,
    worker::{Shared, Worker},
};

use crate::case::Case;

/// One worker, and a shadow for every request, however long the partners take.
const ARGUMENTS: [&str; 9] = [
    "understudy",
    "run",
    "--config",
    "-",
    "--workers",
    "1",
    "--shadow-shed-lag=0s",
    "--shadow-timeout=1h",
    "--shadow-max-concurrent=100000",
];
const MANIFESTS: &str = include_str!("world.yaml");
const CLIENT: [u8; 4] = [10, 244, 1, 10];

/// Serves until told to end.
pub(crate) fn serve(case: Case) -> Result<Infallible> {
    // As `runtime` makes it.
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let worker = worker()?;
        let pod = Arc::new(EnrolledPod {
            namespace: "gate".into(),
            name: "client".into(),
            cookie: NetnsCookie(1),
            netns: Arc::new(Netns::open("/proc/self/ns/net")?),
            ips: vec![CLIENT.into()],
            drain: CancellationToken::new(),
        });
        let (clients, end) = (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
        println!("{} {}", clients.local_addr()?.port(), end.local_addr()?.port());
        std::io::stdout().flush()?;
        loop {
            tokio::select! {
                biased;
                accepted = clients.accept() => {
                    let (stream, peer) = accepted?;
                    let client = ClientAddr(SocketAddr::new(IpAddr::from(CLIENT), peer.port()));
                    accept::adopt(&worker, &pod, OriginalDst(case.original()), client, stream);
                }
                // In the middle of everything: what threads do when they end depends on which is first.
                _ = end.accept() => exit(0),
            }
        }
    })
}

fn worker() -> Result<Rc<Worker>> {
    let Settings { control, capture, data, .. } = settings()?;
    let metrics = Arc::new(Metrics::new());
    let store = Arc::new(Store::new(Arc::clone(&metrics)));
    let decided = control::Settings { cluster_domain: control.cluster_domain, shadow: control.shadow, node: None };
    let text = ManifestText { path: "world.yaml".into(), text: Ok(MANIFESTS.into()) };
    Controller::new(decided, Arc::clone(&metrics), Arc::clone(&store))
        .start(&[text])
        .map_err(|rejected| anyhow!("{:?}", rejected.diagnostics))?;
    let dialer = Dialer {
        primaries: SocketFactory::start(capture.mark, u32::MAX)?,
        shadows: SocketFactory::start(capture.mark, u32::MAX)?,
        timeout: data.connect_timeout,
    };
    let shared = Shared {
        store,
        dialer,
        settings: data,
        limits: Limits {
            budget: Budget::new(data.shadow_node_buffer_bytes, metrics.shadow_buffered_bytes.clone()),
            active: metrics.shadows_active.clone(),
            under_way: UnderWay::default(),
        },
        metrics,
        log: AccessLog::default(),
        tls_hosts: TlsHosts::default(),
        shadows_end: CancellationToken::new(),
    };
    Ok(Rc::new(Worker::new(0, shared, Origins::of_nobody(), 1)))
}

/// What the agent has if nothing else is said.
fn settings() -> Result<Settings> {
    let cli = Cli::parse_arguments(ARGUMENTS.map(Into::into)).context("the agent's arguments")?;
    match Invocation::resolve(cli)?.task {
        Task::Run(settings) => Ok(*settings),
        task => bail!("not what runs an agent: {task:?}"),
    }
}
