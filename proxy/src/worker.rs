//! What one worker thread has: its pools, its counters, its view of the table. Nothing in here is shared with another worker but read-only
//! values and counters.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::Arc,
};

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    capture::{Origins, heartbeat::monotonic_ns},
    control::Store,
    enrol::EnrolledPod,
    fault::Fault,
    http::{fast_path::link::Links, interim::Interim, replay::Room, request_body::RequestBody},
    net::{
        addr::{ClientAddr, NetnsCookie, OriginalDst},
        client_stream::ClientStream,
    },
    observe::{
        access_log::{AccessLog, RequestIds},
        metrics::Metrics,
        unmirrorable::TlsHosts,
    },
    patience::{Patience, Watchman},
    route::Table,
    settings::DataSettings,
    shadow::{connections::Connections, deadlines::Deadlines, overload::Overload, plan::Limits, send::Origin},
    under_way::{Part, UnderWay},
    upstream::{connect::Dialer, connection::Pools, pool::MaxIdle},
};

/// What every worker needs and all share: copies of handles, safe to send to the worker's thread.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The configuration in force.
    pub store: Arc<Store>,
    /// Connects as pods.
    pub dialer: Dialer,
    /// Limits.
    pub settings: DataSettings,
    /// Node-wide limits of shadows.
    pub limits: Limits,
    /// Source of counters.
    pub metrics: Arc<Metrics>,
    /// One line per primary and per candidate of a mirror, if wanted.
    pub log: AccessLog,
    /// Hosts whose traffic nobody can read.
    pub tls_hosts: TlsHosts,
    /// Cancelled when the process has no more time for shadows; each worker has a child of it.
    pub shadows_end: CancellationToken,
}

/// Counters of a worker's connections, resolved once.
#[derive(Debug)]
pub struct Counters {
    /// Accepted, by kind.
    pub http: Counter,
    /// Accepted and passed through byte for byte.
    pub opaque: Counter,
    /// The same over HTTP/2.
    pub http2: Counter,
    /// TLS, passed through.
    pub tls: Counter,
    /// Nobody was captured: somebody dialled the listener itself.
    pub refused: Counter,
    /// Switched protocols.
    pub tunnel: Counter,
    /// Lost before it was served.
    pub lost: Counter,
    /// Open connections of any kind.
    pub open: Gauge,
}

/// A worker's hold on the table; requests take theirs on this one, not on the table, whose count all workers share.
pub type Held = Rc<Arc<Table>>;

/// Bytes of answers that are read at once.
const ROOM: usize = 16 * 1024;

/// One worker.
#[derive(Debug)]
pub struct Worker {
    /// Handles that all workers have.
    pub shared: Shared,
    /// Where captured connections wanted to go.
    pub origins: Origins,
    /// Connections of primaries.
    pub primaries: Pools<RequestBody>,
    /// The same for plain requests.
    pub links: Links,
    /// Connections of shadows.
    pub shadows: Connections,
    /// How long its shadows may take.
    pub deadlines: Rc<Deadlines>,
    /// Where answers are read that no codec reads; nothing stays in it.
    pub room: RefCell<Box<[u8]>>,
    /// Counters.
    pub counters: Counters,
    /// Ends connections that keep it waiting.
    pub watchman: Watchman,
    /// What it keeps of requests that may have to be sent again.
    pub replay: Room,
    /// Names for this worker's requests.
    pub ids: RequestIds,
    /// Whether it has time for shadows.
    pub overload: Overload,
    /// Number of this worker.
    pub index: usize,
    /// The table of its last request.
    table: RefCell<Held>,
    /// Counters of faults, resolved at their first.
    faults: RefCell<HashMap<Fault, Counter>>,
    random: Cell<u64>,
}

