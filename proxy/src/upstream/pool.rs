//! Idle HTTP/1 connections of one worker, by pod namespace and endpoint. Primaries and shadows have pools of their own, so that neither can
//! exhaust or poison the other's.

use std::{cell::RefCell, collections::HashMap, time::Duration};

use hyper::client::conn::http1::SendRequest;
use tokio::{task::yield_now, time::Instant};

use super::watched::WriteWatch;
use crate::net::{
    Class,
    addr::{EndpointAddr, NetnsCookie},
};

/// Who shares a connection: requests of one pod to one endpoint, in one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The pod whose address is the connection's source.
    pub pod: NetnsCookie,
    /// The endpoint.
    pub endpoint: EndpointAddr,
    /// How its packets are marked.
    pub class: Class,
}

/// A connection that can take a request.
#[derive(Debug)]
pub struct Ready<B> {
    /// hyper's handle of the connection.
    pub sender: SendRequest<B>,
    /// Tells when a head is written.
    pub watch: WriteWatch,
    /// The connection has carried a request before.
    pub reused: bool,
}

#[derive(Debug)]
struct Idle<B> {
    ready: Ready<B>,
    since: Instant,
}

/// The pool. Not shared between threads; no lock.
#[derive(Debug)]
pub struct Pool<B> {
    idle: RefCell<HashMap<Key, Vec<Idle<B>>>>,
    timeout: Duration,
}

impl<B> Pool<B> {
    /// A pool that gives up idle connections after `timeout`.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self { idle: RefCell::default(), timeout }
    }

    /// The connection that was used last and is still alive.
    pub async fn take(&self, key: Key) -> Option<Ready<B>> {
        loop {
            let ready = self.pop(key)?;
            if !ready.sender.is_ready() {
                // Its driver may have come this far only now. One that is still busy (an endpoint that answered early and does not read the
                // rest of the request) is not waited for.
                yield_now().await;
            }
            if ready.sender.is_ready() {
                return Some(ready);
            }
        }
    }

    fn pop(&self, key: Key) -> Option<Ready<B>> {
        let mut pool = self.idle.borrow_mut();
        let idle = pool.get_mut(&key)?;
        let taken = loop {
            match idle.pop() {
                Some(candidate) if candidate.ready.sender.is_closed() || candidate.since.elapsed() >= self.timeout => {}
                other => break other,
            }
        };
        if idle.is_empty() {
            pool.remove(&key);
        }
        taken.map(|idle| idle.ready)
    }

    /// Takes back a connection whose exchange is complete on both sides.
    pub fn put(&self, key: Key, sender: SendRequest<B>, watch: WriteWatch) {
        if !sender.is_closed() {
            let idle = Idle { ready: Ready { sender, watch, reused: true }, since: Instant::now() };
            self.idle.borrow_mut().entry(key).or_default().push(idle);
        }
    }

    /// Closes what has been idle for too long or is closed already.
    pub fn evict(&self) {
        self.idle.borrow_mut().retain(|_, idle| {
            idle.retain(|idle| !idle.ready.sender.is_closed() && idle.since.elapsed() < self.timeout);
            !idle.is_empty()
        });
    }

    /// Closes every idle connection of a pod that is no longer enrolled; an open one would keep its namespace alive.
    pub fn forget(&self, pod: NetnsCookie) {
        self.idle.borrow_mut().retain(|key, _| key.pod != pod);
    }
}
