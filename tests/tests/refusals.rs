//! What the proxy answers itself: requests that are none, and rules that lead nowhere.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use integration::{
    case, harness,
    http::Answer,
    theatre::{GET, MIRROR, NEEDS, Setting, Theatre, from_v1, whole},
};

fn main() -> ExitCode {
    harness::main(&[
        case!(what_does_not_parse_is_400_and_closed).needs(NEEDS),
        case!(a_broken_chunk_never_completes_a_request_at_v1).needs(NEEDS),
        case!(unknown_codings_and_versions_are_named).needs(NEEDS),
        case!(too_many_or_too_long_headers_are_431).needs(NEEDS),
        case!(a_ruled_host_without_a_matching_rule_is_404).needs(NEEDS),
        case!(a_destination_without_endpoint_is_503).needs(NEEDS),
        case!(a_v1_that_refuses_is_503).needs(NEEDS),
    ])
}

/// Sends something wrong on a connection of its own: this status, then the end of the connection, and no other server hears of it.
fn refused(theatre: &Theatre, request: &[u8], status: u16) -> Result<Answer> {
    let shown = String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
    let before = (theatre.v1.recorder.count(), theatre.native.recorder.count());
    let mut wire = theatre.dial()?;
    wire.send(request)?;
    let answer = wire.answer()?;
    ensure!(answer.status == status, "{shown:?} got {} instead of {status}", answer.head);
    ensure!(wire.rest()?.is_empty(), "{shown:?}: more than one answer");
    let after = (theatre.v1.recorder.count(), theatre.native.recorder.count());
    ensure!(before == after, "{shown:?} reached a server");
    Ok(answer)
}

/// Fails if a port declared `http` falls back to passing bytes through, or if two Hosts are taken for one.
fn what_does_not_parse_is_400_and_closed() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    for request in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this is TLS, not HTTP"[..],
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon here\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : httpbin\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: httpbin\r\n\r\n",
        b"G@T / HTTP/1.1\r\nHost: httpbin\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: httpbin\r\nHost: httpbin\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: httpbin\r\nHost: other\r\n\r\n",
        b"GET / HTTP/1.1\r\nAccept: */*\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: httpbin\r\nContent-Length: 1, 2\r\n\r\nhi",
        b"POST / HTTP/1.1\r\nHost: httpbin\r\nContent-Length: two\r\n\r\nhi",
    ] {
        refused(&theatre, request, 400)?;
    }
    // Nothing of that was a candidate, and the next connection is as good as the first.
    theatre.ask_v1()?;
    theatre.outcomes(&[("answered", 1)])?;
    Ok(())
}

/// Fails if the end of the client's connection, or its error, is passed on to v1 as the end of the body.
fn a_broken_chunk_never_completes_a_request_at_v1() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    let head = b"POST / HTTP/1.1\r\nHost: httpbin\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in [&b"zz\r\nhi\r\n0\r\n\r\n"[..], b"2\r\nhi\r\n-1\r\n\r\n", b"2\r\nhi!\r\n0\r\n\r\n"] {
        refused(&theatre, &[head, body].concat(), 400)?;
    }
    theatre.agent.settled()?;
    ensure!(theatre.v1.recorder.count() + theatre.v2.recorder.count() == 0, "half a request was completed");
    Ok(())
}

/// Fails if such a request is answered 400, or passed on.
fn unknown_codings_and_versions_are_named() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    let coding = b"POST / HTTP/1.1\r\nHost: httpbin\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n";
    refused(&theatre, coding, 501)?;
    refused(&theatre, b"GET / HTTP/3.0\r\nHost: httpbin\r\n\r\n", 505)?;
    theatre.ask_v1()?;
    theatre.outcomes(&[("answered", 1)])?;
    Ok(())
}

