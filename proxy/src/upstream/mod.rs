//! Connections to endpoints.
//!
//! Comes in: a pod (its namespace), an endpoint, a request. Goes out: an answer, or how it failed. Never: which endpoints there are (that is
//! `route`), anything about shadows beyond their traffic class.
//!
//! `balance` chooses the endpoint, `connect` makes the connection inside the pod's namespace, `connection` is one of either protocol and where
//! it is kept: `http1` carries one request at a time and waits in `pool`, `http2` carries many and is shared by `streams`. `watched` tells when a
//! head is written and hears informational answers with `interim`.

pub mod balance;
pub mod connect;
pub mod connection;
pub mod http1;
pub mod http2;
pub mod interim;
pub mod pool;
pub mod streams;
pub mod watched;
