//! Waiting for something that happens in another process: ask again until it is there, and say what was missing if it never is.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// How long the lab waits for something that must happen before it calls it a failure. Far above what a slow machine needs;
/// nothing is ever measured with it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks `probe` until it gives a value; fails with `what` after [`PATIENCE`].
///
/// # Errors
/// When the probe fails for good, or when patience is over.
pub fn until<T>(what: &str, probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    until_or(what, PATIENCE, probe)
}

/// [`until`] with a patience of its own.
///
/// # Errors
/// As [`until`].
pub fn until_or<T>(what: &str, patience: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        if start.elapsed() > patience {
            bail!("waited {} s in vain: {what}", patience.as_secs());
        }
        thread::sleep(Duration::from_millis(10));
    }
}
