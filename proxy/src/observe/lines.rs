//! Lines that leave the process without anybody waiting for them.
//!
//! Comes in: whole lines, from any thread. Goes out: the same lines in order, to a file, standard output or standard error, by a
//! thread of their own. What finds the queue full, or cannot be written, is lost and counted. Never: blocks the one who
//! pushes, holds more than [`MAX_BYTES`].

mod ledger;

use std::{
    fmt,
    io::{self, Write},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, TryRecvError, channel},
    },
    thread::{self, Thread},
    time::{Duration, Instant},
};

use prometheus_client::metrics::counter::Counter;

use ledger::Ledger;

/// Text that may wait for the writer.
pub const MAX_BYTES: usize = 4 << 20;
/// What a line counts for at least, so that short ones are bounded by their number. (A channel with a bound would take room for all of them at its start.)
const LEAST: usize = MAX_BYTES / 16_384;
/// The writer looks for lines at least this often while there were some lately, and at most this seldom.
const BUSY_PAUSE: Duration = Duration::from_millis(5);
const IDLE_PAUSE: Duration = Duration::from_millis(100);

/// When the writer hears of a new line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// At once: pushing may cost a system call.
    AtOnce,
    /// When it looks by itself, within a tenth of a second: pushing never wakes a thread.
    Later,
}

/// The end that lines are pushed into. Clones share the queue; the thread ends when the last of them is gone.
#[derive(Clone)]
pub struct LineQueue {
    sender: Sender<Vec<u8>>,
    shared: Arc<Shared>,
    writer: Thread,
    wake: Wake,
}

#[derive(Debug, Default)]
struct Shared {
    ledger: Ledger,
    lost: Counter,
}

impl LineQueue {
    /// Starts a thread that writes to `target`.
    ///
    /// # Errors
    ///
    /// The thread could not be started.
    pub fn start(name: &str, wake: Wake, target: impl Write + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = channel();
        let shared = Arc::<Shared>::default();
        let theirs = Arc::clone(&shared);
        let handle =
            thread::Builder::new().name(name.to_owned()).spawn(move || write_all(&receiver, &theirs, target))?;
        Ok(Self { sender, shared, writer: handle.thread().clone(), wake })
    }

    /// Hands over a line (with its newline), or loses it.
    pub fn push(&self, line: Vec<u8>) {
        let size = counted(&line);
        let Shared { ledger, lost } = &*self.shared;
        if !ledger.take(size, MAX_BYTES) {
            lost.inc();
            return;
        }
        if self.sender.send(line).is_err() {
            lost.inc();
            ledger.left(size);
            ledger.settle(1);
        } else if self.wake == Wake::AtOnce {
            self.writer.unpark();
        }
    }

    /// Lines lost so far.
    #[must_use]
    pub fn lost(&self) -> Counter {
        self.shared.lost.clone()
    }

    /// Waits until everything that was pushed is written, or the patience is over (a stuck reader of our output, somebody who never stops
    /// pushing). For the end of the process, not for the data path.
    pub fn flush(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while !self.shared.ledger.is_settled() && Instant::now() < deadline {
            self.writer.unpark();
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl fmt::Debug for LineQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineQueue").field("shared", &self.shared).field("wake", &self.wake).finish_non_exhaustive()
    }
}

fn counted(line: &[u8]) -> usize {
    line.len().max(LEAST)
}

fn write_all(receiver: &Receiver<Vec<u8>>, shared: &Shared, mut target: impl Write) {
    let mut batch = Vec::new();
    let mut pause = BUSY_PAUSE;
    loop {
        batch.clear();
        let mut lines = 0;
        let ended = loop {
            match receiver.try_recv() {
                Ok(line) => {
                    shared.ledger.left(counted(&line));
                    batch.extend_from_slice(&line);
                    lines += 1;
                }
                Err(TryRecvError::Empty) => break false,
                Err(TryRecvError::Disconnected) => break true,
            }
            if batch.len() >= 64 << 10 {
                break false;
            }
        };
        if lines > 0 {
            if target.write_all(&batch).and_then(|()| target.flush()).is_err() {
                shared.lost.inc_by(lines);
            }
            shared.ledger.settle(lines);
            pause = BUSY_PAUSE;
        } else if ended {
            return;
        } else {
            thread::park_timeout(pause);
            pause = (pause * 2).min(IDLE_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(data);
            Ok(data.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Says when it is entered, and stays there until the other end of `gate` is dropped.
    struct Stuck {
        entered: Sender<()>,
        gate: Receiver<()>,
    }

    impl Write for Stuck {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            let _ = self.entered.send(());
            let _ = self.gate.recv();
            Ok(data.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_arrive_whole_and_in_order() {
        for wake in [Wake::AtOnce, Wake::Later] {
            let sink = Sink::default();
            let queue = LineQueue::start("test", wake, sink.clone()).unwrap();
            let expected: String = (0..1000).map(|n| format!("line {n}\n")).collect();
            for line in expected.split_inclusive('\n') {
                queue.push(line.into());
            }
            queue.flush(LONG);
            assert_eq!(String::from_utf8(sink.0.lock().unwrap().clone()).unwrap(), expected);
            assert_eq!(queue.lost().get(), 0);
        }
    }

    /// Would hang if `push` waited for room.
    #[test]
    fn a_stuck_reader_costs_lines_and_no_time() {
        let (entered, is_entered) = channel();
        let (open, gate) = channel();
        let queue = LineQueue::start("test", Wake::AtOnce, Stuck { entered, gate }).unwrap();
        queue.push(b"first\n".to_vec());
        is_entered.recv().unwrap();
        for _ in 0..MAX_BYTES / LEAST + 7 {
            queue.push(b"x\n".to_vec());
        }
        assert_eq!(queue.lost().get(), 7, "what fits into the queue waits, the rest is lost");
        drop(open);
        queue.flush(LONG);
        assert_eq!(queue.shared.ledger.waiting_bytes(), 0);
    }

    #[test]
    fn long_lines_are_bounded_by_their_bytes() {
        let (entered, is_entered) = channel();
        let (_open, gate) = channel();
        let queue = LineQueue::start("test", Wake::AtOnce, Stuck { entered, gate }).unwrap();
        queue.push(b"first\n".to_vec());
        is_entered.recv().unwrap();
        for _ in 0..5 {
            queue.push(vec![b'x'; 1 << 20]);
        }
        assert_eq!(queue.lost().get(), 1);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_as_lost() {
        let queue = LineQueue::start("test", Wake::Later, Full).unwrap();
        queue.push(b"a\n".to_vec());
        queue.push(b"b\n".to_vec());
        queue.flush(LONG);
        assert_eq!(queue.lost().get(), 2);
    }
}
