//! Body chunks on their way from the primary's body to a shadow's, within one worker.
//!
//! The primary's end ([`Sink`]) never waits: what does not fit ends the shadow instead. The shadow's end ([`QueueBody`]) is the body of its
//! upstream request.

use std::{
    cell::RefCell,
    collections::VecDeque,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::{Buf as _, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::{
    budget::Budget,
    chunk::{Account, Chunk},
    outcome::Outcome,
};
use crate::codec::ResetCode;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// More may come.
    Open,
    /// The whole request is in the queue.
    Complete,
    /// The shadow has to end.
    Failed(Outcome),
    /// The shadow has ended; chunks are no longer wanted.
    Unwanted,
}

#[derive(Debug)]
struct Inner {
    chunks: VecDeque<Chunk>,
    trailers: Option<HeaderMap>,
    /// What it holds; `None` = there will be nothing.
    account: Option<Rc<Account>>,
    /// Bytes handed to the shadow's connection.
    sent: u64,
    limit: usize,
    state: State,
    /// The request's length, if its head says so.
    remaining: Option<u64>,
    /// The shadow's connection has been told that there is no more.
    told: bool,
    body_waker: Option<Waker>,
    failure_waker: Option<Waker>,
}

impl Inner {
    fn fail(&mut self, outcome: Outcome) {
        if self.state == State::Open {
            self.chunks.clear();
            self.state = State::Failed(outcome);
            self.wake();
        }
    }

    fn wake(&mut self) {
        for waker in [self.body_waker.take(), self.failure_waker.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

/// The primary's end. Dropping it before [`Sink::complete`] ends the shadow as `cancelled`.
#[derive(Debug)]
pub struct Sink(Rc<RefCell<Inner>>);

/// The shadow's end: the body of its request.
#[derive(Debug)]
pub struct QueueBody(Rc<RefCell<Inner>>);

/// Tells the shadow's task that its request can no longer be completed.
#[derive(Debug)]
pub struct Failure(Rc<RefCell<Inner>>);

/// A queue that holds at most `limit` bytes that the connection has not written yet. `size` is what the head says of the body's length.
#[must_use]
pub fn channel(limit: usize, budget: &Budget, size: &SizeHint) -> (Sink, QueueBody, Failure) {
    let inner = Rc::new(RefCell::new(Inner {
        chunks: VecDeque::new(),
        trailers: None,
        sent: 0,
        account: (size.exact() != Some(0)).then(|| Account::new(budget.clone())),
        limit,
        state: State::Open,
        remaining: size.exact(),
        told: false,
        body_waker: None,
        failure_waker: None,
    }));
    (Sink(Rc::clone(&inner)), QueueBody(Rc::clone(&inner)), Failure(inner))
}

impl Sink {
    /// Takes a chunk, or ends the shadow if it lags behind by more than its limit (`too_slow`) or the node's budget is spent
    /// (`shed_memory`).
    pub fn push(&self, chunk: &Bytes) {
        let mut inner = self.0.borrow_mut();
        if inner.state != State::Open || chunk.is_empty() {
            return;
        }
        // More than none were promised: no codec gives it out.
        let Some(account) = &inner.account else { return inner.fail(Outcome::ShedMemory) };
        if account.unsent() + chunk.len() > inner.limit {
            inner.fail(Outcome::TooSlow);
        } else if let Some(chunk) = account.charge(chunk) {
            inner.chunks.push_back(chunk);
            if let Some(waker) = inner.body_waker.take() {
                waker.wake();
            }
        } else {
            inner.fail(Outcome::ShedMemory);
        }
    }

    /// Takes the trailers.
    pub fn trailers(&self, trailers: &HeaderMap) {
        let mut inner = self.0.borrow_mut();
        if inner.state == State::Open {
            inner.trailers = Some(trailers.clone());
        }
    }

    /// The request is whole.
    pub fn complete(&self) {
        let mut inner = self.0.borrow_mut();
        if inner.state == State::Open {
            inner.state = State::Complete;
            inner.wake();
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.0.borrow_mut().fail(Outcome::Cancelled);
    }
}

impl Failure {
    /// Resolves when the shadow has to end, with the reason.
    pub fn poll(&mut self, cx: &Context<'_>) -> Poll<Outcome> {
        let mut inner = self.0.borrow_mut();
        match inner.state {
            State::Failed(outcome) => Poll::Ready(outcome),
            State::Open => {
                inner.failure_waker = Some(cx.waker().clone());
                Poll::Pending
            }
            // Nothing can fail any more.
            State::Complete | State::Unwanted => Poll::Pending,
        }
    }
}

impl Failure {
    /// Bytes that went to the shadow's connection.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.0.borrow().sent
    }

    /// The shadow's connection has written the whole request: nothing is left in the queue or in a codec's hands.
    #[must_use]
    pub fn is_sent(&self) -> bool {
        let inner = self.0.borrow();
        let unsent = inner.account.as_ref().map_or(0, |account| account.unsent());
        inner.state == State::Complete && unsent == 0 && inner.trailers.is_none()
    }
}

impl Drop for Failure {
    fn drop(&mut self) {
        let mut inner = self.0.borrow_mut();
        inner.chunks.clear();
        inner.state = State::Unwanted;
        // A connection that waits for more of the body learns that there is none.
        if let Some(waker) = inner.body_waker.take() {
            waker.wake();
        }
    }
}

/// The request could not be completed; the shadow's connection ends unfinished.
#[derive(Debug, thiserror::Error)]
#[error("the shadow's request was given up")]
pub struct GivenUp;

impl ResetCode for GivenUp {
    fn reset_code(&self) -> Option<h2::Reason> {
        None
    }
}

impl Body for QueueBody {
    type Data = Chunk;
    type Error = GivenUp;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Chunk>, GivenUp>>> {
        let mut inner = self.0.borrow_mut();
        if let Some(chunk) = inner.chunks.pop_front() {
            let length = chunk.remaining() as u64;
            inner.sent += length;
            if let Some(remaining) = &mut inner.remaining {
                *remaining = remaining.saturating_sub(length);
            }
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        match inner.state {
            State::Open => {
                inner.body_waker = Some(cx.waker().clone());
                Poll::Pending
            }
            State::Complete => {
                inner.told = true;
                Poll::Ready(inner.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
            }
            State::Failed(_) | State::Unwanted => Poll::Ready(Some(Err(GivenUp))),
        }
    }

    /// A body of unknown length is not over before its end was asked for: its framing is the primary's, also if it turns out to be empty.
    fn is_end_stream(&self) -> bool {
        let inner = self.0.borrow();
        let over = inner.state == State::Complete && inner.chunks.is_empty() && inner.trailers.is_none();
        over && (inner.told || inner.remaining.is_some())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.borrow().remaining.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests;
