//! Steps of a request's body: two bytes for what the shadow and the node may hold, then a step for each byte.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/checks/tee.rs"]
mod tee;

fuzz_target!(|input: &[u8]| {
    let [limit, node, steps @ ..] = input else { return };
    let steps: Vec<_> = steps.iter().copied().map(tee::Step::from_byte).collect();
    tee::check(&steps, usize::from(*limit) * 4, usize::from(*node) * 8);
});
