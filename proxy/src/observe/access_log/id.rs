//! Names for requests, made without asking anyone.

use std::{
    cell::Cell,
    fmt,
    hash::{BuildHasher as _, RandomState},
};

const WORKER_BITS: u32 = 10;
const COUNT_BITS: u32 = u64::BITS - WORKER_BITS;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

/// A request's name: unique in the process, unlikely to be met again after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(u64);

impl RequestId {
    /// Its number.
    pub(in crate::observe) fn bits(self) -> u64 {
        self.0
    }

    /// From what [`bits`](Self::bits) gave.
    pub(in crate::observe) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A worker's supply of names: its number in the upper bits, then a count from a random start.
#[derive(Debug)]
pub struct RequestIds {
    worker: u64,
    count: Cell<u64>,
}

impl RequestIds {
    /// For the worker of this number, 0 ..= 1023; one supply each.
    #[must_use]
    pub fn new(worker: u16) -> Self {
        Self::starting_at(worker, RandomState::new().hash_one(worker))
    }

    fn starting_at(worker: u16, start: u64) -> Self {
        Self { worker: u64::from(worker) << COUNT_BITS, count: Cell::new(start) }
    }

    /// The next name.
    #[must_use]
    pub fn next(&self) -> RequestId {
        let count = self.count.get();
        self.count.set(count.wrapping_add(1));
        RequestId(self.worker | (count & COUNT_MASK))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_differ_between_requests_and_between_workers() {
        let mut seen = HashSet::new();
        for worker in [0, 1, 1023] {
            let ids = RequestIds::starting_at(worker, u64::MAX - 2); // across the end of the count
            assert!((0..10).all(|_| seen.insert(ids.next())), "worker {worker}");
        }
    }

    #[test]
    fn a_name_is_sixteen_hexadecimal_digits() {
        assert_eq!(RequestIds::starting_at(1, 0xa).next().to_string(), "004000000000000a");
    }
}
