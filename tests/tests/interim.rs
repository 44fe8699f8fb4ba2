//! Informational answers other than 100, on their way from v1 to the client: as they were said, in order, and none of v2's.

use std::{future::poll_fn, process::ExitCode};

use anyhow::{Context as _, Result, ensure};
use integration::{
    Script, Theatre, case, harness,
    http2::{Client, Server, request, run},
    theatre::{ANSWER, GET, MIRROR, NEEDS, PORT, Setting, VIP, from_v1},
};

fn main() -> ExitCode {
    harness::main_both_ways(&[
        case!(over_http1_they_come_as_v1_wrote_them).needs(NEEDS),
        case!(http10_hears_none_of_them).needs(NEEDS),
        case!(over_http2_each_is_a_head_of_its_own).needs(NEEDS),
    ])
}

const SAID: &str = "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nX-CaSe: 1\r\n\r\n\
    HTTP/1.1 103 Even More\r\nLink: </b.css>\r\n\r\n";

/// v1 and v2 over HTTP/1, both of which say so.
fn speakers() -> Result<(Theatre, Script, Script)> {
    let theatre = Setting::new(MIRROR).v1_port_free().v2_port_free().start()?;
    let v1 = Script::start(theatre.v1.pod.netns(), theatre.v1.address(PORT), |mut wire| {
        loop {
            wire.head()?;
            wire.send(SAID.as_bytes())?;
            wire.send([ANSWER.0, ANSWER.1].concat().as_bytes())?;
        }
    })?;
    let v2 = Script::start(theatre.v2.pod.netns(), theatre.v2.address(PORT), |mut wire| {
        loop {
            wire.head()?;
            wire.send(b"HTTP/1.1 103 Of v2\r\nX-Two: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo")?;
        }
    })?;
    Ok((theatre, v1, v2))
}

/// Fails if one is lost, comes in another order or letter case, or if v2's reach the client; twice, because a connection is used again.
fn over_http1_they_come_as_v1_wrote_them() -> Result<()> {
    let (theatre, _v1, _v2) = speakers()?;
    let mut wire = theatre.dial()?;
    for _ in 0..2 {
        wire.send(GET)?;
        let mut said = String::new();
        for _ in 0..3 {
            said += &wire.head()?;
        }
        ensure!(said == SAID, "{said:?}");
        from_v1(&wire.answer()?)?;
    }
    theatre.outcomes(&[("answered", 2)])?;
    Ok(())
}

/// Fails if a client that cannot know them is sent one (RFC 9110, 15.2).
fn http10_hears_none_of_them() -> Result<()> {
    let (theatre, _v1, _v2) = speakers()?;
    let answer = theatre.ask(b"GET /get HTTP/1.0\r\nHost: httpbin:8000\r\n\r\n")?;
    ensure!((answer.status, answer.text().as_str()) == (200, "one"), "{answer:?}");
    theatre.outcomes(&[("answered", 1)])?;
    Ok(())
}

/// Fails if one is lost, loses its fields, or takes the place of the answer.
fn over_http2_each_is_a_head_of_its_own() -> Result<()> {
    let theatre = Setting::new(MIRROR).v1_port_free().v2_port_free().start()?;
    let speaker = |says: &'static [(u16, &'static str)], body| {
        move |mut call: integration::http2::Call, stream| async move {
            for (status, hint) in says {
                let interim = http::Response::builder().status(*status).header("x-hint", *hint).body(())?;
                call.respond.send_informational(interim)?;
            }
            let _ = call.read(stream).await;
            call.answer(body).await
        }
    };
    const SAYS: &[(u16, &str)] = &[(102, "a"), (103, "b"), (103, "c")];
    let _v1 = Server::start(theatre.v1.pod.netns(), theatre.v1.address(PORT), speaker(SAYS, "one"))?;
    let _v2 = Server::start(theatre.v2.pod.netns(), theatre.v2.address(PORT), speaker(&[(103, "of v2")], "two"))?;
    run(async {
        let client = Client::connect(&theatre.client, VIP).await?;
        let (mut response, _) = client.open(request("GET", "http://httpbin:8000/get"), true).await?;
        for (status, hint) in SAYS {
            let interim = poll_fn(|cx| response.poll_informational(cx)).await.context("no 1xx")??;
            ensure!(interim.status() == *status && interim.headers()["x-hint"] == *hint, "{interim:?}");
        }
        let more = poll_fn(|cx| response.poll_informational(cx)).await;
        ensure!(more.is_none(), "{more:?}");
        let answer = response.await?;
        ensure!(answer.status() == 200 && answer.headers().is_empty(), "{answer:?}");
        Ok(())
    })?;
    theatre.outcomes(&[("answered", 1)])?;
    Ok(())
}
