//! Requests and answers that two servers could read in two ways (RFC 9112, 2.2, 3.2, 5, 6.1, 6.3, 7.1, 11.2): refused before a byte of them
//! has been forwarded, or forwarded in the one form that everybody reads alike.
//!
//! Behind every request stands another in the same segment: whoever takes the first one for shorter or longer than it is shows by that.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use integration::{
    Behaviour, Recorder, case, harness,
    theatre::{NEEDS, Theatre, from_v1},
    wait,
};

fn main() -> ExitCode {
    harness::main(&[
        case!(what_can_be_read_in_two_ways_is_refused).needs(NEEDS),
        case!(what_is_let_through_is_framed_anew).needs(NEEDS),
        case!(a_body_that_goes_wrong_ends_both_requests_unfinished).needs(NEEDS),
        case!(an_answer_that_can_be_read_in_two_ways_is_none).needs(NEEDS),
    ])
}

/// The request that must never be seen behind one that is refused.
const NEXT: &[u8] = b"GET /next HTTP/1.1\r\nHost: httpbin\r\n\r\n";

/// A `POST` with these lines behind its Host, and this body.
fn post(lines: &[u8], body: &[u8]) -> Vec<u8> {
    [b"POST / HTTP/1.1\r\nHost: httpbin\r\n", lines, b"\r\n\r\n", body].concat()
}

/// A `GET` with these lines for its header.
fn get(lines: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\n{lines}\r\n\r\n").into_bytes()
}

/// What v2 hears of a request that v1 hears so.
fn shadow_of(request: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(request).into_owned();
    let marked = text.replacen("\r\n\r\n", "\r\nx-understudy-shadow: true\r\n\r\n", 1);
    marked.replacen("Host: httpbin", "Host: httpbin-shadow", 1).into_bytes()
}

fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(300)].escape_ascii().to_string()
}

/// Runs every row and reports all that fail.
fn all<T>(rows: Vec<T>, mut row: impl FnMut(&T) -> Result<()>) -> Result<usize> {
    let failed: Vec<_> = rows.iter().filter_map(|what| row(what).err()).map(|error| format!("- {error:#}")).collect();
    ensure!(failed.is_empty(), "{} of {} rows:\n{}", failed.len(), rows.len(), failed.join("\n"));
    Ok(rows.len())
}

