//! Idle HTTP/1 connections of one worker, by pod namespace and endpoint.

use std::{cell::RefCell, collections::HashMap, time::Duration};

use http::Version;
use tokio::{task::yield_now, time::Instant};

use super::http1::Ready;
use crate::net::{
    Class,
    addr::{EndpointAddr, NetnsCookie},
};

/// Who shares a connection: requests of one pod to one endpoint, in one class and over one protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The pod whose address is the connection's source.
    pub pod: NetnsCookie,
    /// The endpoint.
    pub endpoint: EndpointAddr,
    /// How its packets are marked.
    pub class: Class,
    /// What is spoken with it: what the client speaks with us.
    pub protocol: Protocol,
}

/// What a connection carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.0 or 1.1: one request at a time.
    Http1,
    /// HTTP/2 with prior knowledge: many streams.
    Http2,
}

impl Protocol {
    /// The protocol of a request's connection.
    #[must_use]
    pub fn of(version: Version) -> Self {
        if version == Version::HTTP_2 { Self::Http2 } else { Self::Http1 }
    }
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
    pub fn put(&self, key: Key, connection: Ready<B>) {
        if !connection.sender.is_closed() {
            let idle = Idle { ready: Ready { reused: true, ..connection }, since: Instant::now() };
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
