//! What the client gets: v1's answers, less what belongs to one connection, and never a word of v2's.

use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use integration::{
    Behaviour, case, harness,
    script::{Cue, Script},
    theatre::{GET, MIRROR, NEEDS, PORT, Setting, Theatre, from_v1},
    wire,
};

fn main() -> ExitCode {
    harness::main_both_ways(&[
        case!(answers_come_back_as_v1_gave_them).needs(NEEDS),
        case!(answers_without_a_body_have_none).needs(NEEDS),
        case!(a_body_without_length_comes_whole_and_as_it_is_made).needs(NEEDS),
        case!(an_answer_before_the_upload_ends_gets_through).needs(NEEDS),
        case!(only_v1_says_100_continue).needs(NEEDS),
        case!(trailers_come_back_announced_or_not).needs(NEEDS),
        case!(a_broken_answer_breaks_the_connection).needs(NEEDS),
        case!(a_reset_before_the_answer_is_503_and_a_post_is_tried_once).needs(NEEDS),
    ])
}

/// Has v1 give `answer` and returns what the client gets.
fn through(theatre: &Theatre, request: &[u8], answer: &[u8]) -> Result<integration::http::Answer> {
    theatre.v1.recorder.behave(Behaviour::Raw(answer.to_vec()));
    theatre.ask(request)
}

/// Fails without `auto_date_header(false)`, if reason phrases are replaced by the usual ones, or if letter case or order change.
fn answers_come_back_as_v1_gave_them() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    let heads = [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 299 Quite Fine\r\nSERVER: x\r\nX-CaSe: V\r\ncontent-length: 2\r\nX-After: 1\r\n\r\n",
        "HTTP/1.1 200 Gutt\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nDate: never\r\n\r\n",
        "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\nX-Empty: \r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: http://httpbin:8000/else\r\nContent-Length: 2\r\n\r\n",
    ];
    for head in heads {
        let answer = through(&theatre, GET, &[head.as_bytes(), b"ok"].concat())?;
        ensure!(answer.head == head, "v1 said {head:?}, the client got {:?}", answer.head);
        ensure!(answer.text() == "ok", "{head}: {:?}", answer.text());
    }
    // What belongs to v1's connection stays there.
    let head = "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nA: 1\r\nContent-Length: 2\r\n\r\n";
    let answer = through(&theatre, GET, &[head.as_bytes(), b"ok"].concat())?;
    ensure!(answer.head == "HTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 2\r\n\r\n", "{:?}", answer.head);
    theatre.outcomes(&[("answered", heads.len() + 1)])?;
    theatre.control(GET)?;
    Ok(())
}

/// Fails if a HEAD's, 204's or 304's answer is given a body or loses its length.
fn answers_without_a_body_have_none() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    let mut wire = theatre.dial()?;
    let head_request = b"HEAD / HTTP/1.1\r\nHost: httpbin\r\n\r\n";
    let cases: [(&[u8], &str); 4] = [
        (head_request, "HTTP/1.1 200 OK\r\nContent-Length: 10485760\r\nETag: \"x\"\r\n\r\n"),
        (head_request, "HTTP/1.1 200 OK\r\nETag: \"x\"\r\nContent-Type: a/b\r\n\r\n"),
        (GET, "HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n"),
        (GET, "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n"),
    ];
    // On one connection: a body too much would be taken for the next answer.
    for (request, said) in cases {
        theatre.v1.recorder.behave(Behaviour::Raw(said.into()));
        let got = wire.exchange(request)?;
        ensure!(got.head == said, "v1 said {said:?}, the client got {:?}", got.head);
    }
    theatre.outcomes(&[("answered", cases.len())])?;
    Ok(())
}

