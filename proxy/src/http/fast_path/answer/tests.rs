use super::*;

/// What the client gets of an answer that is read in these pieces and followed by the end of the connection, how much data was in it, and its end.
fn through(is_head: bool, closes: bool, pieces: &[&[u8]]) -> Result<(String, u64, Option<End>), Kind> {
    let mut reader = Reader::new(is_head);
    let (mut got, mut data) = (Vec::new(), 0);
    for bytes in pieces {
        let piece = reader.feed(bytes, &mut got, closes)?;
        got.extend_from_slice(&bytes[piece.body]);
        got.extend_from_slice(piece.tail);
        data += piece.data;
        if piece.end.is_some() {
            return Ok((String::from_utf8(got).unwrap(), data, piece.end));
        }
    }
    let last = reader.close();
    got.extend_from_slice(last.unwrap_or_default());
    Ok((String::from_utf8(got).unwrap(), data, last.map(|_| End { reusable: false })))
}

const STAYS: Option<End> = Some(End { reusable: true });
const ENDS: Option<End> = Some(End { reusable: false });

/// Fails if a field changes, if a hop-by-hop one goes on, if an answer ends where its framing does not say so, or if any of that depends on where a
/// read happens to end.
#[test]
fn an_answer_is_passed_on_however_it_is_cut() {
    for (answer, expected, data, end) in [
        (
            "HTTP/1.1 200 Fine\r\nserver: x\r\nConnection: keep-alive\r\nX-Two: a\r\nx-two:  b \r\nCONTENT-length: 5\r\nKeep-Alive: 5\r\n\r\nhello",
            "HTTP/1.1 200 Fine\r\nserver: x\r\nX-Two: a\r\nx-two: b\r\nCONTENT-length: 5\r\n\r\nhello",
            5,
            STAYS,
        ),
        (
            "HTTP/1.1 404 Not Found\r\nconnection: close, X-Mine\r\nx-mine: 1\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            0,
            ENDS,
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            5,
            STAYS,
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, Chunked\r\n\r\n5\r\nhello\r\n0\r\na: b\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, Chunked\r\n\r\n5\r\nhello\r\n0\r\na: b\r\n\r\n",
            5,
            STAYS,
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            0,
            ENDS,
        ),
        (
            "HTTP/1.1 204 No\r\nx: folded\r\n\ttwice\r\ncontent-length: 5\r\n\r\n",
            "HTTP/1.1 204 No\r\nx: folded  \ttwice\r\n\r\n",
            0,
            STAYS,
        ),
        ("HTTP/1.1 304 No\r\ncontent-length: 5\r\n\r\n", "HTTP/1.1 304 No\r\ncontent-length: 5\r\n\r\n", 0, STAYS),
        ("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nx", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx", 1, ENDS),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\nconnection: y\r\n\r\nHTTP/1.1 500 \r\ncontent-length:0\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 500 \r\ncontent-length: 0\r\n\r\n",
            0,
            STAYS,
        ),
    ] {
        let expected = Ok((expected.to_owned(), data, end));
        for cut in 0..answer.len() {
            let (first, second) = answer.as_bytes().split_at(cut);
            assert_eq!(through(false, false, &[first, second]), expected, "{answer} cut at {cut}");
        }
        let bytes: Vec<_> = answer.as_bytes().chunks(1).collect();
        assert_eq!(through(false, false, &bytes), expected, "{answer} byte for byte");
    }
}

#[test]
fn what_ends_with_the_connection_is_chunked_for_the_client() {
    let got = through(false, false, &[b"HTTP/1.1 200 OK\r\n\r\n", b"hello world", b"!"]);
    let expected = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nb\r\nhello world\r\n1\r\n!\r\n0\r\n\r\n";
    assert_eq!(got, Ok((expected.to_owned(), 12, ENDS)));
    let coded = through(false, false, &[b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n", b"x"]);
    let expected =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n";
    assert_eq!(coded, Ok((expected.to_owned(), 1, ENDS)));
}

#[test]
fn an_answer_to_head_has_no_body_and_an_end_is_announced() {
    let got = through(true, true, &[b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"]);
    assert_eq!(got, Ok(("HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\n".to_owned(), 0, STAYS)));
}

#[test]
fn what_was_not_asked_for_ends_the_connection() {
    let got = through(false, false, &[b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nxHTTP/1.1 200 OK"]);
    assert_eq!(got, Ok(("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx".to_owned(), 1, ENDS)));
}

/// Fails if an answer goes on that two readers could see different ends of.
#[test]
fn what_can_be_read_in_two_ways_is_no_answer() {
    for (answer, kind) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxy", Kind::Reset),
        ("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", Kind::Reset),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n", Kind::MalformedAnswer),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: gzip\r\n\r\n", Kind::MalformedAnswer),
        ("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", Kind::Reset),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", Kind::Reset),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnonsense", Kind::Reset),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;\nxx\r\n0\r\n\r\n", Kind::Reset),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\ncontent-length: 3\r\n\r\n", Kind::Reset),
        ("HTTP/1.1 099 Early\r\ncontent-length: 0\r\n\r\n", Kind::Reset),
        ("SSH-2.0-OpenSSH\r\n", Kind::Reset),
    ] {
        assert_eq!(through(false, false, &[answer.as_bytes()]), Err(kind), "{answer}");
    }
    let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(MAX_HEADER_BYTES));
    assert_eq!(through(false, false, &[endless.as_bytes()]), Err(Kind::Reset));
}

#[test]
fn an_answer_to_head_ends_with_its_head_whatever_that_says() {
    let got = through(true, false, &[b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"]);
    assert_eq!(got, Ok(("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(), 0, ENDS)));
}

/// Fails if a request may be sent again though its endpoint has begun to answer.
#[test]
fn an_answer_that_began_was_begun() {
    for bytes in [&b"H"[..], b"SSH-2.0\r\n", b"HTTP/1.1 101 Yes\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"] {
        let mut reader = Reader::new(false);
        assert!(reader.is_untouched());
        let _ = reader.feed(bytes, &mut Vec::new(), false);
        assert!(!reader.is_untouched(), "{bytes:?}");
    }
}
