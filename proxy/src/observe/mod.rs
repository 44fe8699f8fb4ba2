//! What is seen from outside: metrics, access log, telemetry.
//!
//! Comes in: events of the data path as calls on handles that the table resolved beforehand. Goes out: text.
//! Never: labels taken from a request, locks on the request path.

pub mod access_log;
pub mod lines;
pub mod loop_lag;
pub mod metrics;
pub mod process;
pub mod telemetry;
pub mod timestamp;
pub mod unmirrorable;
pub mod worker_tasks;
