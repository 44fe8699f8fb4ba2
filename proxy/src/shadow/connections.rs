//! The connections of one worker's shadows, apart from those of its primaries: neither can exhaust or poison the other's.
//!
//! Comes in: who wants to send what to which endpoint. Goes out: a connection that is there, or a new one. Never: an attempt for every shadow at an
//! endpoint that nobody answers at: one in [`REST`] is enough to find out that it is back, and costs primaries nothing.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{chunk::Chunk, wire::connection::Wire};
use crate::{
    enrol::EnrolledPod,
    fault::{Fault, Kind},
    net::addr::NetnsCookie,
    upstream::{
        connect::Dialer,
        http2,
        pool::{Key, MaxIdle, Pool},
        streams::Streams,
    },
};

/// How long an endpoint that could not be connected to is left alone. Shadows meanwhile end as the one did that found out.
pub const REST: Duration = Duration::from_millis(100);

/// Connections to endpoints of mirrors.
#[derive(Debug)]
pub struct Connections {
    dialer: Dialer,
    http1: Pool<Wire>,
    http2: Rc<Streams<Chunk>>,
    /// Until when, and why.
    resting: RefCell<HashMap<Key, (Instant, Fault)>>,
}

impl Connections {
    /// Gives up what is idle for `timeout`, and keeps no more HTTP/1 connections idle than `max`.
    #[must_use]
    pub fn new(dialer: Dialer, timeout: Duration, max: MaxIdle) -> Self {
        let http2 = Streams::new(dialer.clone(), timeout);
        Self { dialer, http1: Pool::new(timeout, max), http2, resting: RefCell::default() }
    }

    /// A connection for a shadow over HTTP/1.
    ///
    /// # Errors
    /// As [`Dialer::open`].
    pub async fn wire(&self, pod: &Arc<EnrolledPod>, key: Key) -> Result<Wire, Fault> {
        if let Some(wire) = self.http1.pop(key) {
            return Ok(wire);
        }
        self.may_try(key)?;
        self.tried(key, Box::pin(self.dialer.open(pod, key.endpoint, key.class)).await.map(Wire::new))
    }

    /// A stream for a shadow over HTTP/2.
    ///
    /// # Errors
    /// As [`Dialer::open`], or if every connection ends at once.
    pub async fn stream(&self, pod: &Arc<EnrolledPod>, key: Key) -> Result<http2::Stream<Chunk>, Fault> {
        if let Some(stream) = self.http2.place(key) {
            return Ok(stream);
        }
        self.may_try(key)?;
        self.tried(key, self.http2.take(pod, key).await)
    }

    /// Of those who come after a rest one tries; the next may if there is no answer for as long again.
    fn may_try(&self, key: Key) -> Result<(), Fault> {
        let mut resting = self.resting.borrow_mut();
        let Some((until, fault)) = resting.get_mut(&key) else { return Ok(()) };
        let now = Instant::now();
        if now < *until {
            return Err(*fault);
        }
        *until = now + REST;
        Ok(())
    }

    fn tried<T>(&self, key: Key, result: Result<T, Fault>) -> Result<T, Fault> {
        match &result {
            Err(fault @ Fault { kind: Kind::ConnectFailed | Kind::ConnectTimeout, .. }) => {
                self.resting.borrow_mut().insert(key, (Instant::now() + REST, *fault));
            }
            // In other faults the endpoint has no part.
            Err(_) => {}
            Ok(_) => {
                self.resting.borrow_mut().remove(&key);
            }
        }
        result
    }

    /// Takes back a connection on which nothing is under way. What `drains` keeps nothing: it would keep the namespace of its pod alive.
    pub fn give_back(&self, drains: bool, key: Key, wire: Wire) {
        if !drains {
            self.http1.put(key, wire);
        }
    }

    /// Closes what has been idle for too long or is closed already.
    pub fn evict(&self) {
        self.http1.evict();
        self.http2.evict();
        // Longer than the rest itself: while shadows go on, one at a time is to try.
        let now = Instant::now();
        self.resting.borrow_mut().retain(|_, (until, _)| now < *until + 10 * REST);
    }

    /// Closes every idle connection of a pod that is no longer enrolled; an open one would keep its namespace alive.
    pub fn forget(&self, pod: NetnsCookie) {
        self.http1.forget(pod);
        self.http2.forget(pod);
    }
}