/// Fails if the proxy waits for the end of an answer before it passes the beginning on.
fn a_body_without_length_comes_whole_and_as_it_is_made() -> Result<()> {
    let theatre = Setting::new(MIRROR).v1_port_free().start()?;
    let cue = Cue::default();
    let heard = cue.clone();
    let _v1 = Script::start(theatre.v1.pod.netns(), theatre.v1.address(PORT), move |mut wire| {
        let chunked = wire.head()?.contains("/chunked");
        wire.send(if chunked {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfirs\r\n"
        } else {
            b"HTTP/1.1 200 OK\r\nX-Until: close\r\n\r\nfirs"
        })?;
        // The client has the first half before there is a second.
        heard.wait(if chunked { 1 } else { 2 })?;
        wire.send(if chunked { b"6\r\nt half\r\n0\r\n\r\n" } else { b"t half" })
    })?;
    for path in ["chunked", "close"] {
        let mut wire = theatre.dial()?;
        wire.send(format!("GET /{path} HTTP/1.1\r\nHost: httpbin\r\nConnection: close\r\n\r\n").as_bytes())?;
        let head = wire.head()?;
        ensure!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.to_ascii_lowercase().contains("chunked"), "{head}");
        ensure!(wire.take(7)? == b"4\r\nfirs", "{path}: the first half is another");
        cue.give();
        let rest = wire.rest()?;
        ensure!(rest == b"\r\n6\r\nt half\r\n0\r\n\r\n", "{path}: {:?}", String::from_utf8_lossy(&rest));
    }
    theatre.outcomes(&[("answered", 2)])?;
    Ok(())
}

/// Fails if the answer is held back until the request has been read to its end.
fn an_answer_before_the_upload_ends_gets_through() -> Result<()> {
    let theatre = Setting::new(MIRROR).v1_port_free().start()?;
    let _v1 = Script::start(theatre.v1.pod.netns(), theatre.v1.address(PORT), |mut wire| {
        wire.head()?;
        wire.send(b"HTTP/1.1 413 Too Much\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!")
    })?;
    let mut wire = theatre.dial()?;
    wire.send(b"POST /big HTTP/1.1\r\nHost: httpbin\r\nContent-Length: 1000000\r\n\r\nonly the beginning")?;
    let answer = wire.answer()?;
    ensure!((answer.status, answer.text().as_str()) == (413, "no!"), "{answer:?}");
    drop(wire);
    // Whatever became of the shadow of half a request, it is counted once.
    theatre.agent.metrics_when("one candidate", |m| m.candidates() > 0.0)?;
    theatre.agent.settled()?;
    Ok(())
}

