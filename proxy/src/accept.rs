//! From a pod's listener to a served connection.
//!
//! Comes in: the listeners that `enrol` opened. Goes out: connections with their original destination, handed to the workers in turn. A
//! connection that nobody captured (somebody dialled the listener itself) is closed and counted. Never: a decision about requests.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use crate::{
    capture,
    detect::{Verdict, detect, has_unknown_version, sni},
    enrol::{EnrolledPod, Serve},
    fault::{Fault, Kind},
    http::{
        fast_path, respond,
        serve::{http1, http2},
    },
    net::{
        Class,
        addr::{ClientAddr, EndpointAddr, OriginalDst},
        client_stream::ClientStream,
        prefixed::Prefixed,
    },
    opaque,
    patience::{Expired, Patience},
    runtime::WorkerHandle,
    seldom::Seldom,
    shadow::send::Origin,
    under_way::UnderWay,
    worker::{Connection, Open, Worker},
};

/// Pause after an accept that failed for want of file descriptors or memory: the queue waits, the loop does not spin.
const BACK_OFF: Duration = Duration::from_millis(50);

/// How long a listener still accepts after its pod was withdrawn from the hook.
const LAST_CALL: Duration = Duration::from_millis(100);
/// How long a connection without a first byte is kept once its pod drains.
const DRAIN_SILENCE: Duration = Duration::from_secs(1);

/// Gives every listener a worker that accepts, and every connection a worker that serves.
#[derive(Clone, Debug)]
pub struct Dispatcher {
    workers: Arc<[WorkerHandle]>,
    next: Arc<AtomicUsize>,
    under_way: UnderWay,
}

impl Dispatcher {
    /// Over these workers; there is at least one.
    #[must_use]
    pub fn new(workers: Arc<[WorkerHandle]>, under_way: UnderWay) -> Self {
        Self { workers, next: Arc::default(), under_way }
    }

    fn turn(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed) % self.workers.len()
    }
}

impl Serve for Dispatcher {
    fn serve(&self, pod: Arc<EnrolledPod>, listener: std::net::TcpListener) {
        let dispatcher = self.clone();
        // From here, not from the loop's first step: a drain may begin before the worker gets to it.
        let accepting = self.under_way.begin();
        self.workers[self.turn()].run(move |worker| {
            let worker = Rc::clone(worker);
            tokio::task::spawn_local(async move {
                accept(worker, dispatcher, pod, listener).await;
                drop(accepting);
            });
        });
    }
}

/// Accepts until the pod drains; then takes what is still in the queue and closes the listener.
async fn accept(worker: Rc<Worker>, dispatcher: Dispatcher, pod: Arc<EnrolledPod>, listener: std::net::TcpListener) {
    // However this ends: reconciliation must not believe that somebody serves the listener.
    let _ended = pod.drain.clone().drop_guard();
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(pod = %pod.name, namespace = %pod.namespace, %error, "cannot wait for connections");
            return;
        }
    };
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            () = pod.drain.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => dispatcher.hand_on(&worker, &pod, stream, peer),
            Err(error) if is_temporary(&error) => {
                tracing::warn!(pod = %pod.name, %error, "accept failed; trying again");
                sleep(BACK_OFF).await;
            }
            Err(error) => {
                tracing::warn!(pod = %pod.name, %error, "the listener is dead; reconciliation will enrol the pod anew");
                break;
            }
        }
    }
    // A connect may be between the hook and its SYN: take what still comes for a moment.
    let last = async {
        while let Ok((stream, peer)) = listener.accept().await {
            dispatcher.hand_on(&worker, &pod, stream, peer);
        }
    };
    let _ = timeout(LAST_CALL, last).await;
    drop(listener);
    // An idle connection would keep the pod's namespace alive.
    let cookie = pod.cookie;
    for worker in dispatcher.workers.iter() {
        worker.run(move |worker| worker.forget(cookie));
    }
}

/// `accept(2)` passes on errors of the connection it would have returned, and lacks of resources; both pass.
fn is_temporary(error: &io::Error) -> bool {
    !matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EBADF | libc::ENOTSOCK | libc::EOPNOTSUPP))
}

