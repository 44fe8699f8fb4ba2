//! How streams and connections of HTTP/2 end: resets with their codes, GOAWAY, drain, and shadows that fail.

use std::{process::ExitCode, sync::Arc};

use anyhow::{Result, anyhow, ensure};
use bytes::Bytes;
use h2::Reason;
use http::HeaderMap;
use integration::{
    Behaviour, Cue, Theatre, case, harness,
    http2::{
        Client, Server,
        frames::{first_head, frame, go_away},
        read, request, run, send, until_reset,
    },
    script::Script,
    theatre::{MIRROR, NEEDS, PORT, ROUTE, Setting, VIP, noise, whole},
};
use nix::sys::signal::Signal;
use tokio::{sync::Notify, time::sleep};
use understudy::shadow::connections::REST;

fn main() -> ExitCode {
    harness::main(&[
        case!(a_reset_of_the_client_reaches_v1_with_its_code).needs(NEEDS),
        case!(a_reset_of_v1_reaches_the_client_with_its_code).needs(NEEDS),
        case!(a_client_that_is_gone_ends_its_streams).needs(NEEDS),
        case!(a_refused_stream_is_tried_again).needs(NEEDS),
        case!(a_stream_that_stays_refused_is_refused).needs(NEEDS),
        case!(a_request_above_the_last_of_a_goaway_is_tried_again).needs(NEEDS),
        case!(goaway_of_v1_loses_no_request).needs(NEEDS),
        case!(a_refused_connection_is_503).needs(NEEDS),
        case!(drain_finishes_streams).needs(NEEDS),
        case!(rules_change_on_a_live_connection).needs(NEEDS),
        case!(a_v2_that_fails_is_not_felt).needs(NEEDS),
        case!(a_v2_that_does_not_read_is_too_slow).needs(NEEDS),
    ])
}

const GET: &str = "http://httpbin:8000/get";
/// No library's default.
const CODE: Reason = Reason::HTTP_1_1_REQUIRED;

fn stage(http: &str) -> Result<Theatre> {
    Setting::new(http).v1_port_free().v2_port_free().start()
}

/// A server that takes requests and never answers, but keeps how they end.
fn silent(theatre: &Theatre, v1: bool) -> Result<Server> {
    let actor = if v1 { &theatre.v1 } else { &theatre.v2 };
    Server::start(actor.pod.netns(), actor.address(PORT), |mut call, body| async move {
        if call.read(body).await.is_ok() {
            let code = std::future::poll_fn(|cx| call.respond.poll_reset(cx)).await?;
            call.reset_by(code);
        }
        Ok(())
    })
}

fn answering(theatre: &Theatre) -> Result<(Server, Server)> {
    let v1 = Server::answering(theatre.v1.pod.netns(), theatre.v1.address(PORT), "one")?;
    let v2 = Server::answering(theatre.v2.pod.netns(), theatre.v2.address(PORT), "two")?;
    Ok((v1, v2))
}

/// Fails if a code is replaced by CANCEL, or if half a request is a whole one for v2.
fn a_reset_of_the_client_reaches_v1_with_its_code() -> Result<()> {
    let theatre = stage(MIRROR)?;
    let (v1, v2) = (silent(&theatre, true)?, silent(&theatre, false)?);
    run(async {
        let client = Client::connect(&theatre.client, VIP).await?;
        // In the middle of its body.
        let (_response, mut stream) = client.open(request("POST", GET), false).await?;
        send(&mut stream, "half".into(), false).await?;
        v1.wait_for_heads(1).await?;
        v2.wait_for_heads(1).await?;
        stream.send_reset(CODE);
        let at_v1 = v1.wait_for(1).await?.remove(0);
        ensure!(at_v1.reset == Some(CODE) && !at_v1.whole, "{at_v1:?}");
        let at_v2 = v2.wait_for(1).await?.remove(0);
        ensure!(at_v2.reset == Some(Reason::CANCEL) && !at_v2.whole, "{at_v2:?}");
        // While the answer is awaited.
        let (_response, mut stream) = client.open(request("GET", GET), true).await?;
        v1.wait_for(2).await?;
        stream.send_reset(CODE);
        let seen = v1.wait_for(3).await?;
        ensure!(seen[2].reset == Some(CODE), "{seen:?}");
        Ok(())
    })?;
    // The second request was whole: its shadow lives on (until the end of the process, here).
    theatre.agent.metrics_when("the first shadow is cancelled", |view| whole(view.outcome("cancelled")) == 1)?;
    drop(v2);
    theatre.outcomes(&[("cancelled", 1), ("reset", 1)])?;
    Ok(())
}

