//! A server that a test writes out line by line, for what [`Recorder`](crate::Recorder) does not do: upgrades, answers that break off,
//! answers that wait for the test.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{netns::Netns, wait::PATIENCE, wire::Wire};

/// A running server; it accepts nothing more once dropped.
#[derive(Debug)]
pub struct Script {
    accepted: Arc<AtomicUsize>,
    closing: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Script {
    /// Listens in a namespace and plays `part` on every connection, each on a thread of its own. When the part returns, the connection is closed.
    ///
    /// # Errors
    /// When the address is taken.
    pub fn start<F>(netns: &Netns, address: SocketAddr, part: F) -> Result<Self>
    where
        F: Fn(Wire) -> Result<()> + Send + Sync + 'static,
    {
        let listener =
            netns.run(|| TcpListener::bind(address).with_context(|| format!("cannot listen on {address}")))?;
        listener.set_nonblocking(true)?;
        let (accepted, closing) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let part = Arc::new(part);
        let accepting = thread::spawn({
            let (accepted, closing) = (Arc::clone(&accepted), Arc::clone(&closing));
            move || {
                while !closing.load(Ordering::Acquire) {
                    let Ok((stream, _)) = listener.accept() else {
                        thread::sleep(Duration::from_millis(1));
                        continue;
                    };
                    accepted.fetch_add(1, Ordering::AcqRel);
                    let part = Arc::clone(&part);
                    thread::spawn(move || {
                        // What goes wrong here shows at the client.
                        let _ = stream.set_nonblocking(false);
                        if let Err(error) = Wire::over(stream).and_then(|wire| part(wire)) {
                            println!("script: {error:#}");
                        }
                    });
                }
            }
        });
        Ok(Self { accepted, closing, accepting: Some(accepting) })
    }

    /// Connections so far.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Acquire)
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Release);
        if let Some(thread) = self.accepting.take() {
            let _ = thread.join();
        }
    }
}

/// The test's word to its servers that they may go on; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Cue(Arc<(Mutex<usize>, Condvar)>);

impl Cue {
    /// Gives the cue, once more.
    pub fn give(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.1.notify_all();
    }

    /// Waits until it has been given so many times.
    ///
    /// # Errors
    /// When the lab's patience is over before.
    pub fn wait(&self, times: usize) -> Result<()> {
        let given = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.1.wait_timeout_while(given, PATIENCE, |given| *given < times);
        let (given, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        ensure!(!timeout.timed_out(), "the cue was given {given} times instead of {times}");
        Ok(())
    }
}
