//! The sign of life. While it is fresh the hook sends connections to us; when it is old, a hang is assumed and every rule's failure policy
//! decides (stale after one second, so a beat each 100 ms leaves room).

use std::fmt;

use aya::maps::{Array, MapData};
use nix::time::{ClockId, clock_gettime};

use super::{CaptureError, maps::failed};

/// Writes `HEARTBEAT`. Belongs into the tick of a worker that serves connections, not into a thread of its own: only then a hang shows.
pub struct Heartbeat(Array<MapData, u64>);

impl fmt::Debug for Heartbeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Heartbeat")
    }
}

impl Heartbeat {
    pub(super) fn new(map: MapData) -> Result<Self, CaptureError> {
        Array::try_from(aya::maps::Map::Array(map)).map(Self).map_err(|error| failed("open it", "HEARTBEAT", &error))
    }

    /// "Alive now", by `CLOCK_MONOTONIC`, the clock of `bpf_ktime_get_ns`. (A process in a time namespace with another offset would read
    /// another clock than the kernel; Kubernetes makes none.)
    ///
    /// # Errors
    /// If the kernel refuses, which it has no reason to do.
    pub fn beat(&mut self) -> Result<(), CaptureError> {
        self.0.set(0, monotonic_ns(), 0).map_err(|error| failed("write it", "HEARTBEAT", &error))
    }
}

/// `CLOCK_MONOTONIC`, nanoseconds.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let Ok(now) = clock_gettime(ClockId::CLOCK_MONOTONIC) else { return 0 };
    let seconds = u64::try_from(now.tv_sec()).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec()).unwrap_or_default())
}