/// Fails if a code is replaced on the way back, if a 503 stands in for a reset, or if other streams of the connection feel it.
fn a_reset_of_v1_reaches_the_client_with_its_code() -> Result<()> {
    let theatre = stage(ROUTE)?;
    let _v1 = Server::start(theatre.v1.pod.netns(), theatre.v1.address(PORT), |mut call, body| async move {
        match call.head.uri.path() {
            "/before" => call.respond.send_reset(CODE),
            "/within" => {
                let mut answer = call.begin(HeaderMap::new())?;
                send(&mut answer, "half".into(), false).await?;
                // A reset overtakes what is not written yet.
                let _ = call.read(body).await;
                answer.send_reset(CODE);
            }
            _ => call.answer("one").await?,
        }
        Ok(())
    })?;
    run(async {
        let client = Client::connect(&theatre.client, VIP).await?;
        let (response, mut stream) = client.open(request("POST", "http://httpbin:8000/before"), false).await?;
        let error = response.await.err().ok_or_else(|| anyhow!("an answer"))?;
        ensure!(error.is_reset() && error.is_remote() && error.reason() == Some(CODE), "{error:?}");
        ensure!(until_reset(&mut stream).await? == CODE);
        let (response, mut stream) = client.open(request("POST", "http://httpbin:8000/within"), false).await?;
        let mut answer = response.await?.into_body();
        let half = answer.data().await.ok_or_else(|| anyhow!("no body"))??;
        ensure!(half == "half");
        send(&mut stream, Bytes::new(), true).await?;
        let broken = read(answer).await.err().ok_or_else(|| anyhow!("the answer ended well"))?;
        ensure!(broken.code == Some(CODE), "{broken:?}");
        let (_, answer) = client.ask(request("GET", "http://httpbin:8000/other"), "").await?;
        ensure!(answer.body == b"one");
        Ok(())
    })
}

/// Fails if a stream at v1 outlives the connection that it was for.
fn a_client_that_is_gone_ends_its_streams() -> Result<()> {
    let theatre = stage(MIRROR)?;
    let (v1, v2) = (silent(&theatre, true)?, silent(&theatre, false)?);
    run(async {
        let client = Client::connect(&theatre.client, VIP).await?;
        let (_one, _whole) = client.open(request("GET", GET), true).await?;
        let (_two, mut half) = client.open(request("POST", GET), false).await?;
        send(&mut half, "half".into(), false).await?;
        v1.wait_for_heads(2).await?;
        v2.wait_for_heads(2).await?;
        client.cut();
        // The whole one is seen twice: when it was read, and when it was reset.
        let seen = v1.wait_for(3).await?;
        let resets: Vec<_> = seen.iter().filter_map(|seen| seen.reset).collect();
        ensure!(resets == [Reason::CANCEL; 2], "{seen:?}");
        Ok(())
    })?;
    drop(v2);
    theatre.outcomes(&[("cancelled", 1), ("reset", 1)])?;
    theatre.agent.metrics_when("no connection is open", |view| {
        whole(view.sum("understudy_open_connections", &[("kind", "captured")])) == 0
    })?;
    Ok(())
}

/// Fails if what v1 has provably not processed is not tried again, or has a shadow for each try.
fn a_refused_stream_is_tried_again() -> Result<()> {
    let theatre = stage(MIRROR)?;
    let v1 = Server::start(theatre.v1.pod.netns(), theatre.v1.address(PORT), |mut call, body| async move {
        if call.number < 2 {
            call.respond.send_reset(Reason::REFUSED_STREAM);
            return Ok(());
        }
        let _ = call.read(body).await;
        call.answer("one").await
    })?;
    let v2 = Server::answering(theatre.v2.pod.netns(), theatre.v2.address(PORT), "two")?;
    run(async {
        let client = Client::connect(&theatre.client, VIP).await?;
        let (head, answer) = client.ask(request("DELETE", GET), "").await?;
        ensure!(head.status == 200 && answer.body == b"one");
        ensure!(v1.heads() == 3, "{} tries", v1.heads());
        Ok(())
    })?;
    theatre.outcomes(&[("answered", 1)])?;
    ensure!(v2.heads() == 1);
    Ok(())
}

/// Fails if there is no end to the tries, or if the client cannot tell that nothing was processed.
fn a_stream_that_stays_refused_is_refused() -> Result<()> {
    let theatre = stage(ROUTE)?;
    let v1 = Server::start(theatre.v1.pod.netns(), theatre.v1.address(PORT), |mut call, _body| async move {
        call.respond.send_reset(Reason::REFUSED_STREAM);
        Ok(())
    })?;
    run(async {
        let client = Client::connect(&theatre.client, VIP).await?;
        let (response, _stream) = client.open(request("GET", GET), true).await?;
        let error = response.await.err().ok_or_else(|| anyhow!("an answer"))?;
        ensure!(error.reason() == Some(Reason::REFUSED_STREAM), "{error:?}");
        ensure!(v1.heads() == 3, "{} tries", v1.heads());
        Ok(())
    })
}

