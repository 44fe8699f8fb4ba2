//! Properties of the data path's parts, for inputs that nobody thought of. `fuzz/` asks the same with inputs that coverage finds.

use proptest::{collection::vec, prelude::*};

#[path = "checks/mod.rs"]
mod checks;

use checks::tee::Step;

/// Bytes that look like something.
fn first_bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(&b"GET / HTTP/1.1\r\n"[..]),
        Just(&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..]),
        Just(&b"PRI * HTTP/2.0\r\n\r\n"[..]),
        Just(&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..]),
        Just(&b"\r\n"[..]),
        Just(&b"\n"[..]),
        Just(&b" "[..]),
        Just(&b"\0"[..]),
        Just(&b"HTTP/1.1"[..]),
        Just(&b"OPTIONS"[..]),
        Just(&b"SSH-2.0-x\r\n"[..]),
    ];
    let pieces = vec(prop_oneof![piece.prop_map(<[u8]>::to_vec), vec(any::<u8>(), 0..8)], 0..6);
    let long = (8_000..20_000_usize).prop_map(|length| vec![b'a'; length]);
    (pieces, prop_oneof![9 => Just(Vec::new()), 1 => long], vec(any::<u8>(), 0..20))
        .prop_map(|(pieces, long, last)| [pieces.concat(), long, last].concat())
}

fn field() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    const NAMES: &[&str] = &[
        "connection",
        "Connection",
        "keep-alive",
        "proxy-connection",
        "upgrade",
        "te",
        "host",
        "content-length",
        "transfer-encoding",
        "trailer",
        "x-a",
        "X-B",
        "cookie",
    ];
    let name = proptest::sample::select(NAMES).prop_map(|name| name.as_bytes().to_vec());
    let token = proptest::sample::select(
        &[
            "x-a",
            "X-b",
            "te",
            "host",
            "content-length",
            "transfer-encoding",
            "keep-alive",
            "close",
            "trailers",
            "chunked",
            "gzip",
            "5",
            "\u{fc}",
            "",
        ][..],
    );
    let value = vec(token, 0..4).prop_map(|tokens| tokens.join(", ").into_bytes());
    (name, prop_oneof![4 => value, 1 => vec(any::<u8>(), 0..12)])
}

/// What an endpoint may say before its answer, and what it may not.
fn answers() -> impl Strategy<Value = Vec<u8>> {
    let piece = proptest::sample::select(
        &[
            "HTTP/1.1 100 Continue\r\n",
            "HTTP/1.1 103 Early\r\n",
            "HTTP/1.1 101 Switching\r\n",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 1",
            "Connection: close, x-a\r\n",
            "X-A: 1\r\n",
            "X-B: \u{fc}\n",
            "Content-Length: 5\r\n",
            " folded\r\n",
            "\r\n",
            "\n",
            "\r",
            "\0",
        ][..],
    );
    vec(piece, 0..12).prop_map(|pieces| pieces.concat().into_bytes())
}

/// The content of a chunk, which may look like the end of all chunks.
fn chunk() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(b"0\r\n\r\n".to_vec()), Just(b"a0\r\n\r\n".to_vec()), vec(any::<u8>(), 1..12)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Fails if a verdict depends on where a read ends, as it did for a NUL in a request's target.
    #[test]
    fn the_same_bytes_get_the_same_verdict(bytes in first_bytes(), cuts in vec(any::<u8>(), 0..5)) {
        checks::detector::check(&bytes, &cuts);
    }

    /// Fails if a nominated field stays, if framing can be nominated away, or if removing fields reorders the others.
    #[test]
    fn heads_lose_what_is_hop_by_hop_and_nothing_else(fields in vec(field(), 0..12)) {
        checks::header::check(&fields);
    }

    /// Fails if a shadow that lags or ends changes what v1 gets, or leaves memory behind.
    #[test]
    fn a_shadow_never_changes_the_primary(steps in vec(any::<u8>(), 0..120), limit in 0..600_usize, node in 0..2_000_usize) {
        let steps: Vec<_> = steps.into_iter().map(Step::from_byte).collect();
        checks::tee::check(&steps, limit, node);
    }

    /// Fails if a 1xx is lost, doubled or changed where a read ends, or if a field of the endpoint's connection goes on with it.
    #[test]
    fn informational_answers_are_passed_on_whole(bytes in answers(), cuts in vec(any::<u8>(), 0..5)) {
        checks::framing::interims(&bytes, &cuts);
    }

    /// Fails if trailers come anywhere but behind the last chunk, or if a byte of the others is lost where a write ends.
    #[test]
    fn trailers_stand_behind_the_last_chunk(
        chunks in vec(chunk(), 0..5), fields in vec(field(), 0..5), cuts in vec(any::<u8>(), 0..5), step in 1..8_usize,
    ) {
        checks::framing::last_chunk(&chunks, &fields, &cuts, step);
    }
}
