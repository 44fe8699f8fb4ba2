//! What an endpoint says before its answer, and the last chunk of a body. The first byte tells which, and how many cuts follow.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/checks/framing.rs"]
mod framing;

fuzz_target!(|input: &[u8]| {
    let Some((first, rest)) = input.split_first() else { return };
    let (cuts, bytes) = rest.split_at(rest.len().min(usize::from(first % 8)));
    if first & 0x80 == 0 {
        return framing::interims(bytes, cuts);
    }
    let mut parts = bytes.split(|byte| *byte == 0xff).map(<[u8]>::to_vec);
    let fields = [(b"x-a".to_vec(), parts.next().unwrap_or_default()), (b"x-b".to_vec(), b"2".to_vec())];
    let chunks: Vec<_> = parts.filter(|chunk| !chunk.is_empty()).collect();
    framing::last_chunk(&chunks, &fields, cuts, usize::from(first >> 3 & 0xf) + 1);
});
