//! Frames written out by hand, for what no library's server does.

use anyhow::Result;

use crate::wire::Wire;

/// A frame (RFC 9113, 4.1).
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// GOAWAY with NO_ERROR: no stream was processed.
#[must_use]
pub fn go_away() -> Vec<u8> {
    frame(7, 0, 0, &[0; 8])
}

/// Reads frames until one of this kind; returns its stream.
///
/// # Errors
/// When none comes.
pub fn first_of(kind: u8, wire: &mut Wire) -> Result<u32> {
    loop {
        let head = wire.take(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        wire.take(length as usize)?;
        if head[3] == kind {
            return Ok(u32::from_be_bytes([head[5], head[6], head[7], head[8]]));
        }
    }
}

/// Answers the preface, and reads until the first head; returns its stream.
///
/// # Errors
/// When none comes.
pub fn first_head(wire: &mut Wire) -> Result<u32> {
    wire.send(&frame(4, 0, 0, &[]))?;
    wire.take(24)?;
    first_of(1, wire)
}
