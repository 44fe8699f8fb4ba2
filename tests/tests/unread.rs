//! Bodies that nobody wants: a long upload does not cost its client the answer, nor the connection.

use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use h2::Reason;
use integration::{
    Cue, Script, Theatre, case, harness,
    http2::{Client, Server, read, request, run, send, until_reset},
    theatre::{GET, NEEDS, PORT, Setting, VIP, from_v1, whole},
};

fn main() -> ExitCode {
    harness::main(&[
        case!(a_long_upload_that_goes_nowhere_is_answered).needs(NEEDS),
        case!(the_answer_does_not_wait_for_the_body).needs(NEEDS),
        case!(a_body_that_must_be_asked_for_is_not).needs(NEEDS),
        case!(over_http2_a_reset_without_error_follows).needs(NEEDS),
        case!(an_endpoint_that_closes_after_an_early_answer_says_so).needs(NEEDS),
        case!(over_http2_an_endpoint_that_has_answered_and_does_not_read_is_left).needs(NEEDS),
    ])
}

/// Where each path goes; everything else has no rule.
const RULES: &str = "  - match: [{uri: {prefix: /get}}]\n    route: [{destination: {host: httpbin, subset: v1}}]\n\
    \x20   mirror: {host: httpbin, subset: v2}\n\
    \x20 - match: [{uri: {prefix: /empty}}]\n    route: [{destination: {host: httpbin, subset: empty}}]\n\
    \x20   mirror: {host: httpbin, subset: v2}\n\
    \x20 - match: [{uri: {prefix: /unknown}}]\n    route: [{destination: {host: httpbin, subset: v9}}]\n\
    \x20 - match: [{uri: {prefix: /refused}}]\n    route: [{destination: {host: plain, subset: v1}}]\n\
    \x20   mirror: {host: httpbin, subset: v2}\n\
    \x20 - match: [{uri: {prefix: /ours}}]\n    directResponse: {status: 418}\n";

const NOWHERE: [(&str, u16); 5] =
    [("/none", 404), ("/empty", 503), ("/unknown", 503), ("/refused", 503), ("/ours", 418)];

fn post(path: &str, length: usize, fields: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nHost: httpbin:8000\r\nContent-Length: {length}\r\n{fields}\r\n").into_bytes()
}