/// Fails if the proxy (hyper's server does, once the body is polled) says 100 by itself, or keeps v1's for itself.
fn only_v1_says_100_continue() -> Result<()> {
    let theatre = Setting::new(MIRROR).v1_port_free().start()?;
    let _v1 = Script::start(theatre.v1.pod.netns(), theatre.v1.address(PORT), |mut wire| {
        let head = wire.head()?;
        ensure!(head.contains("\r\nExpect: 100-continue\r\n"), "v1 was not asked: {head}");
        if head.contains("/refused") {
            return wire.send(b"HTTP/1.1 417 No\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!");
        }
        wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        let body = wire.take(5)?;
        wire.send(&[b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", &body[..]].concat())
    })?;
    let request = |path: &str| {
        format!("POST /{path} HTTP/1.1\r\nHost: httpbin\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
    };
    // A 100 of the proxy's own would be the first head that comes.
    let mut wire = theatre.dial()?;
    wire.send(request("refused").as_bytes())?;
    let answer = wire.answer()?;
    ensure!((answer.status, answer.text().as_str()) == (417, "no!"), "{answer:?}");
    drop(wire);
    let mut wire = theatre.dial()?;
    wire.send(request("wanted").as_bytes())?;
    ensure!(wire.head()?.starts_with("HTTP/1.1 100 "));
    wire.send(b"hello")?;
    let answer = wire.answer()?;
    ensure!((answer.status, answer.text().as_str()) == (200, "hello"), "{answer:?}");
    theatre.agent.metrics_when("two candidates", |m| m.candidates() > 1.5)?;
    theatre.agent.settled()?;
    let bodies: Vec<_> = theatre.v2.recorder.wait_for(1)?.into_iter().map(|shadow| shadow.body).collect();
    ensure!(bodies.contains(&b"hello".to_vec()), "v2 got {bodies:?}");
    Ok(())
}

/// Fails if a cut answer is ended as if it were whole.
fn a_broken_answer_breaks_the_connection() -> Result<()> {
    let theatre = Setting::new(MIRROR).v1_port_free().start()?;
    let _v1 = Script::start(theatre.v1.pod.netns(), theatre.v1.address(PORT), |mut wire| {
        let head = wire.head()?;
        let chunked = head.contains("/chunked");
        wire.send(if chunked {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"
        } else {
            b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf"
        })?;
        if head.contains("reset") {
            // Once the half has been read; a reset would overtake it.
            let _ = wire.take(1);
            wire::reset_on_close(wire.socket())?;
        }
        Ok(())
    })?;
    for path in ["chunked", "length"] {
        let mut wire = theatre.dial()?;
        wire.send(format!("GET /{path} HTTP/1.1\r\nHost: httpbin\r\n\r\n").as_bytes())?;
        ensure!(wire.head()?.starts_with("HTTP/1.1 200 OK\r\n"));
        let rest = wire.rest().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let cut = match &rest {
            Ok(bytes) => bytes.contains("half") && !bytes.ends_with("0\r\n\r\n"),
            // A reset is as good an end of something broken.
            Err(_) => true,
        };
        ensure!(cut, "{path}: half an answer ended as {rest:?}");
    }
    theatre.outcomes(&[("answered", 2)])?;
    Ok(())
}

/// Fails if a request that v1 may have acted upon is sent again, or if the client's connection does not live on.
fn a_reset_before_the_answer_is_503_and_a_post_is_tried_once() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    let mut wire = theatre.dial()?;
    // So that the next one finds a pooled connection, whose fault a reset might be.
    from_v1(&wire.exchange(GET)?)?;
    theatre.v1.recorder.behave(Behaviour::Reset);
    let answer = wire.exchange(b"POST /once HTTP/1.1\r\nHost: httpbin\r\nContent-Length: 2\r\n\r\nhi")?;
    ensure!(answer.status == 503, "{answer:?}");
    let posts = theatre.v1.recorder.requests().iter().filter(|r| r.request_line().starts_with("POST")).count();
    ensure!(posts == 1, "v1 got the POST {posts} times");
    theatre.v1.recorder.behave(Behaviour::Ok(b"one".to_vec()));
    theatre.ask_v1()?;
    theatre.agent.metrics_when("three candidates", |m| m.candidates() > 2.5)?;
    let view = theatre.agent.settled()?;
    ensure!(view.sum("understudy_faults_total", &[("side", "upstream"), ("kind", "reset")]) > 0.5, "no fault counted");
    // One per client request, whatever v1 did.
    ensure!(theatre.v2.recorder.count() <= 3, "{} shadows of three requests", theatre.v2.recorder.count());
    Ok(())
}

/// Fails if trailers are left to hyper, which passes on announced ones only, and only to clients that ask for them; or if the next answer on the connection
/// overtakes them.
fn trailers_come_back_announced_or_not() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    let mut wire = theatre.dial()?;
    for announced in ["", "Trailer: X-Sum\r\n"] {
        let head = format!("HTTP/1.1 200 OK\r\n{announced}Transfer-Encoding: chunked\r\n\r\n");
        let said = format!("{head}5\r\n0\r\n\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\nx-twice: a\r\nx-twice: b\r\n\r\n");
        theatre.v1.recorder.behave(Behaviour::Raw(said.into_bytes()));
        wire.send(&GET.repeat(2))?;
        for _ in 0..2 {
            let head = wire.head()?;
            ensure!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            let mut body = Vec::new();
            while !body.ends_with(b"0\r\nx-sum: 1\r\nx-twice: a\r\nx-twice: b\r\n\r\n") {
                body.extend(wire.take(1).with_context(|| String::from_utf8_lossy(&body).into_owned())?);
            }
            ensure!(body.starts_with(b"5\r\n0\r\n\r\n\r\n2\r\nok\r\n0\r\n"), "{}", String::from_utf8_lossy(&body));
        }
    }
    theatre.outcomes(&[("answered", 4)])?;
    Ok(())
}
