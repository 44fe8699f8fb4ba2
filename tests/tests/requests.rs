//! What v1 gets: the client's bytes, less what belongs to one connection.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use integration::{
    Recorder, case, harness,
    theatre::{GET, NEEDS, Setting, Theatre, VIP, from_v1, whole},
    wire::Wire,
};

fn main() -> ExitCode {
    harness::main(&[
        case!(heads_arrive_as_they_were_sent).needs(NEEDS),
        case!(what_belongs_to_one_connection_goes_and_nothing_else).needs(NEEDS),
        case!(bodies_arrive_whole_in_either_framing).needs(NEEDS),
        case!(trailers_arrive_announced_or_not).needs(NEEDS),
        case!(an_endpoint_of_http_1_0_gets_whole_bodies).needs(NEEDS),
        case!(requests_of_http_1_0_are_served).needs(NEEDS),
        case!(pipelined_requests_are_answered_in_order).needs(NEEDS),
        case!(one_connection_carries_many_requests).needs(NEEDS),
        case!(a_host_that_no_rule_knows_goes_on_unmirrored).needs(NEEDS),
        case!(every_name_of_the_service_is_ruled).needs(NEEDS),
    ])
}

/// Sends `request` on `wire` and compares what v1 got, head and body.
fn arrives(theatre: &Theatre, wire: &mut Wire, request: &[u8], head: &[u8], body: &[u8]) -> Result<()> {
    let shown = String::from_utf8_lossy(request);
    let seen = theatre.v1.recorder.count();
    let answer = wire.exchange(request)?;
    ensure!(answer.status == 200, "{} to {shown}", answer.head);
    let came = theatre.v1.recorder.wait_for(seen + 1)?.split_off(seen);
    ensure!(came.len() == 1, "{} requests at v1 instead of one: {shown}", came.len());
    let text = String::from_utf8_lossy;
    ensure!(came[0].head == head, "sent   {shown:?}\nwanted {:?}\ngot    {:?}", text(head), text(&came[0].head));
    ensure!(came[0].body == body, "{shown:?}: the body is {:?}", text(&came[0].body));
    Ok(())
}

/// Fails without `preserve_header_case`, if a header is added (Date, Via, X-Forwarded-For), or if the target is rebuilt from its parts.
fn heads_arrive_as_they_were_sent() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    let mut wire = theatre.dial()?;
    for request in [
        &b"GET /get?a=b%20c&&d=%2F HTTP/1.1\r\nHoSt: httpbin:8000\r\nX-CaSe: One\r\nACCEPT: */*\r\nx-lower: 1\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\nB: 1\r\nHost: httpbin:8000\r\nA: 2\r\nX-Twice: 1\r\nX-Twice: 2\r\nx-empty:\r\nZ: 3\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: httpbin:8000\r\nCookie: a=1\r\nCookie: b=2\r\nX-Latin: caf\xe9\r\nX-Tab: a\tb\r\n\r\n",
        b"HEAD /head HTTP/1.1\r\nHost: httpbin:8000\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: httpbin:8000\r\n\r\n",
        b"BREW /pot-0 HTTP/1.1\r\nHost: httpbin:8000\r\n\r\n",
        b"GET http://httpbin:8000/absolute?x HTTP/1.1\r\nHost: httpbin:8000\r\n\r\n",
        b"POST /nothing HTTP/1.1\r\nHost: httpbin:8000\r\n\r\n",
        b"DELETE /zero HTTP/1.1\r\nHost: httpbin:8000\r\nContent-Length: 0\r\n\r\n",
        b"GET /forwarded HTTP/1.1\r\nHost: httpbin\r\nVia: 1.1 x\r\nX-Forwarded-For: 192.0.2.1\r\nDate: never\r\n\r\n",
    ] {
        arrives(&theatre, &mut wire, request, request, b"")?;
    }
    // Fields of one name may be gathered at the place of the first (RFC 9110, 5.3); their own order stays.
    let request = b"GET / HTTP/1.1\r\nHost: httpbin\r\nX-A: 1\r\nX-B: 2\r\nX-A: 3\r\n\r\n";
    let gathered = b"GET / HTTP/1.1\r\nHost: httpbin\r\nX-A: 1\r\nX-A: 3\r\nX-B: 2\r\n\r\n";
    arrives(&theatre, &mut wire, request, gathered, b"")?;
    // A connection that has carried nothing but plain requests keeps every field where it was.
    arrives(&theatre, &mut theatre.dial()?, request, request, b"")?;
    theatre.outcomes(&[("answered", 12)])?;
    theatre.control(GET)?;
    Ok(())
}

