//! The lines of a log at the end of the process: who flushes after a line was taken finds it written, or lost.

use loom::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use crate::{in_every_order, ledger::Ledger};

/// A line of one thread waits in the queue; another thread's finds the queue full and is lost. Who waits for the first must not take the second's
/// end for the first's.
///
/// Fails if `is_settled` compares with what was taken at an earlier moment, or does not acquire what the writer releases.
#[test]
fn who_waits_for_his_line_is_not_told_of_another() {
    in_every_order(|| {
        let ledger = Arc::new(Ledger::default());
        let written = Arc::new(AtomicUsize::new(0));
        let (queue, lines) = mpsc::channel::<usize>();
        let full = thread::spawn({
            let ledger = Arc::clone(&ledger);
            move || {
                assert!(ledger.take(2, 4));
                ledger.left(2);
                ledger.settle(1);
            }
        });
        let writer = thread::spawn({
            let (ledger, written) = (Arc::clone(&ledger), Arc::clone(&written));
            move || {
                ledger.left(lines.recv().unwrap());
                written.fetch_add(1, Ordering::Relaxed);
                ledger.settle(1);
            }
        });
        assert!(ledger.take(2, 4), "there is room for both");
        queue.send(2).unwrap();
        while !ledger.is_settled() {
            thread::yield_now();
        }
        assert_eq!(written.load(Ordering::Relaxed), 1, "the flush was over before the line was written");
        full.join().unwrap();
        writer.join().unwrap();
        assert_eq!(ledger.waiting_bytes(), 0);
    });
}

/// Fails if a line that has no room leaves a trace.
#[test]
fn a_line_without_room_is_nobody_s_to_settle() {
    in_every_order(|| {
        let ledger = Ledger::default();
        assert!(!ledger.take(5, 4));
        assert!(ledger.is_settled());
        assert_eq!(ledger.waiting_bytes(), 0);
    });
}
