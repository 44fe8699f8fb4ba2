//! `EVENTS`: a sample of the decisions that an operator should hear of. Rate limited in the kernel; nothing depends on them.

use crate::Address;

/// One decision.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Cookie of the namespace.
    pub cookie: u64,
    /// What the application asked for.
    pub address: Address,
    /// The [`crate::stats::Counter`] that was counted.
    pub counter: u32,
    /// Number of the rule.
    pub rule: u32,
    /// What the application asked for, network byte order.
    pub port: u16,
    /// Family of `address`.
    pub family: u8,
    /// 1 if the connect was refused.
    pub denied: u8,
    /// Zero.
    pub padding: u32,
}
