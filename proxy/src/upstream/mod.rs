//! Connections to endpoints.
//!
//! Comes in: a pod (its namespace), an endpoint, a request. Goes out: an answer, or how it failed. Never: which endpoints there are (that is
//! `route`), anything about shadows beyond their traffic class.
//!
//! `balance` chooses the endpoint, `connect` makes the connection inside the pod's namespace, `watched` tells when a head is written
//! and hears informational answers with `interim`, `pool` keeps idle connections, per worker.

pub mod balance;
pub mod connect;
pub mod interim;
pub mod pool;
pub mod watched;
