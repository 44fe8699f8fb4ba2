use super::*;

const BOUND: u64 = 100;

/// How an answer ends that comes in these pieces, and how much data was in it. Behind the last piece the connection ends.
fn read(is_head: bool, pieces: &[&[u8]]) -> (Reply, Answer) {
    let (mut reader, mut answer) = (Reader::new(is_head, true, BOUND), Answer::default());
    for piece in pieces {
        match reader.feed(piece, &mut answer) {
            Reply::Partial => {}
            ended => return (ended, answer),
        }
    }
    (reader.end(), answer)
}

/// An answer that leaves nothing behind.
fn whole(status: u16, reusable: bool, bytes: u64) -> (Reply, Answer) {
    (Reply::Whole { status, finished: true, reusable }, Answer { bytes, cut: false })
}

/// An answer behind which something may come.
fn unfinished(status: u16, answer: Answer) -> (Reply, Answer) {
    (Reply::Whole { status, finished: false, reusable: false }, answer)
}

/// Fails if an answer ends too early, too late or differently where a read happens to end.
#[test]
fn an_answer_ends_where_its_framing_says_however_it_is_cut() {
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", whole(200, true, 5)),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\nContent-Length: 5\r\n\r\nhello", whole(200, true, 5)),
        (
            "HTTP/1.1 200\r\ntransfer-encoding: gzip, Chunked\r\n\r\n5\r\nhello\r\n0\r\na: b\r\n\r\n",
            whole(200, true, 5),
        ),
        ("HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n", whole(204, true, 0)),
        ("HTTP/1.1 304 No\r\ntransfer-encoding: chunked\r\n\r\n", whole(304, true, 0)),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 E\r\nlink: x\r\n\r\nHTTP/1.1 500 \r\ncontent-length:0\r\n\r\n",
            whole(500, true, 0),
        ),
        ("HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n", unfinished(101, Answer::default())),
        ("HTTP/1.1 200 OK\r\nConnection: keep-alive, Close\r\ncontent-length: 1\r\n\r\nx", whole(200, false, 1)),
        ("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nx", whole(200, false, 1)),
        // Two ends: the coding counts, and the connection is not trusted with another.
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", whole(200, false, 0)),
        ("HTTP/1.1 200 OK\r\nfolded: a\r\n b\r\nspace : c\r\ncontent-length: 1\r\n\r\nx", whole(200, true, 1)),
    ] {
        let bytes = answer.as_bytes();
        for cut in 0..bytes.len() {
            assert_eq!(read(false, &[&bytes[..cut], &bytes[cut..]]), expected, "{answer:?} cut at {cut}");
            assert_eq!(read(false, &[&bytes[..cut]]).0, Reply::Broken, "{answer:?} broken off at {cut}");
        }
        let pieces: Vec<_> = bytes.chunks(1).collect();
        assert_eq!(read(false, &pieces), expected, "{answer:?} byte by byte");
    }
}

#[test]
fn an_answer_without_a_length_ends_with_its_connection() {
    for head in
        ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\n"]
    {
        assert_eq!(read(false, &[head.as_bytes(), b"hel", b"lo"]), whole(200, false, 5), "{head:?}");
    }
}

#[test]
fn an_answer_to_head_has_no_body() {
    for framing in ["content-length: 5", "transfer-encoding: chunked", "x: y"] {
        let head = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n");
        assert_eq!(read(true, &[head.as_bytes()]), whole(200, true, 0), "{framing}");
    }
}

/// Fails if a connection that has said too much is used again.
#[test]
fn what_follows_an_answer_is_not_the_next_one() {
    for answer in ["content-length: 1\r\n\r\nx", "transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"] {
        let more = format!("HTTP/1.1 200 OK\r\n{answer}HTTP/1.1 200 OK\r\n\r\n");
        assert_eq!(read(false, &[more.as_bytes()]), unfinished(200, Answer { bytes: 1, cut: false }), "{answer}");
    }
}

#[test]
fn nonsense_is_broken() {
    for nonsense in [
        "SSH-2.0\r\n",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\ncontent-length: \r\n\r\nx",
        "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551616\r\n\r\nx",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n",
    ] {
        assert_eq!(read(false, &[nonsense.as_bytes()]).0, Reply::Broken, "{nonsense:?}");
    }
    let endless = [b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &[b'x'; MAX_HEADER_BYTES]].concat();
    assert_eq!(read(false, &[&endless]).0, Reply::Broken);
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(MAX_HEADERS + 1));
    assert_eq!(read(false, &[many.as_bytes()]).0, Reply::Broken);
}

#[test]
fn a_long_answer_is_cut_and_an_answer_all_the_same() {
    let body = "x".repeat(BOUND as usize + 1);
    for head in ["content-length: 1000000\r\n\r\n", "transfer-encoding: chunked\r\n\r\nFFFF\r\n", "\r\n"] {
        let answer = format!("HTTP/1.1 200 OK\r\n{head}{body}");
        let cut = Answer { bytes: BOUND + 1, cut: true };
        assert_eq!(read(false, &[answer.as_bytes()]), unfinished(200, cut), "{head:?}");
    }
    let just = format!("HTTP/1.1 200 OK\r\ncontent-length: {BOUND}\r\n\r\n{}", &body[1..]);
    assert_eq!(read(false, &[just.as_bytes()]), whole(200, true, BOUND));
}

/// Fails if a connection is kept whose request asked for its end.
#[test]
fn a_request_of_http_1_0_ends_its_connection() {
    let (mut reader, mut answer) = (Reader::new(false, false, BOUND), Answer::default());
    let reply = reader.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", &mut answer);
    assert_eq!((reply, answer), whole(200, false, 0));
}