/// Fails if `headers::end_to_end` keeps a field that `Connection` names, or drops one that it does not.
fn what_belongs_to_one_connection_goes_and_nothing_else() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    let mut wire = theatre.dial()?;
    let request = b"GET / HTTP/1.1\r\nHost: httpbin\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nAccept: a\r\n\
        Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\nX-Theirs: 2\r\nTrailer: x\r\nCookie: c\r\n\r\n";
    let kept = b"GET / HTTP/1.1\r\nHost: httpbin\r\nAccept: a\r\nX-Theirs: 2\r\nTrailer: x\r\nCookie: c\r\n\r\n";
    arrives(&theatre, &mut wire, request, kept, b"")?;
    // Host and framing are not the connection's to take away.
    let request =
        b"POST / HTTP/1.1\r\nHost: httpbin\r\nConnection: Host, Content-Length\r\nContent-Length: 2\r\n\r\nhi";
    let kept = b"POST / HTTP/1.1\r\nHost: httpbin\r\nContent-Length: 2\r\n\r\n";
    arrives(&theatre, &mut wire, request, kept, b"hi")?;
    // An Upgrade field that no Connection names asks for nothing; it goes nowhere.
    let request = b"GET / HTTP/1.1\r\nHost: httpbin\r\nUpgrade: websocket\r\n\r\n";
    arrives(&theatre, &mut wire, request, b"GET / HTTP/1.1\r\nHost: httpbin\r\n\r\n", b"")?;
    let request = b"GET / HTTP/1.1\r\nHost: httpbin\r\nConnection: close\r\nAccept: b\r\n\r\n";
    arrives(&theatre, &mut wire, request, b"GET / HTTP/1.1\r\nHost: httpbin\r\nAccept: b\r\n\r\n", b"")?;
    ensure!(wire.rest()?.is_empty(), "a client that asked to close was not closed after its answer");
    theatre.outcomes(&[("answered", 4)])?;
    Ok(())
}

/// Fails if a body of unknown length is given a length (or the other way round), or if a GET's body is left out.
fn bodies_arrive_whole_in_either_framing() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    let mut wire = theatre.dial()?;
    let chunks = b"5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\n\r\n";
    for method in ["POST", "PUT", "GET", "DELETE"] {
        let head =
            format!("{method} /length HTTP/1.1\r\nHost: httpbin:8000\r\nContent-LENGTH: 11\r\nX-After: 1\r\n\r\n");
        let request = [head.as_bytes(), b"hello world"].concat();
        arrives(&theatre, &mut wire, &request, head.as_bytes(), b"hello world")?;
        let head = format!(
            "{method} /chunks HTTP/1.1\r\nHost: httpbin:8000\r\nTransfer-Encoding: chunked\r\nX-After: 1\r\n\r\n"
        );
        let request = [head.as_bytes(), chunks].concat();
        arrives(&theatre, &mut wire, &request, head.as_bytes(), b"hello world")?;
        let request = [head.as_bytes(), b"0\r\n\r\n"].concat();
        arrives(&theatre, &mut wire, &request, head.as_bytes(), b"")?;
    }
    theatre.outcomes(&[("answered", 12)])?;
    // Shadows of successive requests may overtake each other.
    let bodies = |recorder: &Recorder| {
        let mut bodies: Vec<_> = recorder.requests().iter().map(|r| (r.request_line(), r.body.clone())).collect();
        bodies.sort();
        bodies
    };
    ensure!(bodies(&theatre.v1.recorder) == bodies(&theatre.v2.recorder), "v2 got other bodies");
    theatre
        .control(b"POST / HTTP/1.1\r\nHost: httpbin\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\n\r\n")?;
    Ok(())
}

