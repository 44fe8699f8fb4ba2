//! First bytes of connections: the first byte says how many cuts follow, the rest is what the client sends.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/checks/detector.rs"]
mod detector;

fuzz_target!(|input: &[u8]| {
    let Some((cuts, rest)) = input.split_first() else { return };
    let (cuts, bytes) = rest.split_at(rest.len().min(usize::from(cuts % 8)));
    detector::check(bytes, cuts);
});
