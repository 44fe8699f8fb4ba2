//! Understudy mirrors live HTTP traffic of Kubernetes pods without sidecars.
//!
//! The life of a connection, in the order of the modules: `capture` (the connect hook sends it to us), `net` (a listener in the pod's
//! namespace), `enrol` (which pods), `accept`, `detect` (HTTP or not), `opaque` or `http`, `route` (which rule), `upstream` (the primary),
//! `shadow` (the copy).
//!
//! The life of a manifest: `control::{source, manifest, model, validate, compile, store}`.
#![deny(unsafe_code)]
#![forbid(unsafe_op_in_unsafe_fn)]

pub mod accept;
pub mod admin;
pub mod app;
pub mod capture;
pub mod cli;
pub mod codec;
pub mod commands;
pub mod control;
pub mod detect;
pub mod enrol;
pub mod fault;
#[cfg(test)]
mod future_sizes;
pub mod http;
pub mod limit;
pub mod net;
pub mod observe;
pub mod opaque;
pub mod patience;
pub mod report;
pub mod route;
pub mod runtime;
mod seldom;
pub mod settings;
pub mod shadow;
pub mod status;
mod sync;
pub mod under_way;
pub mod upstream;
pub mod worker;
