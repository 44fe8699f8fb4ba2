//! What threads share, in every order in which they can come to it (loom). The files are the real ones, with loom's atomics for the standard
//! library's.

#[path = "models/drain.rs"]
mod a_drain;
#[path = "models/ledger.rs"]
mod a_ledger;
#[path = "models/limit.rs"]
mod a_limit;

/// See `proxy/src/sync.rs`.
mod sync {
    pub(crate) use loom::sync::{Arc, atomic};
}

#[path = "../src/observe/lines/ledger.rs"]
mod ledger;
#[path = "../src/limit.rs"]
pub mod limit;
#[path = "../src/under_way.rs"]
pub mod under_way;

/// Plays a scene in every order that takes the processor from a thread twice at most, where it would not have let go of it. (All orders of the
/// larger scenes are too many; a mistake that needs three such moments is rare.)
fn in_every_order(scene: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(scene);
}