/// Fails if the connection of a request that goes nowhere is closed before its body has come: the client would be reset in the middle of it.
fn a_long_upload_that_goes_nowhere_is_answered() -> Result<()> {
    let theatre = Setting::new(RULES).start()?;
    let body = vec![b'x'; 8 << 20];
    for (path, status) in NOWHERE {
        let mut wire = theatre.dial()?;
        wire.send(&post(path, body.len(), ""))?;
        wire.send(&body).context(path)?;
        let answer = wire.answer().context(path)?;
        ensure!(answer.status == status, "{path}: {answer:?}");
        wire.send(
            b"POST /none HTTP/1.1\r\nHost: httpbin\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        )?;
        ensure!(wire.answer().context(path)?.status == 404);
        from_v1(&wire.exchange(GET).context(path)?).context(path)?;
    }
    theatre.outcomes(&[("answered", NOWHERE.len()), ("not_mirrorable", 2)])?;
    Ok(())
}

/// Fails if a client that waits for the answer before it goes on waits for ever.
fn the_answer_does_not_wait_for_the_body() -> Result<()> {
    let theatre = Setting::new(RULES).args(&["--header-timeout", "1s"]).start()?;
    for (path, status) in NOWHERE {
        let mut wire = theatre.dial()?;
        wire.send(&post(path, 10, ""))?;
        wire.send(b"hello")?;
        let answer = wire.answer().context(path)?;
        ensure!(answer.status == status, "{path}: {answer:?}");
        // What is still to come is no head that takes too long.
        std::thread::sleep(std::time::Duration::from_millis(2500));
        wire.send(b"world")?;
        from_v1(&wire.exchange(GET).context(path)?).context(path)?;
    }
    Ok(())
}

/// Fails if a 100 is invented to get at a body that nobody wants.
fn a_body_that_must_be_asked_for_is_not() -> Result<()> {
    let theatre = Setting::new(RULES).start()?;
    for (path, status) in NOWHERE {
        let mut wire = theatre.dial()?;
        wire.send(&post(path, 10, "Expect: 100-continue\r\n"))?;
        let answer = wire.answer().context(path)?;
        ensure!(answer.status == status, "{path}: {answer:?}");
    }
    Ok(())
}

/// Fails if a stream of a request that goes nowhere waits for its end, or ends with an error (RFC 9113, 8.1).
fn over_http2_a_reset_without_error_follows() -> Result<()> {
    let theatre = Setting::new(RULES).start()?;
    run(async {
        let client = Client::connect(&theatre.client, VIP).await?;
        for (path, status) in NOWHERE {
            let uri = format!("http://httpbin:8000{path}");
            let (response, mut stream) = client.open(request("POST", &uri), false).await?;
            send(&mut stream, "half".into(), false).await?;
            let (head, body) = response.await?.into_parts();
            ensure!(head.status == status, "{path}: {head:?}");
            ensure!(read(body).await.is_ok(), "{path}: the answer broke off");
            let code = until_reset(&mut stream).await?;
            ensure!(code == Reason::NO_ERROR, "{path}: {code:?}");
        }
        // A whole one needs no reset, however long it is.
        let (head, _) = client.ask(request("POST", "http://httpbin:8000/none"), vec![b'x'; 16 << 10]).await?;
        ensure!(head.status == 404);
        Ok(())
    })
}

/// Plays v1: answers before the upload has ended, and then hangs up, or does not even read.
fn early(theatre: &Theatre, hangs: bool) -> Result<(Script, Cue)> {
    let over = Cue::default();
    let waits = over.clone();
    let script = Script::start(theatre.v1.pod.netns(), theatre.v1.address(PORT), move |mut wire| {
        wire.head()?;
        wire.send(b"HTTP/1.1 413 Too Much\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!")?;
        if hangs { waits.wait(1) } else { Ok(()) }
    })?;
    Ok((script, over))
}

/// Fails if a client is not told that the rest of its upload is in vain, or if its connection outlives the endpoint's or the client.
fn an_endpoint_that_closes_after_an_early_answer_says_so() -> Result<()> {
    for hangs in [false, true] {
        let theatre = Setting::new(RULES).v1_port_free().start()?;
        let (_v1, over) = early(&theatre, hangs)?;
        let mut wire = theatre.dial()?;
        wire.send(&post("/get", 1_000_000, ""))?;
        wire.send(b"only the beginning")?;
        let answer = wire.answer()?;
        ensure!((answer.status, answer.text().as_str()) == (413, "no!"), "{answer:?}");
        ensure!(
            answer.head.to_ascii_lowercase().contains("\r\nconnection: close\r\n"),
            "hangs={hangs}: {}",
            answer.head
        );
        if hangs {
            // Without us it would be the client's to hang up as well.
            drop(wire);
        } else {
            let rest = wire.rest()?;
            ensure!(rest.is_empty(), "{rest:?}");
        }
        theatre.agent.metrics_when("nothing is open", |m| whole(m.sum("understudy_connections_open", &[])) == 0)?;
        over.give();
        theatre.agent.metrics_when("one candidate", |m| m.candidates() > 0.0)?;
        theatre.agent.settled()?;
        // A whole request is answered on a connection that stays.
        let mut wire = theatre.dial()?;
        let answer = wire.exchange(GET)?;
        ensure!(answer.status == 413 && !answer.head.to_ascii_lowercase().contains("connection"), "{}", answer.head);
    }
    Ok(())
}

/// Fails if what is left of an upload waits for ever for an endpoint that has given its whole answer and reads no more.
fn over_http2_an_endpoint_that_has_answered_and_does_not_read_is_left() -> Result<()> {
    let theatre = Setting::new(RULES).v1_port_free().args(&["--upstream-idle-timeout", "1s"]).start()?;
    let v1 = Server::start(theatre.v1.pod.netns(), theatre.v1.address(PORT), |mut call, body| async move {
        let mut answer = call.begin(http::HeaderMap::new())?;
        send(&mut answer, "one".into(), true).await?;
        let code = std::future::poll_fn(|cx| answer.poll_reset(cx)).await?;
        call.reset_by(code);
        drop(body);
        Ok(())
    })?;
    run(async {
        let client = Client::connect(&theatre.client, VIP).await?;
        let (response, mut stream) = client.open(request("POST", "http://httpbin:8000/get"), false).await?;
        let answer = read(response.await?.into_body()).await.map_err(|broken| anyhow::anyhow!("{broken:?}"))?;
        ensure!(answer.body == b"one");
        // More than v1's window and ours together: it ends with the stream.
        let upload = send(&mut stream, vec![b'x'; 8 << 20].into(), false);
        ensure!(upload.await.is_err(), "somebody has read it all");
        let seen = v1.wait_for(1).await?.remove(0);
        ensure!(seen.reset == Some(Reason::CANCEL), "{seen:?}");
        Ok(())
    })
}