impl Worker {
    /// A worker without connections.
    #[must_use]
    pub fn new(index: usize, mut shared: Shared, origins: Origins, seed: u64) -> Self {
        shared.shadows_end = shared.shadows_end.child_token();
        let metrics = &shared.metrics;
        let counters = Counters {
            http: metrics.connections("http"),
            opaque: metrics.connections("opaque"),
            tls: metrics.connections("tls"),
            http2: metrics.connections("http2"),
            refused: metrics.connections("refused"),
            tunnel: metrics.connections("tunnel"),
            lost: metrics.connections("lost"),
            open: metrics.open_connections("captured"),
        };
        let idle = shared.settings.upstream_idle_timeout;
        Self {
            origins,
            primaries: Pools::new(shared.dialer.clone(), idle, MaxIdle::ANY),
            links: Links::new(shared.dialer.clone(), idle),
            shadows: Connections::new(shared.dialer.clone(), idle, MaxIdle::FEW),
            deadlines: Rc::default(),
            room: RefCell::new(vec![0; ROOM].into()),
            counters,
            overload: Overload::new(shared.settings.shadow_shed_lag, monotonic_ns()),
            index,
            watchman: Watchman::default(),
            replay: Room::default(),
            ids: RequestIds::new(index as u16),
            table: RefCell::new(Rc::new(shared.store.table())),
            faults: RefCell::default(),
            random: Cell::new(seed),
            shared,
        }
    }

    /// The table of now. Also to be asked now and then without a request, so that an old one is not kept for nothing.
    #[must_use]
    pub fn table(&self) -> Held {
        let mut table = self.table.borrow_mut();
        if !self.shared.store.is_current(&table) {
            *table = Rc::new(self.shared.store.table());
        }
        Rc::clone(&table)
    }

    /// 64 random bits (SplitMix64, Steele, Lea and Flood 2014): fast, uniform, not secret.
    #[must_use]
    pub fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Counts a fault.
    pub fn fault(&self, fault: Fault) {
        let mut known = self.faults.borrow_mut();
        let resolve = || self.shared.metrics.faults(fault.side_name(), fault.kind_name());
        // A metric has no label for every code.
        known.entry(Fault { reset: None, ..fault }).or_insert_with(resolve).inc();
    }

    /// Drops everything that keeps a pod's namespace alive.
    pub fn forget(&self, pod: NetnsCookie) {
        self.primaries.forget(pod);
        self.links.forget(pod);
        self.shadows.forget(pod);
    }
}

/// Counts a connection as open while it lives.
#[derive(Debug)]
pub struct Open {
    gauge: Gauge,
    _under_way: Part,
}

impl Open {
    /// Counts one more.
    #[must_use]
    pub fn count(gauge: &Gauge, under_way: &UnderWay) -> Self {
        gauge.inc();
        Self { gauge: gauge.clone(), _under_way: under_way.begin() }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

/// A captured connection: which way, whose, where it wanted to go.
#[derive(Debug)]
pub struct Connection {
    /// The worker that serves it.
    pub worker: Rc<Worker>,
    /// The pod whose application made it.
    pub pod: Arc<EnrolledPod>,
    /// Cancelled with the pod's. It is looked at with every request, under a lock of its own: the pod's would be every worker's.
    pub drain: CancellationToken,
    /// Whose shadows its requests have.
    pub origin: Rc<Origin>,
    /// Where the application asked to go.
    pub original: OriginalDst,
    /// The application's end.
    pub client: ClientAddr,
    /// 64 random bits: samples by connection keep them for as long as it lives.
    pub draw: u64,
    /// Its socket.
    pub stream: ClientStream,
    /// Counts it as open until the last part of it has ended, a tunnel for instance.
    pub open: Open,
    /// Informational answers on their way to it.
    pub interim: Rc<Interim>,
    /// How long it may keep us waiting.
    pub patience: Rc<Patience>,
}

impl Connection {
    /// Resolves when what the application has open must end although nobody has closed it: its pod has been gone for the time of a drain. A
    /// connection that hangs would keep the namespace of a deleted pod alive; one of a pod that lives on without us may go on as it likes.
    pub async fn cut(&self) {
        self.drain.cancelled().await;
        loop {
            sleep(self.worker.shared.settings.drain_timeout).await;
            if !self.pod.netns.is_current() {
                return;
            }
        }
    }
}
