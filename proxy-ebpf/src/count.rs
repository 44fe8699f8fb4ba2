//! Counters and events.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use proxy_common::{event::Event, stats::Counter};

use crate::maps::{EVENTS, REPORTED, STATS};

/// An event of one kind is sent at most this often per CPU, nanoseconds.
const QUIET_NS: u64 = 100_000_000;

/// Adds one to this CPU's counter.
#[inline(always)]
pub(crate) fn count(counter: Counter) {
    if let Some(value) = STATS.get_ptr_mut(counter as u32) {
        // SAFETY: a value of this CPU, which no other program interrupts to write (a lost increment would be harmless).
        unsafe { *value += 1 };
    }
}

/// Sends an event unless one of its kind was sent just before.
#[inline(never)]
pub(crate) fn report(event: &Event) {
    let Some(last) = REPORTED.get_ptr_mut(event.counter) else { return };
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    // SAFETY: a value of this CPU; see `count`.
    unsafe {
        if *last != 0 && now.wrapping_sub(*last) < QUIET_NS {
            return;
        }
        *last = now;
    }
    // A full buffer loses the event; the counter has it.
    let _ = EVENTS.output(event, 0);
}
