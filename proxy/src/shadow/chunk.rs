//! What a shadow holds of its request's body, and what that costs the node.
//!
//! A chunk is charged from the moment that it is queued until the connection has written or dropped it, so the bytes in a codec's hands count as
//! well. What the kernel holds is bounded by the socket ([`crate::net::factory`]).

use std::{cell::Cell, rc::Rc};

use bytes::{Buf, Bytes};

use super::budget::Budget;
use crate::codec::kept;

/// Memory that a chunk takes beside its bytes: many tiny chunks must not slip through the budget.
pub(super) const OVERHEAD: usize = 128;

/// What one shadow holds. Its chunks keep it alive.
#[derive(Debug)]
pub(super) struct Account {
    budget: Budget,
    unsent: Cell<usize>,
}

impl Account {
    pub(super) fn new(budget: Budget) -> Rc<Self> {
        Rc::new(Self { budget, unsent: Cell::new(0) })
    }

    /// Body bytes that are not written yet.
    pub(super) fn unsent(&self) -> usize {
        self.unsent.get()
    }

    /// Charges a chunk; `None` if the node's budget is spent.
    pub(super) fn charge(self: &Rc<Self>, bytes: &Bytes) -> Option<Chunk> {
        let length = bytes.len();
        self.budget.take(length + OVERHEAD).then(|| {
            self.unsent.set(self.unsent.get() + length);
            Chunk { bytes: kept(bytes), length, account: Rc::clone(self) }
        })
    }
}

/// A piece of a shadow's body.
#[derive(Debug)]
pub struct Chunk {
    bytes: Bytes,
    /// As it was charged: what is written is memory until the whole chunk is.
    length: usize,
    account: Rc<Account>,
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.account.unsent.set(self.account.unsent.get() - self.length);
        self.account.budget.give(self.length + OVERHEAD);
    }
}
