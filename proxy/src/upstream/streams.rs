//! HTTP/2 connections of one worker, by pod namespace and endpoint, shared by requests up to a number of streams; then another one is made.
//!
//! Requests that find no place wait for one connection together instead of making one each. It is made by a task of its own, so that it does not
//! fail for all because the client of the first has gone.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc, time::Duration};

use bytes::Buf;
use tokio::{sync::SetOnce, task::spawn_local, time::Instant};

use super::{
    connect::Dialer,
    http2::{Http2, Stream, handshake},
    pool::Key,
};
use crate::{
    enrol::EnrolledPod,
    fault::{Fault, Kind},
    net::addr::NetnsCookie,
};

/// Connections in a row that may be dead on arrival before a request gives up.
const DEAD_ON_ARRIVAL: u32 = 3;

/// The connections. Not shared between threads; no lock.
#[derive(Debug)]
pub struct Streams<D: Buf> {
    dialer: Dialer,
    open: RefCell<HashMap<Key, Vec<Rc<Http2<D>>>>>,
    connecting: RefCell<HashMap<Key, Rc<Attempt<D>>>>,
    timeout: Duration,
}

/// Those who wait for an attempt; they hear of it also if its task ends without a word.
struct Waited<D: Buf> {
    streams: Rc<Streams<D>>,
    key: Key,
    attempt: Rc<Attempt<D>>,
}

impl<D: Buf> Waited<D> {
    fn end(self, result: Result<Rc<Http2<D>>, Fault>) {
        // Set once: only the attempt's own task has this.
        let _ = self.attempt.set(result);
    }
}

impl<D: Buf> Drop for Waited<D> {
    fn drop(&mut self) {
        self.streams.connecting.borrow_mut().remove(&self.key);
        let _ = self.attempt.set(Err(Fault::upstream(Kind::Reset)));
    }
}

/// A connection that is being made, and what became of it.
type Attempt<D> = SetOnce<Result<Rc<Http2<D>>, Fault>>;

impl<D: Buf + 'static> Streams<D> {
    /// Without connections; one that has had no stream for `timeout` is closed.
    #[must_use]
    pub fn new(dialer: Dialer, timeout: Duration) -> Rc<Self> {
        Rc::new(Self { dialer, open: RefCell::default(), connecting: RefCell::default(), timeout })
    }

    /// A stream of a connection that is there, or of a new one.
    ///
    /// # Errors
    /// If no connection can be made, or every one ends at once.
    pub async fn take(self: &Rc<Self>, pod: &Arc<EnrolledPod>, key: Key) -> Result<Stream<D>, Fault> {
        let mut dead = 0;
        loop {
            if let Some(stream) = self.place(key) {
                return Ok(stream);
            }
            let connection = self.attempt(pod, key).wait().await.clone()?;
            if let Some(place) = connection.place() {
                return Ok(Stream::new(place));
            }
            // Full: others were faster. Closed: the endpoint wants none of it.
            if !connection.is_open() {
                dead += 1;
                if dead == DEAD_ON_ARRIVAL {
                    return Err(Fault::upstream(Kind::Reset));
                }
            }
        }
    }

    /// A stream of a connection that is there, if one has a place.
    #[must_use]
    pub fn place(&self, key: Key) -> Option<Stream<D>> {
        let open = self.open.borrow();
        open.get(&key)?.iter().find_map(Http2::place).map(Stream::new)
    }

    /// The attempt under way, or a new one.
    fn attempt(self: &Rc<Self>, pod: &Arc<EnrolledPod>, key: Key) -> Rc<Attempt<D>> {
        if let Some(attempt) = self.connecting.borrow().get(&key) {
            return Rc::clone(attempt);
        }
        let attempt = Rc::new(Attempt::new());
        self.connecting.borrow_mut().insert(key, Rc::clone(&attempt));
        let (streams, pod) = (Rc::clone(self), Arc::clone(pod));
        let waited = Waited { streams: Rc::clone(self), key, attempt: Rc::clone(&attempt) };
        spawn_local(async move {
            let connecting = async {
                handshake(streams.dialer.open(&pod, key.endpoint, key.class).await?, key.class, streams.timeout).await
            };
            let result = connecting.await;
            if let Ok(connection) = &result
                // Whoever drains uses it once: a connection that is kept would keep the pod's namespace alive.
                && !pod.drain.is_cancelled()
            {
                streams.open.borrow_mut().entry(key).or_default().push(Rc::clone(connection));
            }
            waited.end(result);
        });
        attempt
    }

    /// Closes what has had no stream for too long, and forgets what takes none any more.
    pub fn evict(&self) {
        let now = Instant::now();
        self.open.borrow_mut().retain(|_, connections| {
            connections.retain(|connection| {
                let idle = connection.idle_since().is_some_and(|since| now.duration_since(since) >= self.timeout);
                connection.is_open() && !idle
            });
            !connections.is_empty()
        });
    }

    /// Gives up the connections of a pod that is no longer enrolled; each closes with its last stream.
    pub fn forget(&self, pod: NetnsCookie) {
        self.open.borrow_mut().retain(|key, _| key.pod != pod);
    }
}
