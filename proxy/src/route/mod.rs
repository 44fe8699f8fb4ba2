//! Which rule a request falls under, and where the rule sends it.
//!
//! Comes in: a compiled, immutable [`Table`] and a request's head. Goes out: a [`Rule`] with a destination and mirrors.
//! Never: sockets, aya, manifests (those end in `control::compile`).

pub mod action;
pub mod authority;
pub mod client;
pub mod endpoint;
pub mod header_ops;
pub mod labels;
pub mod matching;
pub mod redirect;
pub mod rewrite;
pub mod rule;
pub mod shadow_settings;
pub mod table;
pub mod weight;

pub use action::{Action, Forward, Target};
pub use client::Client;
pub use endpoint::{Destination, Endpoint, Unroutable};
pub use header_ops::HeaderOps;
pub use labels::Labels;
pub use rule::{Mirror, Rule};
pub use shadow_settings::{Methods, SampleBy, ShadowSettings};
pub use table::{PortProtocol, Table, VirtualHost};
