//! The fault matrix: whatever v2 does, v1's users cannot tell.
//!
//! Comes in: a [`Fault`] and a load. Goes out: a row of numbers for people, and an error where a promise was broken: every primary answer to the
//! byte, every shadow counted under the outcome that it must have, files and memory bounded. Times are only reported here; whoever has quiet
//! minutes compares them (`cargo xtask soak`).

pub mod fault;
pub mod row;
pub mod usage;
pub mod world;

pub use fault::Fault;
pub use row::Row;
pub use usage::Usage;
pub use world::{Limits, World};
