//! Idle HTTP/1 connections of one worker, by pod namespace and endpoint.

use std::{cell::RefCell, time::Duration};

use http::Version;
use tokio::{task::yield_now, time::Instant};

use crate::{
    net::{
        Class,
        addr::{EndpointAddr, NetnsCookie},
    },
    route::table::Lookup,
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

/// A connection that may carry one request after another.
pub trait Reusable {
    /// It will carry none any more.
    fn is_closed(&self) -> bool;
    /// It can take a request at this moment.
    fn is_ready(&self) -> bool;
    /// Nothing of its last exchange goes on.
    fn is_done(&self) -> bool;
    /// It has carried a request.
    fn reuse(&mut self);
}

#[derive(Debug)]
struct Idle<C> {
    connection: C,
    since: Instant,
}

/// How many connections may be idle; what comes on top is closed.
#[derive(Clone, Copy, Debug)]
pub struct MaxIdle {
    /// Of one pod to one endpoint.
    pub each: usize,
    /// In all.
    pub total: usize,
}

impl MaxIdle {
    /// As many as there were at once.
    pub const ANY: Self = Self { each: usize::MAX, total: usize::MAX };
    /// For shadows: as many as may be under way at once by default, so that a steady load makes no new ones (a connection costs many times
    /// what a request on it does, and leaves its port in TIME_WAIT), and a bound where many rules are mirrored.
    pub const FEW: Self = Self { each: 128, total: 512 };

    fn allows<C>(self, pool: &Lookup<Key, Vec<Idle<C>>>, key: Key) -> bool {
        // Adding up costs at most as many steps as the total; who has no limit does not pay.
        pool.get(&key).map_or(0, Vec::len) < self.each
            && (self.total == usize::MAX || pool.values().map(Vec::len).sum::<usize>() < self.total)
    }
}

/// The pool. Not shared between threads; no lock.
#[derive(Debug)]
pub struct Pool<C> {
    idle: RefCell<Lookup<Key, Vec<Idle<C>>>>,
    timeout: Duration,
    max: MaxIdle,
}

impl<C: Reusable> Pool<C> {
    /// A pool that keeps at most `max` idle connections, each for `timeout`.
    #[must_use]
    pub fn new(timeout: Duration, max: MaxIdle) -> Self {
        Self { idle: RefCell::default(), timeout, max }
    }

    /// The connection that was used last and is still alive.
    pub async fn take(&self, key: Key) -> Option<C> {
        loop {
            let connection = self.pop(key)?;
            if !connection.is_ready() {
                // Its driver may have come this far only now. One that is still busy (an endpoint that answered early and does not read the
                // rest of the request) is not waited for.
                yield_now().await;
            }
            if connection.is_ready() {
                return Some(connection);
            }
        }
    }

    /// The same, where whoever is not closed is ready.
    pub fn pop(&self, key: Key) -> Option<C> {
        let mut pool = self.idle.borrow_mut();
        let idle = pool.get_mut(&key)?;
        let taken = loop {
            match idle.pop() {
                Some(candidate) if candidate.connection.is_closed() || candidate.since.elapsed() >= self.timeout => {}
                other => break other,
            }
        };
        taken.map(|idle| idle.connection)
    }

    /// Takes back a connection whose exchange is complete on both sides.
    pub fn put(&self, key: Key, mut connection: C) {
        let mut pool = self.idle.borrow_mut();
        if connection.is_done() && self.max.allows(&pool, key) {
            connection.reuse();
            pool.entry(key).or_default().push(Idle { connection, since: Instant::now() });
        }
    }

    /// Closes what has been idle for too long or is closed already.
    pub fn evict(&self) {
        self.idle.borrow_mut().retain(|_, idle| {
            idle.retain(|idle| !idle.connection.is_closed() && idle.since.elapsed() < self.timeout);
            !idle.is_empty()
        });
    }

    /// Closes every idle connection of a pod that is no longer enrolled; an open one would keep its namespace alive.
    pub fn forget(&self, pod: NetnsCookie) {
        self.idle.borrow_mut().retain(|key, _| key.pod != pod);
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use bytes::Bytes;
    use http_body_util::Empty;
    use hyper_util::rt::TokioIo;
    use tokio::{io::duplex, task::LocalSet};

    use super::*;
    use crate::upstream::{http1::Ready, watched::WriteWatch};

    async fn connection() -> Ready<Empty<Bytes>> {
        let (near, far) = duplex(64);
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await.unwrap();
        tokio::task::spawn_local(async move {
            let _far = far;
            connection.await
        });
        Ready { sender, trailers: Rc::default(), watch: WriteWatch::default(), reused: false, old: false }
    }

    /// Fails if what comes on top is kept, by endpoint or in all, or if a place is lost when a connection is taken out again.
    #[tokio::test]
    async fn no_more_are_idle_than_allowed() {
        let key = |port| Key {
            pod: NetnsCookie(1),
            endpoint: EndpointAddr(([10, 0, 0, 1], port).into()),
            class: Class::Primary,
            protocol: Protocol::Http1,
        };
        let test = async {
            let pool = Pool::new(Duration::from_secs(60), MaxIdle { each: 2, total: 3 });
            let idle = |port| pool.idle.borrow().get(&key(port)).map_or(0, Vec::len);
            for port in [1, 1, 1, 2, 2] {
                pool.put(key(port), connection().await);
            }
            assert_eq!((idle(1), idle(2)), (2, 1));
            assert!(pool.pop(key(1)).is_some());
            pool.put(key(3), connection().await);
            pool.put(key(1), connection().await);
            assert_eq!((idle(1), idle(2), idle(3)), (1, 1, 1));
        };
        LocalSet::new().run_until(test).await;
    }
}
