//! Captured connections that keep us waiting: a request's head that does not end, and silence.
//!
//! Comes in: marks that a connection's reads, writes and exchanges leave, plain stores without a clock. Goes out: once a second a look at every
//! connection of the worker, which ends those whose time is over. Never: a timer for each connection or request, a lock, an end while a request
//! is under way (how long an endpoint may think is the rules' matter).
//!
//! A head has begun when bytes came and no request is under way. What came behind a request whose answer was not whole yet does not count until
//! more comes: then it is silence.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::{Rc, Weak},
    task::{Poll, Waker},
    time::Duration,
};

use tokio::time::Instant;

use crate::net::client_stream::ClientStream;

/// How often the connections are looked at; times are rounded up to this.
const PERIOD: Duration = Duration::from_secs(1);

/// How long who may keep us waiting.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the first byte of a request's head to its end (`--header-timeout`).
    pub head: Duration,
    /// Without a byte either way (`--idle-timeout`).
    pub idle: Duration,
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// A request's head has not ended in time.
    Head,
    /// Nothing has moved for too long.
    Idle,
}

/// One connection's part of it.
#[derive(Debug)]
pub struct Patience {
    client: ClientStream,
    under_way: Rc<Cell<u32>>,
    /// Heads of requests come on it; not once it is opaque or a tunnel.
    has_heads: Cell<bool>,
    /// Looks since a head has begun.
    head: Cell<Option<u32>>,
    /// Looks since something moved.
    still: Cell<u32>,
    expired: Cell<Option<Expired>>,
    /// The connection's task and its tunnel's.
    waiting: RefCell<Vec<Waker>>,
}

/// A part of a request that is under way: its body, its answer.
#[derive(Debug)]
pub struct UnderWay(Rc<Cell<u32>>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Patience {
    /// With this client.
    #[must_use]
    pub fn with(client: ClientStream) -> Rc<Self> {
        Rc::new(Self {
            client,
            under_way: Rc::default(),
            has_heads: Cell::new(true),
            head: Cell::default(),
            still: Cell::default(),
            expired: Cell::default(),
            waiting: RefCell::default(),
        })
    }

    /// A request's head is whole. While somebody holds what this returns, nothing expires.
    #[must_use]
    pub fn request(&self) -> UnderWay {
        // What has come so far is this request's.
        self.client.take_read();
        self.head.set(None);
        self.part()
    }

    /// Another part of the request under way, which may end later.
    #[must_use]
    pub fn part(&self) -> UnderWay {
        self.under_way.set(self.under_way.get() + 1);
        UnderWay(Rc::clone(&self.under_way))
    }

    /// From now on the bytes are no requests of ours.
    pub fn pass_through(&self) {
        self.has_heads.set(false);
    }

    /// Resolves when the connection has to end.
    pub async fn expired(&self) -> Expired {
        poll_fn(|cx| {
            if let Some(expired) = self.expired.get() {
                return Poll::Ready(expired);
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }

    /// One look, a period after the one before.
    fn look(&self, limits: Limits) {
        let (read, wrote) = (self.client.take_read(), self.client.take_wrote());
        if self.under_way.get() > 0 {
            self.still.set(0);
            return;
        }
        self.still.set(if read || wrote { 0 } else { self.still.get() + 1 });
        self.head.set(match self.head.get() {
            Some(looks) => Some(looks + 1),
            None => (read && self.has_heads.get()).then_some(0),
        });
        let head_is_late = self.has_heads.get() && self.head.get().is_some_and(|looks| PERIOD * looks >= limits.head);
        let expired = if head_is_late {
            Some(Expired::Head)
        } else {
            (PERIOD * self.still.get() >= limits.idle).then_some(Expired::Idle)
        };
        if expired.is_some() {
            self.expired.set(expired);
            self.waiting.borrow_mut().drain(..).for_each(Waker::wake);
        }
    }
}

/// The connections of a worker.
#[derive(Debug)]
pub struct Watchman {
    connections: RefCell<Vec<Weak<Patience>>>,
    last: Cell<Instant>,
}

impl Default for Watchman {
    fn default() -> Self {
        Self { connections: RefCell::default(), last: Cell::new(Instant::now()) }
    }
}

impl Watchman {
    /// Looks after this connection as long as it lives.
    pub fn watch(&self, connection: &Rc<Patience>) {
        self.connections.borrow_mut().push(Rc::downgrade(connection));
    }

    /// Looks at every connection, if it is time. What a worker that was stuck has not read yet gets a period to be read.
    pub fn look(&self, limits: Limits) {
        if self.last.get().elapsed() < PERIOD {
            return;
        }
        self.last.set(Instant::now());
        self.connections.borrow_mut().retain(|connection| {
            let Some(connection) = connection.upgrade() else { return false };
            connection.look(limits);
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    const LIMITS: Limits = Limits { head: Duration::from_secs(2), idle: Duration::from_secs(4) };

    async fn pair() -> (TcpStream, ClientStream, Rc<Patience>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let near = ClientStream::new(listener.accept().await.unwrap().0).unwrap();
        (far, near.clone(), Patience::with(near))
    }

    async fn byte(far: &mut TcpStream, near: &mut ClientStream) {
        far.write_all(b"x").await.unwrap();
        near.read_exact(&mut [0]).await.unwrap();
    }

    /// So many looks later.
    fn after(looks: u32, patience: &Patience) -> Option<Expired> {
        (0..looks).for_each(|_| patience.look(LIMITS));
        patience.expired.get()
    }

    /// Fails if every byte of a trickling head begins its time anew.
    #[tokio::test]
    async fn a_head_that_trickles_is_late_all_the_same() {
        let (mut far, mut near, patience) = pair().await;
        for _ in 0..2 {
            byte(&mut far, &mut near).await;
            assert_eq!(after(1, &patience), None);
        }
        byte(&mut far, &mut near).await;
        assert_eq!(after(1, &patience), Some(Expired::Head));
        assert_eq!(patience.expired().await, Expired::Head);
    }

    /// Fails if the time for a head runs between requests, as that of hyper's own timer does.
    #[tokio::test]
    async fn between_requests_only_silence_counts() {
        let (mut far, mut near, patience) = pair().await;
        byte(&mut far, &mut near).await;
        drop(patience.request());
        near.write_all(b"answer").await.unwrap();
        assert_eq!(after(1 + 3, &patience), None);
        assert_eq!(after(1, &patience), Some(Expired::Idle));
    }

    #[tokio::test]
    async fn a_request_under_way_takes_what_it_takes() {
        let (mut far, mut near, patience) = pair().await;
        let request = patience.request();
        let body = patience.part();
        drop(request);
        byte(&mut far, &mut near).await;
        assert_eq!(after(20, &patience), None);
        drop(body);
        assert_eq!(after(4, &patience), Some(Expired::Idle));
    }

    #[tokio::test]
    async fn bytes_that_pass_through_are_no_head() {
        let (mut far, mut near, patience) = pair().await;
        patience.pass_through();
        for _ in 0..8 {
            byte(&mut far, &mut near).await;
            assert_eq!(after(1, &patience), None);
        }
    }
}
