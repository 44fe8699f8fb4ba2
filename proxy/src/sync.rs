//! What the small types that threads share are made of. `tests/models.rs` takes those types' files and gives them loom's in place of these, so
//! that it can try every order of their steps. They import atomics from nowhere else.

pub(crate) use std::sync::{Arc, atomic};