/// Fails for each row if hyper's reading or ours becomes more lenient, or if a connection goes on after a request that was refused.
fn what_can_be_read_in_two_ways_is_refused() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    let mut rows: Vec<(u16, Vec<u8>)> = Vec::new();
    // 6.3: lengths.
    for length in [
        "Content-Length: 2\r\nContent-Length: 3",
        "Content-Length: 2, 3",
        "Content-Length: 2, 2",
        "Content-Length: +2",
        "Content-Length: -1",
        "Content-Length: 0x2",
        "Content-Length: 2 2",
        "Content-Length: 2;",
        "Content-Length: two",
        "Content-Length:",
        "Content-Length: 18446744073709551616",
        "Content-Length: 99999999999999999999999",
        "Content-Length: 2\r\nContent-Length: ",
        "content-length: 2\r\nCONTENT-LENGTH: 02x",
        "Content-Length : 2",
        "Content-Length\t: 2",
    ] {
        rows.push((400, post(length.as_bytes(), b"hi")));
    }
    // 6.1: codings.
    for (status, coding) in [
        (501, &b"Transfer-Encoding: gzip, chunked"[..]),
        (501, b"Transfer-Encoding: chunked, chunked"),
        (501, b"Transfer-Encoding: identity, chunked"),
        (501, b"Transfer-Encoding: ,chunked"),
        (501, b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        (501, b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked"),
        (501, b"Transfer-Encoding: \xff\r\nTransfer-Encoding: chunked"),
        (501, b"Transfer-Encoding: \r\nTransfer-Encoding: chunked"),
        (400, b"Transfer-Encoding: chunked, gzip"),
        (400, b"Transfer-Encoding: chunked,"),
        (400, b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip"),
        (400, b"Transfer-Encoding: gzip"),
        (400, b"Transfer-Encoding: identity"),
        (400, b"Transfer-Encoding: xchunked"),
        (400, b"Transfer-Encoding: \"chunked\""),
        (400, b"Transfer-Encoding: chunked;a=b"),
        (400, b"Transfer-Encoding: chunked\xa0"),
        (400, b"Transfer-Encoding:"),
        (400, b"Transfer-Encoding:\x0bchunked"),
        (400, b"Transfer-Encoding : chunked"),
        (400, b"Transfer-Encoding\t: chunked"),
        (400, b"X: 1\r\n Transfer-Encoding: chunked"),
        (400, b"Transfer-Encoding:\r\n chunked"),
    ] {
        rows.push((status, post(coding, b"2\r\nhi\r\n0\r\n\r\n")));
    }
    let of_1_0 = "POST / HTTP/1.0\r\nHost: httpbin\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    rows.push((400, of_1_0.into()));
    // 2.2 and 5: lines and fields.
    for line in [
        &b"X : 1"[..],
        b"X: a\r\n b",
        b"X: a\r\n\tb",
        b" X: 1",
        b"X\0: 1",
        b"X: a\0b",
        b"X: a\rb",
        b"X\r: 1",
        b"X: a\x7fb",
        b"X: a\x08b",
        b"X(: 1",
        b": 1",
        b"no colon",
        b"\xff: 1",
    ] {
        rows.push((400, post(line, b"")));
    }
    rows.push((400, b"GET / HTTP/1.1\r\n Host: httpbin\r\n\r\n".to_vec()));
    rows.push((400, b"GET / HTTP/1.1\rHost: httpbin\r\r".to_vec()));
    rows.push((400, b"GET / HTTP/1.1\r\nHost: httpbin\rX: 1\r\n\r\n".to_vec()));
    // 3.2: Host.
    for lines in [
        "Accept: */*",
        "Host: httpbin\r\nHost: httpbin",
        "Host: httpbin\r\nhost: other",
        "Host: http bin",
        "Host: httpbin, other",
        "Host: user@httpbin",
        "Host: httpbin:port",
        "Host: httpbin:65536",
        "Host: httpbin:80:80",
        "Host: httpbin%2",
        "Host: httpbin%zz",
        "Host: httpbin/",
        "Host: httpbin\\",
        "Host: httpbin?",
        "Host: httpbin#",
        "Host: [httpbin]",
        "Host: [::1",
        "Host: ::1",
        "Host: \u{fc}ber",
        "Host: \"httpbin\"",
    ] {
        rows.push((400, get(lines)));
    }
    // 3 and 3.2: the request line.
    for (status, line) in [
        (400, " GET / HTTP/1.1"),
        (400, "GET  / HTTP/1.1"),
        (400, "GET /  HTTP/1.1"),
        (400, "GET / HTTP/1.1 "),
        (400, "GET\t/ HTTP/1.1"),
        (400, "GET /a b HTTP/1.1"),
        (400, "G@T / HTTP/1.1"),
        (400, "GET / http/1.1"),
        (400, "GET / HTTP/1.10"),
        (400, "GET / HTTP/11"),
        (400, "GET / HTTP/1"),
        (400, "GET / HTTX/1.1"),
        (400, "GET /"),
        (400, "GET"),
        (400, "GET httpbin HTTP/1.1"),
        (400, "GET httpbin:80 HTTP/1.1"),
        (400, "GET * HTTP/1.1"),
        (400, "CONNECT / HTTP/1.1"),
        (400, "CONNECT http://httpbin/ HTTP/1.1"),
        (400, "GET http://user@httpbin/ HTTP/1.1"),
        (400, "GET http:// HTTP/1.1"),
        (400, "GET http:///path HTTP/1.1"),
        (400, "GET http://httpbin:x/ HTTP/1.1"),
        (505, "GET / HTTP/0.9"),
        (505, "GET / HTTP/1.2"),
        (505, "GET / HTTP/2.0"),
    ] {
        rows.push((status, format!("{line}\r\nHost: httpbin\r\n\r\n").into_bytes()));
    }
    rows.push((400, b"GET http://httpbin/ HTTP/1.1\r\n\r\n".to_vec()));
    rows.push((400, b"GET http://httpbin/ HTTP/1.1\r\nHost: http bin\r\n\r\n".to_vec()));

    let (v1, v2) = (&theatre.v1.recorder, &theatre.v2.recorder);
    all(rows, |(status, sent)| {
        let what = shown(sent);
        let mut wire = theatre.dial()?;
        wire.send(&[sent, NEXT].concat())?;
        let answer = wire.answer().with_context(|| what.clone())?;
        ensure!(answer.status == *status, "{what} got {} instead of {status}", answer.status);
        let rest = wire.rest().with_context(|| what.clone())?;
        ensure!(rest.is_empty(), "{what}: then came {}", shown(&rest));
        let heard = [v1, v2, &theatre.native.recorder].map(Recorder::heard).concat();
        ensure!(heard.is_empty(), "{what}: somebody heard {}", shown(&heard));
        Ok(())
    })?;
    theatre.ask_v1()?;
    theatre.outcomes(&[("answered", 1)])?;
    Ok(())
}

/// A request that is let through: as it is sent, as v1 hears it, and whether its connection takes another.
struct Passes {
    sent: Vec<u8>,
    heard: Vec<u8>,
    kept: bool,
}

/// Fails if a lenient reading is passed on as it came, or if a connection goes on although its next request cannot be trusted.
fn what_is_let_through_is_framed_anew() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    let chunks = b"2\r\nhi\r\n0\r\n\r\n";
    let chunked = post(b"Transfer-Encoding: chunked", chunks);
    let length = post(b"Content-Length: 2", b"hi");
    let passes = |kept, sent: Vec<u8>, heard: &[u8]| Passes { sent, heard: heard.to_vec(), kept };
    let rows = vec![
        passes(true, length.clone(), &length),
        passes(true, chunked.clone(), &chunked),
        passes(true, post(b"Content-Length: 2\r\nContent-Length: 2", b"hi"), &length),
        passes(true, post(b"Content-Length: \t2 \t", b"hi"), &length),
        passes(true, b"POST / HTTP/1.1\nHost: httpbin\nContent-Length: 2\n\nhi".to_vec(), &length),
        passes(true, [b"\r\n\r\n", &length[..]].concat(), &length),
        passes(true, post(b"Transfer-Encoding: chunked", b"0002\r\nhi\r\n000\r\n\r\n"), &chunked),
        passes(true, post(b"Transfer-Encoding: chunked", b"2 ;a=b;c=\"d\"\r\nhi\r\n0;x\r\n\r\n"), &chunked),
        // 6.3: the coding counts, the length must not travel on, and nobody knows what the sender meant.
        passes(false, post(b"Content-Length: 3\r\nTransfer-Encoding: chunked", chunks), &chunked),
        passes(false, post(b"Transfer-Encoding: chunked\r\nContent-Length: 3", chunks), &chunked),
        passes(false, post(b"Transfer-Encoding: chunked\r\nContent-Length: nonsense", chunks), &chunked),
        passes(false, post(b"Connection: close\r\nContent-Length: 2", b"hi"), &length),
        passes(false, b"POST / HTTP/1.0\r\nHost: httpbin\r\nContent-Length: 2\r\n\r\nhi".to_vec(), &length),
        // Nobody can nominate framing or Host away.
        passes(true, post(b"Connection: content-length, host\r\nContent-Length: 2", b"hi"), &length),
        passes(true, post(b"Connection: transfer-encoding\r\nTransfer-Encoding: chunked", chunks), &chunked),
        // Other fields, whatever some servers make of them.
        passes(
            true,
            post(b"Content_Length: 9\r\nContent-Length: 2", b"hi"),
            &post(b"Content_Length: 9\r\nContent-Length: 2", b"hi"),
        ),
        // 7.1.2: framing in trailers is none.
        passes(
            true,
            post(
                b"Trailer: x-sum, content-length, transfer-encoding, host\r\nTransfer-Encoding: chunked",
                b"2\r\nhi\r\n0\r\nx-sum: 1\r\nContent-Length: 9\r\nTransfer-Encoding: gzip\r\nHost: other\r\n\r\n",
            ),
            &post(
                b"Trailer: x-sum, content-length, transfer-encoding, host\r\nTransfer-Encoding: chunked",
                b"2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n",
            ),
        ),
        // 3.2.2: the target counts, and the Host says the same.
        passes(
            true,
            b"GET http://httpbin/x HTTP/1.1\r\nHost: other\r\n\r\n".to_vec(),
            b"GET http://httpbin/x HTTP/1.1\r\nHost: httpbin\r\n\r\n",
        ),
        passes(true, b"get / HTTP/1.1\r\nHost: httpbin\r\n\r\n".to_vec(), b"get / HTTP/1.1\r\nHost: httpbin\r\n\r\n"),
        passes(
            true,
            b"OPTIONS * HTTP/1.1\r\nHost: httpbin\r\n\r\n".to_vec(),
            b"OPTIONS * HTTP/1.1\r\nHost: httpbin\r\n\r\n",
        ),
    ];
    let (mut v1, mut v2) = (0, 0);
    let mut candidates = 0;
    let count = all(rows, |Passes { sent, heard, kept }| {
        let what = shown(sent);
        let mut wire = theatre.dial()?;
        wire.send(&[sent, NEXT].concat())?;
        let answer = wire.answer().with_context(|| what.clone())?;
        ensure!(answer.status == 200 && answer.text() == "one", "{what} got {answer:?}");
        if *kept {
            from_v1(&wire.answer()?).with_context(|| what.clone())?;
            wire.finish()?;
        }
        ensure!(wire.rest().with_context(|| what.clone())?.is_empty(), "{what}: more came");
        let next = if *kept { NEXT } else { b"" };
        candidates += 1 + usize::from(*kept);
        let came = theatre.v1.recorder.heard().split_off(v1);
        v1 += came.len();
        ensure!(came == [heard, next].concat(), "{what}: v1 heard {}", shown(&came));
        // An absolute target would contradict the shadow's Host.
        let one = String::from_utf8_lossy(&shadow_of(heard)).replace("http://httpbin/x", "/x").into_bytes();
        let two = if *kept { shadow_of(NEXT) } else { Vec::new() };
        let came = wait::until(&format!("both shadows of {what}"), || {
            // They may come at once, on two connections.
            let came = theatre.v2.recorder.heard_apart(v2).concat();
            Ok((came.len() >= one.len() + two.len()).then_some(came))
        });
        v2 = theatre.v2.recorder.heard().len();
        let came = came?;
        ensure!(
            came == [&one[..], &two].concat() || came == [&two[..], &one].concat(),
            "{what}: v2 heard {}",
            shown(&came)
        );
        Ok(())
    });
    count?;
    theatre.outcomes(&[("answered", candidates)])?;
    Ok(())
}

/// Fails if what was right of a body is ended as if it were all: then v1 or v2 would act upon half a request.
fn a_body_that_goes_wrong_ends_both_requests_unfinished() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    let long = [b"2;", &vec![b'x'; 20 * 1024][..], b"\r\nhi\r\n0\r\n\r\n"].concat();
    let many: String = (0..300).map(|i| format!("X-{i}: 1\r\n")).collect();
    let many = format!("0\r\n{many}\r\n");
    let rows: Vec<&[u8]> = vec![
        b"-1\r\n",
        b"0x2\r\nhi\r\n0\r\n\r\n",
        b"\r\n0\r\n\r\n",
        b" 2\r\nhi\r\n0\r\n\r\n",
        b"2 2\r\nhi\r\n0\r\n\r\n",
        b"g\r\n0\r\n\r\n",
        b"10000000000000000\r\nhi\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\nhi\r\n0\r\n\r\n",
        b"2\nhi\r\n0\r\n\r\n",
        b"2\r\nhi0\r\n\r\n",
        b"2\r\nhi\n0\r\n\r\n",
        b"2\r\nhi!\r\n0\r\n\r\n",
        b"2;a\nb\r\nhi\r\n0\r\n\r\n",
        b"2\rX\nhi\r\n0\r\n\r\n",
        &long,
        b"0\r\nno colon\r\n\r\n",
        b"0\r\n X: 1\r\n\r\n",
        b"0\r\nX : 1\r\n\r\n",
        b"0\r\nX: a\nContent-Length: 3\r\n\r\n",
        b"0\r\nX: a\0\r\n\r\n",
        many.as_bytes(),
        b"0\r\n\rX",
    ];
    // What was right before it went wrong may have gone on.
    let right = b"2\r\nhi\r\n";
    let mut requests = Vec::new();
    let count = all(rows, |bad| {
        let what = shown(bad);
        let path = format!("POST /{} ", requests.len());
        let request = post(b"Transfer-Encoding: chunked", b"4\r\ngood\r\n");
        let request = String::from_utf8_lossy(&request).replacen("POST / ", &path, 1).into_bytes();
        requests.push(request.clone());
        let mut wire = theatre.dial()?;
        wire.send(&request)?;
        for (recorder, wanted) in [(&theatre.v1.recorder, request.clone()), (&theatre.v2.recorder, shadow_of(&request))]
        {
            wait::until(&format!("{what}: {}", shown(&wanted)), || {
                Ok(recorder.heard().windows(wanted.len()).any(|heard| heard == wanted).then_some(()))
            })?;
        }
        wire.send(&[bad, NEXT].concat())?;
        let answer = wire.answer().with_context(|| what.clone())?;
        ensure!(answer.status == 400, "{what} got {answer:?}");
        // The end may come as a reset: not all that was sent has been read.
        let rest = wire.rest().unwrap_or_default();
        ensure!(rest.is_empty(), "{what}: then came {}", shown(&rest));
        Ok(())
    })?;
    theatre.outcomes(&[("cancelled", count)])?;
    let shadows: Vec<_> = requests.iter().map(|request| shadow_of(request)).collect();
    for (recorder, requests) in [(&theatre.v1.recorder, requests), (&theatre.v2.recorder, shadows)] {
        let heard = recorder.heard();
        let mut rest = &heard[..];
        for request in &requests {
            rest = rest
                .strip_prefix(&request[..])
                .with_context(|| format!("{} instead of {}", shown(rest), shown(request)))?;
            // Of this one, or of the one before: they came on two connections.
            while let Some(after) = rest.strip_prefix(right) {
                rest = after;
            }
        }
        ensure!(rest.is_empty(), "more was heard: {}", shown(rest));
        ensure!(recorder.count() == 0, "half a request was completed");
    }
    Ok(())
}