/// Fails if a GOAWAY is taken for the end of requests that it does not count. No library's server ignores a stream, so this one is written out.
fn a_request_above_the_last_of_a_goaway_is_tried_again() -> Result<()> {
    let theatre = stage(ROUTE)?;
    let tries = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let v1 = Script::start(theatre.v1.pod.netns(), theatre.v1.address(PORT), {
        let tries = Arc::clone(&tries);
        move |mut wire| {
            let stream = first_head(&mut wire)?;
            if tries.fetch_add(1, std::sync::atomic::Ordering::AcqRel) == 0 {
                wire.send(&go_away())?;
            } else {
                // HEADERS with END_STREAM and END_HEADERS: `:status: 204` of the static table.
                wire.send(&frame(1, 5, stream, &[0x89]))?;
            }
            wire.rest().map(drop)
        }
    })?;
    run(async {
        let client = Client::connect(&theatre.client, VIP).await?;
        let (head, _) = client.ask(request("DELETE", GET), "").await?;
        ensure!(head.status == 204);
        Ok(())
    })?;
    ensure!(v1.accepted() == 2);
    Ok(())
}

/// Fails if a connection that is going away gets new streams, or if those that it has are given up.
fn goaway_of_v1_loses_no_request() -> Result<()> {
    let theatre =
        Setting::new(MIRROR).v1_port_free().v2_port_free().args(&["--shadow-max-concurrent", "1000"]).start()?;
    let (v1, _v2) = answering(&theatre)?;
    const REQUESTS: usize = 300;
    run(async {
        let client = Arc::new(Client::connect(&theatre.client, VIP).await?);
        let mut asking = Vec::new();
        for lane in 0..10 {
            let client = Arc::clone(&client);
            asking.push(tokio::spawn(async move {
                for _ in 0..REQUESTS / 10 {
                    let (head, answer) = client.ask(request("POST", GET), format!("lane {lane}")).await?;
                    ensure!(head.status == 200 && answer.body == b"one");
                }
                Ok(())
            }));
        }
        for count in 1..=5 {
            v1.wait_for(count * 40).await?;
            v1.go_away();
        }
        for lane in asking {
            lane.await??;
        }
        ensure!(v1.connections() > 1, "v1 has sent no GOAWAY");
        Ok(())
    })?;
    theatre.outcomes(&[("answered", REQUESTS)])?;
    ensure!(v1.seen().len() == REQUESTS);
    Ok(())
}

/// Fails if nobody answers for an endpoint that nobody listens on.
fn a_refused_connection_is_503() -> Result<()> {
    let theatre = stage(MIRROR)?;
    run(async {
        let client = Client::connect(&theatre.client, VIP).await?;
        for _ in 0..2 {
            let (head, answer) = client.ask(request("GET", GET), "").await?;
            ensure!(head.status == 503 && answer.body.starts_with(b"upstream connect error"), "{head:?}");
        }
        Ok(())
    })?;
    theatre.outcomes(&[("not_mirrorable", 2)])?;
    Ok(())
}

/// Fails if a drain cuts a stream, or lets the client believe that it may open more.
fn drain_finishes_streams() -> Result<()> {
    let mut theatre = stage(ROUTE)?;
    let go_on = Arc::new(Notify::new());
    let v1 = Server::start(theatre.v1.pod.netns(), theatre.v1.address(PORT), {
        let go_on = Arc::clone(&go_on);
        move |mut call, _body| {
            let go_on = Arc::clone(&go_on);
            async move {
                let mut answer = call.begin(HeaderMap::new())?;
                send(&mut answer, "half".into(), false).await?;
                go_on.notified().await;
                send(&mut answer, " and half".into(), true).await
            }
        }
    })?;
    run(async {
        let client = Client::connect(&theatre.client, VIP).await?;
        let (response, _stream) = client.open(request("GET", GET), true).await?;
        let mut answer = response.await?.into_body();
        ensure!(answer.data().await.ok_or_else(|| anyhow!("no body"))?? == "half");
        theatre.agent.process().signal(Signal::SIGTERM)?;
        client.refused().await?;
        go_on.notify_one();
        let rest = read(answer).await.map_err(|broken| anyhow!("{broken:?}"))?;
        ensure!(rest.body == b" and half");
        client.ended().await
    })?;
    ensure!(v1.heads() == 1);
    ensure!(theatre.agent.stop()?.success(), "the agent did not end well");
    Ok(())
}

