//! The budget and the concurrency limit.

use loom::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::{in_every_order, limit::Taken};

/// Three threads, each wants so much of four, and gives it back. What is held is counted beside it.
fn play(wanted: [usize; 3], after: fn(refused: usize, most: usize)) {
    in_every_order(move || {
        let taken = Arc::new(Taken::default());
        let held = Arc::new(AtomicUsize::new(0));
        let [first, second, third] = wanted;
        let one = |count: usize| {
            let (taken, held) = (Arc::clone(&taken), Arc::clone(&held));
            move || {
                if !taken.take(count, 4) {
                    return (1, 0);
                }
                let most = held.fetch_add(count, Ordering::Relaxed) + count;
                held.fetch_sub(count, Ordering::Relaxed);
                taken.give(count);
                (0, most)
            }
        };
        let others = [second, third].map(|count| thread::spawn(one(count)));
        let mut ends = vec![one(first)()];
        ends.extend(others.map(|other| other.join().unwrap_or_else(|_| panic!("it has panicked"))));
        assert_eq!(taken.now(), 0, "something stays taken");
        after(ends.iter().map(|end| end.0).sum(), ends.iter().map(|end| end.1).max().unwrap_or(0));
    });
}

/// Fails if two threads may look at the same count and both add to it (a load and a store).
#[test]
fn no_more_than_the_limit_is_taken() {
    play([2, 2, 2], |_, most| assert!(most <= 4, "{most} of 4 are held"));
}

/// Fails if `take` adds first and takes back what was too much: the 3 makes room for nobody, and yet the others find none.
#[test]
fn nobody_is_refused_for_what_somebody_else_does_not_get() {
    play([1, 1, 5], |refused, _| assert_eq!(refused, 1, "only what never fits is refused"));
}

/// Fails if a count may pass the largest number: there would be room again.
#[test]
fn what_no_number_can_hold_is_refused() {
    in_every_order(|| {
        let taken = Taken::default();
        assert!(taken.take(1, usize::MAX));
        assert!(!taken.take(usize::MAX, usize::MAX));
        taken.give(1);
        assert_eq!(taken.now(), 0);
    });
}