/// Fails if trailers are left to hyper, which passes on announced ones only; or if the next request on the connection overtakes them. v2 gets them as well.
fn trailers_arrive_announced_or_not() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    let mut wire = theatre.dial()?;
    // A chunk that looks like the last one is data.
    let body = "5\r\n0\r\n\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\nx-twice: a\r\nx-twice: b\r\n\r\n";
    for announced in ["", "Trailer: X-Sum\r\n"] {
        let head = format!("POST / HTTP/1.1\r\nHost: httpbin\r\n{announced}Transfer-Encoding: chunked\r\n\r\n");
        for _ in 0..2 {
            arrives(&theatre, &mut wire, [&head, body].concat().as_bytes(), head.as_bytes(), b"0\r\n\r\nok")?;
        }
    }
    theatre.outcomes(&[("answered", 4)])?;
    for recorder in [&theatre.v1.recorder, &theatre.v2.recorder] {
        let heard = String::from_utf8_lossy(&recorder.heard_apart(0).concat()).into_owned();
        ensure!(heard.matches(body).count() == 4, "{heard}");
    }
    theatre.control(GET)?;
    Ok(())
}

/// Fails if a 1.0 request is refused, is sent on as 1.1 without a Host, or keeps its connection although it did not ask to.
fn requests_of_http_1_0_are_served() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    // With a Host it falls under the rules; an intermediary speaks its own version (RFC 9110, 2.5).
    let mut wire = theatre.dial()?;
    let request = b"GET /old HTTP/1.0\r\nHost: httpbin\r\nX-Old: 1\r\n\r\n";
    arrives(&theatre, &mut wire, request, b"GET /old HTTP/1.1\r\nHost: httpbin\r\nX-Old: 1\r\n\r\n", b"")?;
    ensure!(wire.rest()?.is_empty(), "the connection of a 1.0 client was kept open");
    // Without one it names no service: to the original destination, unchanged.
    let request = b"GET /older HTTP/1.0\r\nX-Old: 1\r\n\r\n";
    let answer = theatre.ask(request)?;
    ensure!(answer.text() == "native", "{answer:?}");
    ensure!(theatre.native.recorder.wait_for(1)?[0].head == request);
    theatre.outcomes(&[("answered", 1)])?;
    Ok(())
}

/// Fails if a request is read before the answer to the one before is complete and then lost or mixed up.
fn pipelined_requests_are_answered_in_order() -> Result<()> {
    let theatre = Setting::new(integration::theatre::MIRROR).v1(integration::Behaviour::Echo).start()?;
    let mut wire = theatre.dial()?;
    let mut all = Vec::new();
    for i in 0..20 {
        let body = format!("number {i}");
        all.extend(
            format!("POST /{i} HTTP/1.1\r\nHost: httpbin\r\nContent-Length: {}\r\n\r\n{body}", body.len()).bytes(),
        );
    }
    wire.send(&all)?;
    for i in 0..20 {
        let answer = wire.answer()?;
        ensure!(answer.text() == format!("number {i}"), "answer {i} is {:?}", answer.text());
    }
    let targets: Vec<_> = theatre.v1.recorder.requests().iter().map(|r| r.request_line()).collect();
    ensure!(targets == (0..20).map(|i| format!("POST /{i} HTTP/1.1")).collect::<Vec<_>>(), "v1 saw {targets:?}");
    theatre.outcomes(&[("answered", 20)])?;
    Ok(())
}

/// Fails if the proxy closes the client's connection after a request, or makes an upstream connection for each.
fn one_connection_carries_many_requests() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    let before = theatre.agent.metrics()?;
    let mut wire = theatre.dial()?;
    const REQUESTS: usize = 20;
    for answered in 1..=REQUESTS {
        from_v1(&wire.exchange(GET)?)?;
        // Shadows may overlap when v2 is slower than the client; each waited for, they need no second connection either.
        theatre.outcomes(&[("answered", answered)])?;
    }
    let view = theatre.agent.metrics()?;
    let kind = [("kind", "http")];
    let name = "understudy_connections_total";
    ensure!(whole(view.sum(name, &kind)) == whole(before.sum(name, &kind)) + 1, "not one captured connection");
    for (who, actor) in [("v1", &theatre.v1), ("v2", &theatre.v2)] {
        let connections = actor.recorder.peers().len();
        ensure!(actor.recorder.count() == REQUESTS);
        ensure!(connections == 1, "{connections} connections to {who} for {REQUESTS} requests");
    }
    Ok(())
}