/// Fails if a connection keeps the table that it began with, or is cut for the sake of a new one.
fn rules_change_on_a_live_connection() -> Result<()> {
    let theatre = stage(MIRROR)?;
    let (v1, v2) = answering(&theatre)?;
    run(async {
        let client = Client::connect(&theatre.client, VIP).await?;
        let asked = async || anyhow::Ok(client.ask(request("GET", GET), "").await?.1.body);
        ensure!(asked().await? == b"one");
        theatre.rule(&ROUTE.replace("v1", "v2"))?;
        ensure!(asked().await? == b"two");
        theatre.rule(ROUTE)?;
        ensure!(asked().await? == b"one");
        Ok(())
    })?;
    theatre.outcomes(&[("answered", 1)])?;
    ensure!((v1.heads(), v2.heads()) == (2, 2));
    let view = theatre.agent.metrics()?;
    ensure!(whole(view.sum("understudy_connections_total", &[("kind", "http2")])) == 1);
    Ok(())
}

/// Fails if the primary has any part in what becomes of a shadow: v2 refuses, hangs, resets, or does not speak HTTP/2.
fn a_v2_that_fails_is_not_felt() -> Result<()> {
    let theatre = Setting::new(MIRROR).v1_port_free().v2_port_free().args(&["--shadow-timeout", "1s"]).start()?;
    let _v1 = Server::answering(theatre.v1.pod.netns(), theatre.v1.address(PORT), "one")?;
    run(async {
        let client = Client::connect(&theatre.client, VIP).await?;
        let ask = async || {
            let (head, answer) = client.ask(request("POST", GET), "hello").await?;
            ensure!(head.status == 200 && answer.body == b"one");
            Ok(())
        };
        ask().await?;
        theatre.outcomes(&[("connect_failed", 1)])?;
        // Until then nobody finds out that it is back.
        sleep(2 * REST).await;
        {
            let v2 = silent(&theatre, false)?;
            ask().await?;
            ask().await?;
            theatre.outcomes(&[("connect_failed", 1), ("timeout", 2)])?;
            let seen = v2.wait_for(4).await?;
            let resets: Vec<_> = seen.iter().filter_map(|seen| seen.reset).collect();
            ensure!(resets == [Reason::CANCEL; 2], "{seen:?}");
        }
        {
            let v2 = theatre.v2.address(PORT);
            let _v2 = Server::start(theatre.v2.pod.netns(), v2, |mut call, _body| async move {
                call.respond.send_reset(Reason::INTERNAL_ERROR);
                Ok(())
            })?;
            ask().await?;
            theatre.outcomes(&[("connect_failed", 1), ("timeout", 2), ("reset", 1)])?;
        }
        let v2 = theatre.v2.address(PORT);
        let _v2 = integration::Recorder::start(theatre.v2.pod.netns(), v2, Behaviour::Ok(b"two".to_vec()))?;
        ask().await?;
        Ok(())
    })?;
    theatre.agent.metrics_when("all have ended", |view| whole(view.candidates()) == 5)?;
    let view = theatre.agent.settled()?;
    ensure!(whole(view.outcome("answered")) == 0, "HTTP/1 was taken for an answer");
    Ok(())
}

/// Fails if a shadow's flow control reaches the client.
fn a_v2_that_does_not_read_is_too_slow() -> Result<()> {
    let arguments = ["--shadow-buffer-bytes", "64Ki"];
    let theatre = Setting::new(MIRROR).v1_port_free().v2_port_free().args(&arguments).start()?;
    let v1 = Server::answering(theatre.v1.pod.netns(), theatre.v1.address(PORT), "one")?;
    let held = Cue::default();
    let v2 = Server::start(theatre.v2.pod.netns(), theatre.v2.address(PORT), {
        let held = held.clone();
        move |mut call, body| {
            let held = held.clone();
            async move {
                // Not a byte of it is read.
                let _body = body;
                let code = std::future::poll_fn(|cx| call.respond.poll_reset(cx)).await?;
                ensure!(code == Reason::CANCEL);
                held.give();
                Ok(())
            }
        }
    })?;
    let body = Bytes::from(noise(16 << 20));
    run(async {
        let client = Client::connect(&theatre.client, VIP).await?;
        let (response, mut stream) = client.open(request("POST", GET), false).await?;
        // The shadow must have a stream before it can lose it.
        v2.wait_for_heads(1).await?;
        send(&mut stream, body.clone(), true).await?;
        let answer = read(response.await?.into_body()).await.map_err(|broken| anyhow!("{broken:?}"))?;
        ensure!(answer.body == b"one");
        ensure!(v1.wait_for(1).await?[0].message.body == body);
        Ok(())
    })?;
    theatre.outcomes(&[("too_slow", 1)])?;
    held.wait(1)
}
