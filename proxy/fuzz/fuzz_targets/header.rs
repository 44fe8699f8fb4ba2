//! Heads: lines of `name: value`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/checks/header.rs"]
mod header;

fuzz_target!(|input: &[u8]| {
    let line = |line: &[u8]| {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        (line[..colon].to_vec(), line.get(colon + 1..).unwrap_or_default().trim_ascii().to_vec())
    };
    let lines: Vec<_> = input.split(|byte| *byte == b'\n').map(line).collect();
    header::check(&lines);
});
