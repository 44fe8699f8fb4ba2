//! How long the shadows of one worker may take, without a timer for each of them.
//!
//! Comes in: shadows that wait; ten looks a second; word that there is no more time for any. Goes out: which shadows have to end, and as what. Never: a timer, a
//! clock or a lock for a shadow. A shadow's time is rounded up to the next look but one.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use slab::Slab;

use super::outcome::Outcome;

/// The time between two looks.
pub const LOOK: Duration = Duration::from_millis(100);

/// The shadows that wait.
#[derive(Debug, Default)]
pub struct Deadlines {
    looks: Cell<u64>,
    over: Cell<bool>,
    waiting: RefCell<Slab<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    task: Waker,
    /// The look at which its time is over.
    last: u64,
}

/// One shadow's part of it.
#[derive(Debug)]
pub struct Deadline {
    deadlines: Rc<Deadlines>,
    place: Cell<Option<usize>>,
    last: Cell<u64>,
}

impl Deadlines {
    /// For a shadow that has as long as it likes until [`Deadline::begin`].
    #[must_use]
    pub fn of_one(self: &Rc<Self>) -> Deadline {
        Deadline { deadlines: Rc::clone(self), place: Cell::default(), last: Cell::new(u64::MAX) }
    }

    /// Looks whose time is over. To be called once every [`LOOK`].
    pub fn look(&self) {
        let now = self.looks.get() + 1;
        self.looks.set(now);
        for (_, waiting) in &*self.waiting.borrow() {
            if waiting.last <= now {
                waiting.task.wake_by_ref();
            }
        }
    }

    /// There is no more time for any.
    pub fn end(&self) {
        self.over.set(true);
        for (_, waiting) in &*self.waiting.borrow() {
            waiting.task.wake_by_ref();
        }
    }
}

impl Deadline {
    /// From now on it has so much time; what is left of an earlier one counts no more.
    pub fn begin(&self, time: Duration) {
        let looks = u64::try_from(time.as_nanos().div_ceil(LOOK.as_nanos())).unwrap_or(u64::MAX);
        // The next look may be at once.
        self.set(self.deadlines.looks.get().saturating_add(looks).saturating_add(1));
    }

    /// Until the next [`Deadline::begin`] it has as long as it likes.
    pub fn suspend(&self) {
        self.set(u64::MAX);
    }

    fn set(&self, last: u64) {
        self.last.set(last);
        if let Some(place) = self.place.get()
            && let Some(waiting) = self.deadlines.waiting.borrow_mut().get_mut(place)
        {
            waiting.last = last;
        }
    }

    /// Resolves when it has to end. It is always the same task that asks.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<Outcome> {
        let Deadlines { looks, over, waiting } = &*self.deadlines;
        if over.get() {
            return Poll::Ready(Outcome::Draining);
        }
        if self.last.get() <= looks.get() {
            return Poll::Ready(Outcome::Timeout);
        }
        if self.place.get().is_none() {
            let waiting = &mut *waiting.borrow_mut();
            self.place.set(Some(waiting.insert(Waiting { task: cx.waker().clone(), last: self.last.get() })));
        }
        Poll::Pending
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        if let Some(place) = self.place.get() {
            self.deadlines.waiting.borrow_mut().remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };
    use std::{
        future::poll_fn,
        task::{Wake, Waker},
    };

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Fails if a shadow ends before its time, or is not woken at its end, or if a second time does not take the place of the first.
    #[test]
    fn time_is_over_when_it_is_over() {
        let (deadlines, woken) = (Rc::<Deadlines>::default(), Arc::<Woken>::default());
        let waker = Waker::from(Arc::clone(&woken));
        let cx = Context::from_waker(&waker);
        let one = deadlines.of_one();
        (0..100).for_each(|_| deadlines.look());
        assert_eq!(one.poll(&cx), Poll::Pending, "it has not begun");
        one.begin(LOOK * 2);
        one.begin(LOOK * 3 - Duration::from_nanos(1));
        for _ in 0..3 {
            deadlines.look();
            assert_eq!((one.poll(&cx), woken.0.load(Ordering::Relaxed)), (Poll::Pending, 0));
        }
        deadlines.look();
        assert_eq!((one.poll(&cx), woken.0.load(Ordering::Relaxed)), (Poll::Ready(Outcome::Timeout), 1));
        drop(one);
        assert!(deadlines.waiting.borrow().is_empty(), "its place is free");
        let endless = deadlines.of_one();
        endless.begin(LOOK);
        endless.suspend();
        (0..100).for_each(|_| deadlines.look());
        endless.begin(Duration::MAX);
        assert_eq!(endless.poll(&cx), Poll::Pending);
    }

    #[test]
    fn an_end_is_everybodys() {
        let deadlines = Rc::<Deadlines>::default();
        let one = deadlines.of_one();
        let mut waits = Box::pin(poll_fn(|cx| one.poll(cx)));
        let woken = Arc::<Woken>::default();
        let waker = Waker::from(Arc::clone(&woken));
        let cx = &mut Context::from_waker(&waker);
        assert_eq!(waits.as_mut().poll(cx), Poll::Pending);
        deadlines.end();
        assert_eq!((waits.as_mut().poll(cx), woken.0.load(Ordering::Relaxed)), (Poll::Ready(Outcome::Draining), 1));
    }
}