/// How an answer of v1 reaches the client.
#[derive(Debug)]
enum Reaches {
    /// This status instead.
    As(u16),
    /// Its head, and a connection that breaks.
    Broken,
    /// Whole: these bytes.
    Whole(&'static str),
}

/// Fails if the client is given a clean answer that is not what v1 meant, or is left with a connection on which something else may follow.
fn an_answer_that_can_be_read_in_two_ways_is_none() -> Result<()> {
    use Reaches::{As, Broken, Whole};
    let theatre = Theatre::mirroring()?;
    let ok = |lines: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n{body}");
    let chunks = "2\r\nok\r\n0\r\n\r\n";
    let rows = vec![
        (As(503), ok("Content-Length: 2\r\nContent-Length: 3", "ok")),
        (As(503), ok("Content-Length: 2, 3", "ok")),
        (As(503), ok("Content-Length: two", "ok")),
        (As(503), ok("Content-Length: -2", "ok")),
        (As(503), ok("Content-Length: +2", "ok")),
        (As(503), ok("Content-Length:", "ok")),
        (As(503), ok("Content-Length: 18446744073709551616", "ok")),
        (As(502), ok("Transfer-Encoding: chunked, chunked", chunks)),
        (As(502), ok("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", chunks)),
        (As(502), ok("Transfer-Encoding: chunked, gzip", "ok")),
        (As(503), "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n".into()),
        (As(503), ok("X\0: 1\r\nContent-Length: 2", "ok")),
        (As(503), ok("X: a\0b\r\nContent-Length: 2", "ok")),
        (As(503), "HTTP/3.0 200 OK\r\nContent-Length: 2\r\n\r\nok".into()),
        (As(503), "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok".into()),
        (As(503), "nonsense\r\n\r\n".into()),
        (Broken, ok("Content-Length: 3", "ok")),
        (Broken, ok("Transfer-Encoding: chunked", "2\r\nok\r\n-1\r\n\r\n")),
        (Broken, ok("Transfer-Encoding: chunked", "2\r\nok\r\n10000000000000000\r\n")),
        (Broken, ok("Transfer-Encoding: chunked", "2\r\nok!\r\n0\r\n\r\n")),
        (Broken, ok("Transfer-Encoding: chunked", "2\r\nok\r\n")),
        (Broken, ok("Transfer-Encoding: chunked", "2\r\nok\r\n0\r\nno colon\r\n\r\n")),
        (Whole("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), ok("Content-Length: 2\r\nContent-Length: 2", "ok")),
        (
            Whole("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
            ok("Content-Length: 9\r\nTransfer-Encoding: chunked", chunks),
        ),
        (Whole("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), "HTTP/1.1 200 OK\nContent-Length: 2\n\nok".into()),
        // What comes behind an answer belongs to nobody.
        (
            Whole("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
            ok("Content-Length: 2", "okHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
        ),
    ];
    let count = all(rows, |(reaches, answer)| {
        theatre.v1.recorder.behave(Behaviour::RawThenClose(answer.clone().into_bytes()));
        let what = shown(answer.as_bytes());
        let mut wire = theatre.dial()?;
        wire.send(NEXT)?;
        match reaches {
            As(status) => {
                let came = wire.answer().with_context(|| what.clone())?;
                ensure!(came.status == *status, "{what} came as {} {:?}", came.status, came.text());
            }
            Broken => {
                if let Ok(came) = wire.rest() {
                    bail!("{what} came as {}", shown(&came));
                }
            }
            Whole(wanted) => {
                let came = wire.take(wanted.len()).with_context(|| what.clone())?;
                ensure!(came == wanted.as_bytes(), "{what} came as {}", shown(&came));
                wire.finish()?;
                ensure!(wire.rest()?.is_empty(), "{what}: more came");
            }
        }
        Ok(())
    })?;
    theatre.v1.recorder.behave(Behaviour::Ok(b"one".to_vec()));
    theatre.ask_v1()?;
    theatre.outcomes(&[("answered", count + 1)])?;
    Ok(())
}
