//! Pieces of bodies that are kept for a while.
//!
//! Comes in: a piece as it was read. Goes out: the same bytes, for whoever counts what they take. Never: a few bytes that keep a whole block of a
//! connection's reads alive, which no count would see.

use bytes::Bytes;

/// Reads end up in blocks of at least 8 KiB; a piece that is much smaller is cheaper to copy than to keep.
const SMALL: usize = 4 * 1024;

/// The bytes, to keep.
#[must_use]
pub fn kept(piece: &Bytes) -> Bytes {
    if piece.len() < SMALL { Bytes::copy_from_slice(piece) } else { piece.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails if a small piece is a slice of what was read with it, or if a large one is copied.
    #[test]
    fn a_small_piece_is_no_part_of_a_block() {
        let block = Bytes::from(vec![7; 64 * 1024]);
        for (length, copied) in [(1, true), (SMALL - 1, true), (SMALL, false)] {
            let piece = block.slice(100..100 + length);
            let kept = kept(&piece);
            assert!(kept == piece && (kept.as_ptr() != piece.as_ptr()) == copied, "{length}");
        }
    }
}
