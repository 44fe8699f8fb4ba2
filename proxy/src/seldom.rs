//! A future that is polled when it asks for it, and not whenever its task runs.
//!
//! Comes in: a future that mostly waits (for a drain, for a client to be gone) beside one that works. Goes out: the same, at the price of one load for
//! each turn of the task. Never: a poll that the future has not asked for, but the first.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

/// A future with a waker of its own.
#[derive(Debug)]
pub(crate) struct Seldom<'a, F> {
    future: Pin<&'a mut F>,
    bell: Arc<Bell>,
    own: Waker,
    /// The task's, as the bell knows it.
    task: Option<Waker>,
}

#[derive(Debug)]
struct Bell {
    rung: AtomicBool,
    /// Only another task is a reason to change it, and ringing leaves it: a wake cannot be lost between the two.
    task: Mutex<Option<Waker>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        if let Some(task) = &*self.task.lock().unwrap_or_else(PoisonError::into_inner) {
            task.wake_by_ref();
        }
    }
}

impl<'a, F: Future> Seldom<'a, F> {
    /// Of a future that stays where it is.
    #[must_use]
    pub(crate) fn new(future: Pin<&'a mut F>) -> Self {
        let bell = Arc::new(Bell { rung: AtomicBool::new(true), task: Mutex::default() });
        Self { future, own: Arc::clone(&bell).into(), bell, task: None }
    }
}

impl<F: Future> Future for Seldom<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        // Before the look at the bell: who rings after that wakes this task.
        if !this.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            let task = this.task.insert(cx.waker().clone());
            *this.bell.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.clone());
        }
        if !this.bell.rung.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        // Before the poll: what rings during it is heard at the next.
        this.bell.rung.swap(false, Ordering::AcqRel);
        this.future.as_mut().poll(&mut Context::from_waker(&this.own))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        future::{pending, poll_fn},
        pin::pin,
    };

    use tokio::{sync::Notify, task::yield_now};

    use super::*;

    /// Fails if the future is polled with its task, or if its own wake is lost.
    #[tokio::test]
    async fn it_is_polled_once_for_each_time_that_it_asks() {
        let (polls, called) = (Cell::new(0), Notify::new());
        let mut inner = pin!(async {
            for _ in 0..3 {
                called.notified().await;
            }
        });
        let counted = pin!(poll_fn(|cx| {
            polls.set(polls.get() + 1);
            inner.as_mut().poll(cx)
        }));
        let mut seldom = Seldom::new(counted);
        for asked in 1..=3 {
            let busy = async {
                for _ in 0..10 {
                    yield_now().await;
                }
            };
            tokio::select! {
                biased;
                () = &mut seldom => panic!("nobody has called often enough"),
                () = busy => {}
            }
            assert_eq!(polls.get(), asked);
            called.notify_one();
        }
        seldom.await;
        assert_eq!(polls.get(), 4);
    }

    /// Fails if it remembers the first task that polled it for ever.
    #[tokio::test]
    async fn it_wakes_the_task_that_polled_it_last() {
        let called = Arc::new(Notify::new());
        let mut notified = pin!(called.notified());
        let mut seldom = Seldom::new(notified.as_mut());
        assert!(Pin::new(&mut seldom).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let caller = Arc::clone(&called);
        let calls = tokio::spawn(async move { caller.notify_one() });
        tokio::select! {
            () = &mut seldom => {}
            () = async { calls.await.unwrap(); pending().await } => {}
        }
    }
}
