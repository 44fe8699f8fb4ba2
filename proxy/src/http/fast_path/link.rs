//! Connections to endpoints for plain requests, one request at a time, and those that a worker keeps.
//!
//! Comes in: who wants to send where. Goes out: a connection that is there, or a new one. Never: one that hyper has used, or uses later.

use std::{io, sync::Arc, time::Duration};

use tokio::net::TcpStream;

use crate::{
    enrol::EnrolledPod,
    fault::Fault,
    net::addr::NetnsCookie,
    upstream::{
        connect::Dialer,
        pool::{Key, MaxIdle, Pool, Reusable},
    },
};

/// A connection.
#[derive(Debug)]
pub struct Link {
    /// The socket.
    pub stream: TcpStream,
    /// It has carried a request before: it may have been closed meanwhile without our knowing.
    pub reused: bool,
    /// Nothing of its last request is under way, and its endpoint leaves it open.
    pub reusable: bool,
}

impl Reusable for Link {
    /// Also if its endpoint says something that it was not asked for.
    fn is_closed(&self) -> bool {
        // Without an event since the last read this asks nobody.
        !matches!(self.stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn is_done(&self) -> bool {
        self.reusable
    }

    fn reuse(&mut self) {
        self.reused = true;
    }
}

/// The connections of one worker.
#[derive(Debug)]
pub struct Links {
    dialer: Dialer,
    idle: Pool<Link>,
}

impl Links {
    /// None yet; gives up what is idle for `timeout`.
    #[must_use]
    pub fn new(dialer: Dialer, timeout: Duration) -> Self {
        Self { dialer, idle: Pool::new(timeout, MaxIdle::ANY) }
    }

    /// A connection that is there, or a new one.
    ///
    /// # Errors
    /// As [`Dialer::open`].
    pub async fn take(&self, pod: &Arc<EnrolledPod>, key: Key) -> Result<Link, Fault> {
        if let Some(link) = self.idle.pop(key) {
            return Ok(link);
        }
        let stream = Box::pin(self.dialer.open(pod, key.endpoint, key.class)).await?;
        Ok(Link { stream, reused: false, reusable: false })
    }

    /// Takes back a connection. What `drains` keeps nothing: it would keep the namespace of its pod alive.
    pub fn give_back(&self, drains: bool, key: Key, link: Link) {
        if !drains {
            self.idle.put(key, link);
        }
    }

    /// Closes what has been idle for too long or is closed already.
    pub fn evict(&self) {
        self.idle.evict();
    }

    /// Closes every idle connection of a pod that is no longer enrolled; an open one would keep its namespace alive.
    pub fn forget(&self, pod: NetnsCookie) {
        self.idle.forget(pod);
    }
}