/// Fails if an unknown Host is answered 404, counted as a candidate, or sent to a rule's destination.
fn a_host_that_no_rule_knows_goes_on_unmirrored() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    let mut wire = theatre.dial()?;
    for request in [
        &b"GET /unknown HTTP/1.1\r\nHoST: elsewhere.example:8000\r\nX-Case: 1\r\n\r\n"[..],
        b"GET /ip HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n",
        b"POST /absolute HTTP/1.1\r\nHost: elsewhere\r\nContent-Length: 2\r\n\r\nhi",
    ] {
        let seen = theatre.native.recorder.count();
        let answer = wire.exchange(request)?;
        ensure!(answer.text() == "native", "{answer:?}");
        let came = theatre.native.recorder.wait_for(seen + 1)?.split_off(seen);
        ensure!([&came[0].head[..], &came[0].raw_body].concat() == request, "changed: {}", came[0].head_text());
        ensure!(came[0].peer.ip() == std::net::IpAddr::V4(theatre.client.v4()), "from {}", came[0].peer);
    }
    // The same connection may ask for a ruled host next.
    from_v1(&wire.exchange(GET)?)?;
    let view = theatre.outcomes(&[("answered", 1)])?;
    ensure!(whole(view.sum("understudy_requests_total", &[])) == 1, "an unruled request was counted");
    Ok(())
}

/// Fails if a name of the service, its cluster IP among them, or a Host in capitals is missing from the table.
fn every_name_of_the_service_is_ruled() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    let mut wire = theatre.dial()?;
    let vip = VIP.ip().to_string();
    let hosts = [
        "httpbin",
        "httpbin:8000",
        "HTTPBIN:8000",
        "httpbin.mirror",
        "httpbin.mirror.svc",
        "httpbin.mirror.svc.cluster.local",
        "httpbin.mirror.svc.cluster.local.:8000",
        "httpbin:1234",
        &vip,
        &format!("{vip}:8000"),
    ];
    for host in hosts {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        arrives(&theatre, &mut wire, request.as_bytes(), request.as_bytes(), b"")?;
    }
    theatre.outcomes(&[("answered", hosts.len())])?;
    let shadows: Vec<_> = theatre.v2.recorder.requests().iter().filter_map(|r| r.header("host")).collect();
    for (host, wanted) in [("httpbin", "httpbin-shadow"), (&format!("{vip}:8000"), &format!("{vip}-shadow:8000"))] {
        ensure!(
            shadows.iter().any(|shadow| shadow == wanted),
            "no shadow of {host} has the Host {wanted}: {shadows:?}"
        );
    }
    Ok(())
}

/// Fails if a connection is used again whose endpoint speaks HTTP/1.0: hyper would leave the chunks of the next body out, and nobody would know.
fn an_endpoint_of_http_1_0_gets_whole_bodies() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    let old = b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok";
    for recorder in [&theatre.v1.recorder, &theatre.v2.recorder] {
        recorder.behave(integration::Behaviour::Raw(old.to_vec()));
    }
    let mut wire = theatre.dial()?;
    let head = b"POST / HTTP/1.1\r\nHost: httpbin\r\nTransfer-Encoding: chunked\r\n\r\n";
    let request = [head.as_slice(), b"5\r\nhello\r\n0\r\n\r\n"].concat();
    for shadows in 1..=3 {
        arrives(&theatre, &mut wire, &request, head, b"hello")?;
        let came = theatre.v2.recorder.wait_for(shadows)?;
        ensure!(came.iter().all(|request| request.body == b"hello"), "{came:?}");
        theatre.outcomes(&[("answered", shadows)])?;
    }
    Ok(())
}