/// Fails if the limits (256 fields, 64 KiB) are hyper's own (100 fields, 400 KiB), or if such a request is just cut off.
fn too_many_or_too_long_headers_are_431() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    let head = |fields: usize, length: usize| {
        let value = "v".repeat(length);
        let fields: String = (0..fields).map(|i| format!("X-{i}: {value}\r\n")).collect();
        format!("GET / HTTP/1.1\r\nHost: httpbin\r\n{fields}\r\n").into_bytes()
    };
    refused(&theatre, &head(257, 1), 431)?;
    refused(&theatre, &head(1, 70 * 1024), 431)?;
    refused(&theatre, &head(100, 700), 431)?;
    // Just below both limits all is well.
    for (fields, length) in [(255, 1), (1, 60 * 1024)] {
        from_v1(&theatre.ask(&head(fields, length))?)?;
        let heads: Vec<_> = theatre.v1.recorder.requests().into_iter().map(|r| r.head).collect();
        ensure!(heads.last() == Some(&head(fields, length)), "{fields} fields of {length} bytes were changed");
    }
    theatre.outcomes(&[("answered", 2)])?;
    Ok(())
}

/// Fails if a request that no rule matches falls through to the original destination, or closes the connection.
fn a_ruled_host_without_a_matching_rule_is_404() -> Result<()> {
    let rule = "  - match: [{uri: {prefix: /api/}, method: {exact: GET}}]\n\
        \x20   route: [{destination: {host: httpbin, subset: v1}}]\n    mirror: {host: httpbin, subset: v2}\n";
    let theatre = Setting::new(rule).start()?;
    let mut wire = theatre.dial()?;
    let ask = |method: &str, path: &str| format!("{method} {path} HTTP/1.1\r\nHost: httpbin\r\n\r\n").into_bytes();
    ensure!(wire.exchange(&ask("GET", "/other"))?.status == 404);
    ensure!(wire.exchange(&ask("PUT", "/api/x"))?.status == 404);
    from_v1(&wire.exchange(&ask("GET", "/api/x"))?)?;
    ensure!(theatre.v1.recorder.count() == 1 && theatre.native.recorder.count() == 0);
    let view = theatre.outcomes(&[("answered", 1)])?;
    ensure!(whole(view.sum("understudy_faults_total", &[("kind", "no_rule")])) == 2, "the faults are not counted");
    Ok(())
}

/// Fails if a rule that leads nowhere falls back to another version, or if its request is mirrored all the same.
fn a_destination_without_endpoint_is_503() -> Result<()> {
    let leading = |subset: &str| MIRROR.replacen("subset: v1", &format!("subset: {subset}"), 1);
    let theatre = Setting::new(&leading("empty")).start()?;
    let mut wire = theatre.dial()?;
    for (subset, count) in [("empty", 1), ("unheard-of", 2)] {
        theatre.rule(&(leading(subset) + "    name: changed\n"))?;
        // The connection lives on through all of it.
        let answer = wire.exchange(GET)?;
        ensure!(answer.status == 503, "{subset}: {answer:?}");
        let total: f64 = theatre.agent.settled()?.outcome("not_mirrorable");
        ensure!(whole(total) == count, "{subset}: {total} not_mirrorable");
    }
    theatre.rule(MIRROR)?;
    from_v1(&wire.exchange(GET)?)?;
    theatre.outcomes(&[("not_mirrorable", 2), ("answered", 1)])?;
    ensure!((theatre.v1.recorder.count(), theatre.native.recorder.count()) == (1, 0));
    Ok(())
}

/// Fails if a refused connection is answered otherwise than 503, or starts a shadow: it does once v1's head has been written.
fn a_v1_that_refuses_is_503() -> Result<()> {
    let theatre = Setting::new(MIRROR).v1_port_free().start()?;
    let answer = theatre.ask(GET)?;
    ensure!(answer.status == 503, "{answer:?}");
    let answer = theatre.ask(b"POST / HTTP/1.1\r\nHost: httpbin\r\nContent-Length: 2\r\n\r\nhi")?;
    ensure!(answer.status == 503, "{answer:?}");
    theatre.outcomes(&[("not_mirrorable", 2)])?;
    ensure!(theatre.v2.recorder.count() == 0 && theatre.native.recorder.count() == 0);
    Ok(())
}
