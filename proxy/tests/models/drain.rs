//! The end of the process: it waits for what is under way, for nothing else, and not for ever.
//!
//! Played here are the parts of `accept` (a loop, and a connection that it hands to another worker as a job), of `shadow` (a copy that outlives its
//! connection) and of `app::drain` (looks until all is over). Not covered: the kernel's queue of a listener, tokio's channel.

use loom::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use crate::{
    in_every_order,
    under_way::{Part, UnderWay},
};

/// What became of a connection. Like a log line: written with no order of its own, read after the drain.
#[derive(Clone)]
struct Fates {
    served: Arc<AtomicUsize>,
    lost: Arc<AtomicUsize>,
}

impl Fates {
    fn new() -> Self {
        Self { served: Arc::new(AtomicUsize::new(0)), lost: Arc::new(AtomicUsize::new(0)) }
    }

    fn now(&self) -> (usize, usize) {
        (self.served.load(Ordering::Relaxed), self.lost.load(Ordering::Relaxed))
    }
}

/// An accepted connection on its way to a worker: lost unless it is served. The count ends last, as fields are dropped in order.
struct Connection {
    served: bool,
    fates: Fates,
    under_way: UnderWay,
    _part: Part,
}

impl Connection {
    fn accept(under_way: &UnderWay, fates: &Fates) -> Self {
        Self { served: false, fates: fates.clone(), under_way: under_way.clone(), _part: under_way.begin() }
    }

    /// Returns its shadow.
    fn serve(mut self) -> Part {
        self.served = true;
        self.under_way.begin()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let fate = if self.served { &self.fates.served } else { &self.fates.lost };
        fate.fetch_add(1, Ordering::Relaxed);
    }
}

fn wait(under_way: &UnderWay) {
    while !under_way.is_over() {
        thread::yield_now();
    }
}

/// Fails if the loop's part ends before the connection's begins, if it begins with the loop's first step instead of with the order to run it, if the
/// shadow's part begins after its connection's has ended, or if the last look does not acquire what the parts release.
#[test]
fn a_drain_ends_after_everything_that_was_accepted() {
    in_every_order(|| {
        let (under_way, fates) = (UnderWay::default(), Fates::new());
        let shadowed = Arc::new(AtomicUsize::new(0));
        let (jobs, taken) = mpsc::channel::<Connection>();
        let accepting = under_way.begin();
        let acceptor = thread::spawn({
            let (under_way, fates) = (under_way.clone(), fates.clone());
            move || {
                let _ = jobs.send(Connection::accept(&under_way, &fates));
                drop(accepting);
            }
        });
        let worker = thread::spawn({
            let shadowed = Arc::clone(&shadowed);
            move || {
                let shadow = taken.recv().unwrap().serve();
                shadowed.fetch_add(1, Ordering::Relaxed);
                drop(shadow);
            }
        });
        wait(&under_way);
        assert_eq!((fates.now(), shadowed.load(Ordering::Relaxed)), ((1, 0), 1), "(served, lost), shadowed");
        acceptor.join().unwrap();
        worker.join().unwrap();
    });
}

/// Fails if a connection whose worker has stopped is counted as under way for ever, or as nothing at all.
#[test]
fn a_drain_does_not_wait_for_what_was_handed_to_a_worker_that_stops() {
    in_every_order(|| {
        let (under_way, fates) = (UnderWay::default(), Fates::new());
        let job = Connection::accept(&under_way, &fates);
        // Whether it is dropped by who sends it, or in the channel, makes no difference to who waits.
        let worker = thread::spawn(move || drop(job));
        wait(&under_way);
        assert_eq!(fates.now(), (0, 1), "(served, lost)");
        worker.join().unwrap();
    });
}