impl Dispatcher {
    fn hand_on(&self, worker: &Rc<Worker>, pod: &Arc<EnrolledPod>, stream: TcpStream, peer: SocketAddr) {
        let Some((connection, stream)) = identify(worker, pod, stream, peer) else { return };
        let target = self.turn();
        if target == worker.index {
            take_up(connection, worker, stream);
            return;
        }
        match stream.into_std() {
            Ok(stream) => self.workers[target].run(move |worker| match TcpStream::from_std(stream) {
                Ok(stream) => take_up(connection, worker, stream),
                Err(error) => tracing::warn!(%error, "cannot take over a connection"),
            }),
            Err(error) => tracing::warn!(%error, "cannot hand a connection on"),
        }
    }
}

/// A captured connection before a worker serves it.
struct Captured {
    open: Open,
    lost: Lost,
    pod: Arc<EnrolledPod>,
    original: OriginalDst,
    client: ClientAddr,
}

impl Captured {
    fn new(worker: &Worker, pod: &Arc<EnrolledPod>, original: OriginalDst, client: ClientAddr) -> Self {
        let open = Open::count(&worker.counters.open, &worker.shared.limits.under_way);
        let lost = Lost(Some(worker.counters.lost.clone()));
        Self { open, lost, pod: Arc::clone(pod), original, client }
    }

    fn on(self, worker: &Rc<Worker>, stream: TcpStream) -> io::Result<Rc<Connection>> {
        let Self { open, lost, pod, original, client } = self;
        let (worker, stream, interim) = (Rc::clone(worker), ClientStream::new(stream)?, Rc::default());
        let (draw, patience) = (worker.random(), Patience::with(stream.clone()));
        let drain = pod.drain.child_token();
        worker.watchman.watch(&patience);
        lost.not();
        let origin =
            Origin { worker: Rc::clone(&worker), pod: Arc::clone(&pod), drain: drain.clone(), original }.into();
        Ok(Rc::new(Connection { worker, pod, drain, origin, original, client, draw, stream, open, interim, patience }))
    }
}

/// Counts a connection that no worker came to serve: it broke on the way, or the worker that it was handed to has stopped.
struct Lost(Option<Counter>);

impl Lost {
    fn not(mut self) {
        self.0 = None;
    }
}

impl Drop for Lost {
    fn drop(&mut self) {
        if let Some(counter) = &self.0 {
            counter.inc();
        }
    }
}

