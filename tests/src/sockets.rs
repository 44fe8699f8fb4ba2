//! TCP sockets of a network namespace, by state, with what they still have to send.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result};

use crate::netns::Netns;

/// Sockets of one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// How many in each state; listeners are left out.
    pub by_state: BTreeMap<&'static str, usize>,
    /// Bytes that the kernel holds for them and the other side has not taken.
    pub unsent: u64,
}

/// States as `include/net/tcp_states.h` numbers them.
const STATES: [&str; 13] = [
    "?",
    "established",
    "syn-sent",
    "syn-recv",
    "fin-wait-1",
    "fin-wait-2",
    "time-wait",
    "close",
    "close-wait",
    "last-ack",
    "listen",
    "closing",
    "new-syn-recv",
];

impl Sockets {
    /// What is there now.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn of(netns: &Netns) -> Result<Self> {
        netns.run(|| {
            let mut found = Self::default();
            for file in ["tcp", "tcp6"] {
                // `self` would be the process's first thread, which is elsewhere.
                let text = fs::read_to_string(format!("/proc/thread-self/net/{file}"))?;
                text.lines().skip(1).try_for_each(|line| found.count(line).with_context(|| line.to_owned()))?;
            }
            Ok(found)
        })
    }

    fn count(&mut self, line: &str) -> Option<()> {
        let mut fields = line.split_whitespace().skip(3);
        let state = *STATES.get(usize::from_str_radix(fields.next()?, 16).ok()?)?;
        if state != "listen" {
            *self.by_state.entry(state).or_default() += 1;
            let (unsent, _) = fields.next()?.split_once(':')?;
            // A closed socket's field counts timers, not bytes.
            self.unsent += if state == "time-wait" { 0 } else { u64::from_str_radix(unsent, 16).ok()? };
        }
        Some(())
    }

    /// Connections that somebody still has to end. One in `time-wait` has ended; the kernel keeps its numbers for a minute.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.by_state.iter().filter(|(state, _)| **state != "time-wait").map(|(_, count)| count).sum()
    }
}

impl std::fmt::Display for Sockets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let states: Vec<_> = self.by_state.iter().map(|(state, count)| format!("{count} {state}")).collect();
        write!(f, "{}", if states.is_empty() { "none".to_owned() } else { states.join(", ") })?;
        if self.unsent > 0 {
            write!(f, " ({} KiB unsent)", self.unsent >> 10)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_bytes_are_read_as_the_kernel_writes_them() {
        let mut found = Sockets::default();
        for line in [
            "   0: 0100007F:1538 00000000:0000 0A 00000000:00000005 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0",
            "   1: 0B01F40A:C350 1501F40A:0050 04 00000800:00000000 01:00000014 00000000     0        0 0 4 0 20 4 30 10 -1",
            "   2: 0B01F40A:C351 1501F40A:0050 06 00000000:00000000 03:000011F2 00000000     0        0 0 3 0",
        ] {
            found.count(line).unwrap();
        }
        assert_eq!(
            (found.alive(), found.unsent, found.to_string().as_str()),
            (1, 2048, "1 fin-wait-1, 1 time-wait (2 KiB unsent)")
        );
    }
}