/// Where the connection wanted to go, or nothing if the hook did not send it.
fn identify(
    worker: &Worker,
    pod: &Arc<EnrolledPod>,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<(Captured, TcpStream)> {
    let listener = stream.local_addr().ok()?;
    let origin = worker.origins.of(pod.cookie, ClientAddr(peer), listener);
    let Ok(Some(capture::Origin { destination: original, .. })) =
        origin.inspect_err(|error| tracing::warn!(%error, "no original destination"))
    else {
        tracing::debug!(pod = %pod.name, %peer, "refused: nobody captured this connection");
        worker.counters.refused.inc();
        let _ = stream.set_zero_linger();
        return None;
    };
    let client = ClientAddr(SocketAddr::new(pod_address(pod, peer.ip()), peer.port()));
    Some((Captured::new(worker, pod, original, client), stream))
}

/// A socket that its application has bound to any address comes from loopback; for the world it is the pod's all the same.
fn pod_address(pod: &EnrolledPod, seen: IpAddr) -> IpAddr {
    let own = pod.ips.iter().find(|ip| ip.is_ipv4() == seen.is_ipv4());
    own.copied().filter(|_| seen.is_loopback()).unwrap_or(seen)
}

/// Serves, on the worker whose thread this is, a connection of which the caller knows what else the hook says: where it wanted to go.
pub fn adopt(
    worker: &Rc<Worker>,
    pod: &Arc<EnrolledPod>,
    original: OriginalDst,
    client: ClientAddr,
    stream: TcpStream,
) {
    take_up(Captured::new(worker, pod, original, client), worker, stream);
}

/// Starts a connection's task on its worker.
fn take_up(captured: Captured, worker: &Rc<Worker>, stream: TcpStream) {
    match captured.on(worker, stream) {
        Ok(connection) => {
            tokio::task::spawn_local(handle(connection));
        }
        Err(error) => tracing::debug!(%error, "the client was gone before it was served"),
    }
}

/// Why a connection ends before its time.
enum Early {
    /// The client has kept us waiting for too long.
    Expired(Expired),
    /// Its pod has been gone for the time of a drain.
    Cut,
}

/// One connection, from its first byte to its end.
pub(crate) async fn handle(connection: Rc<Connection>) {
    let early = pin!(async {
        tokio::select! {
            expired = connection.patience.expired() => Early::Expired(expired),
            () = connection.cut() => Early::Cut,
        }
    });
    let conversation = async {
        tokio::select! {
            biased;
            result = converse(&connection) => result,
            early = Seldom::new(early) => match early {
                Early::Expired(expired) => give_up(&connection, expired).await,
                Early::Cut => Err(anyhow::anyhow!("not finished when the time to drain was over")),
            },
        }
    };
    if let Err(error) = conversation.await {
        tracing::debug!(client = %connection.client, original = %connection.original, error = %format!("{error:#}"), "connection ended");
    }
}

/// The client has kept us waiting for too long. Who has begun a request hears of it, if nothing else is being said to him.
async fn give_up(connection: &Connection, expired: Expired) -> anyhow::Result<()> {
    if expired == Expired::Head {
        let fault = Fault::client(Kind::HeadTimeout);
        connection.worker.fault(fault);
        if connection.interim.is_between_messages() {
            respond::bare(connection.stream.clone(), fault).await?;
        }
    }
    anyhow::bail!("kept us waiting for too long: {expired:?}")
}

async fn converse(connection: &Rc<Connection>) -> anyhow::Result<()> {
    let Connection { worker, original, .. } = &**connection;
    let mut stream = connection.stream.clone();
    let declared = worker.shared.store.table().protocol(*original);
    let (verdict, read) = tokio::select! {
        detected = detect(&mut stream, declared, worker.shared.settings.detect_timeout) => detected?,
        // A client that says nothing for a while after the drain began loses nothing.
        () = async { connection.drain.cancelled().await; sleep(DRAIN_SILENCE).await } => return Ok(()),
    };
    match verdict {
        Verdict::Http1 if has_unknown_version(&read) => {
            let fault = Fault::client(Kind::UnknownVersion);
            worker.fault(fault);
            Ok(respond::bare(stream, fault).await?)
        }
        Verdict::Http1 => {
            worker.counters.http.inc();
            let Some(read) = fast_path::serve(connection, read).await? else { return Ok(()) };
            let served = http1::serve(Rc::clone(connection), Prefixed::new(read, stream)).await;
            // hyper has answered 400 or 431 by itself.
            if served.as_ref().is_err_and(|error| error.is_parse()) {
                worker.fault(Fault::client(Kind::Malformed));
            }
            // The endpoint's answer broke off: the client must not take what it has for the whole.
            if served.as_ref().is_err_and(|error| error.is_user()) {
                connection.stream.reset();
            }
            Ok(served?)
        }
        Verdict::Http2 => {
            // Its frames are no heads: between two requests there may be pings for as long as the client likes.
            connection.patience.pass_through();
            worker.counters.http2.inc();
            Ok(http2::serve(Rc::clone(connection), Prefixed::new(read, stream)).await?)
        }
        Verdict::Tls | Verdict::Opaque => {
            connection.patience.pass_through();
            let counters = &worker.counters;
            if verdict == Verdict::Tls {
                counters.tls.inc();
                worker.shared.tls_hosts.report(sni::server_name(&read), &connection.pod, *original);
            } else {
                counters.opaque.inc();
            }
            let endpoint = EndpointAddr(original.0);
            match worker.shared.dialer.open(&connection.pod, endpoint, Class::Primary).await {
                Ok(upstream) => Ok(opaque::splice(stream, read, upstream).await?),
                Err(fault) => {
                    worker.fault(fault);
                    connection.stream.reset();
                    Ok(())
                }
            }
        }
    }
}
