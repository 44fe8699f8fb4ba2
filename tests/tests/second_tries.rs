//! Further tries over HTTP/2: calls of gRPC whose status says that they may be made again, and requests that the endpoint has not processed although
//! their bodies had begun.

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context as _, Result, anyhow, ensure};
use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, Request, Response};
use integration::{
    Theatre, case, harness,
    http2::{Call, Client, Server, fields, frames, read, request, run, send},
    manifests,
    script::Script,
    theatre::{MIRROR, NEEDS, PORT, Setting, VIP, noise},
};

fn main() -> ExitCode {
    harness::main(&[
        case!(a_call_that_met_an_unavailable_endpoint_is_made_again).needs(NEEDS),
        case!(an_answer_that_is_nobodys_failure_passes).needs(NEEDS),
        case!(a_call_that_is_not_kept_is_made_once).needs(NEEDS),
        case!(another_endpoint_is_preferred).needs(NEEDS),
        case!(a_refused_stream_is_sent_again_with_what_went_out_of_its_body).needs(NEEDS),
        case!(a_body_that_is_not_kept_is_the_clients_to_send_again).needs(NEEDS),
        case!(a_v2_that_refuses_is_asked_twice).needs(NEEDS),
    ])
}

const URI: &str = "http://httpbin:8000/pkg.Service/Method";
const GRPC: &[(&str, &str)] = &[("content-type", "application/grpc+proto"), ("te", "trailers")];

fn call(content_type: &'static str) -> Request<()> {
    let mut call = request("POST", URI);
    *call.headers_mut() = fields(GRPC);
    call.headers_mut().insert("content-type", http::HeaderValue::from_static(content_type));
    call
}

/// An answer that is nothing but trailers.
fn only_status(call: &mut Call, status: &'static str) -> Result<()> {
    let mut response = Response::new(());
    *response.headers_mut() = fields(&[("content-type", "application/grpc"), ("grpc-status", status)]);
    call.respond.send_response(response, true)?;
    Ok(())
}

async fn well(call: &mut Call) -> Result<()> {
    let mut answer = call.begin(fields(&[("content-type", "application/grpc")]))?;
    send(&mut answer, "one".into(), false).await?;
    Ok(answer.send_trailers(fields(&[("grpc-status", "0")]))?)
}

fn stage(rules: &str) -> Result<(Theatre, Server)> {
    let theatre = Setting::new(rules).v1_port_free().v2_port_free().start()?;
    let v2 = Server::answering(theatre.v2.pod.netns(), theatre.v2.address(PORT), "two")?;
    Ok((theatre, v2))
}

/// v1, whose first two answers are these.
fn failing(theatre: &Theatre, first: [&'static str; 2]) -> Result<Server> {
    Server::start(theatre.v1.pod.netns(), theatre.v1.address(PORT), move |mut call, body| async move {
        let _ = call.read(body).await;
        match first.get(call.number) {
            Some(status) => only_status(&mut call, status),
            None => well(&mut call).await,
        }
    })
}

fn attempts(count: u32) -> String {
    format!("{MIRROR}    retries: {{attempts: {count}}}\n")
}

/// Fails if the status of a call is not looked at, if the second call has another body, or if every try has a shadow.
fn a_call_that_met_an_unavailable_endpoint_is_made_again() -> Result<()> {
    for (rules, tries, status) in
        [(MIRROR.to_owned(), 3, "0"), (attempts(1), 2, "1"), (attempts(0), 1, "14"), (attempts(5), 3, "0")]
    {
        let (theatre, v2) = stage(&rules)?;
        let v1 = failing(&theatre, ["14", "1"])?;
        run(async {
            let client = Client::connect(&theatre.client, VIP).await?;
            let (response, mut stream) = client.open(call("application/grpc+proto"), false).await?;
            send(&mut stream, "hel".into(), false).await?;
            send(&mut stream, "lo".into(), false).await?;
            stream.send_trailers(fields(&[("x-sum", "9")]))?;
            let (head, body) = response.await?.into_parts();
            let answer = read(body).await.map_err(|broken| anyhow!("{broken:?}"))?;
            let trailers = answer.trailers.unwrap_or_default();
            let got = head.headers.get("grpc-status").or_else(|| trailers.get("grpc-status")).context("no status")?;
            ensure!(got == status, "{tries} tries: {head:?} {trailers:?}");
            ensure!(v1.heads() == tries, "{} tries, not {tries}", v1.heads());
            for seen in v1.wait_for(tries).await? {
                ensure!(seen.message.body == b"hello" && seen.whole, "{seen:?}");
                ensure!(seen.message.trailers == Some(fields(&[("x-sum", "9")])), "{seen:?}");
                ensure!(seen.head.headers == fields(GRPC), "{seen:?}");
            }
            ensure!(v2.wait_for(1).await?[0].message.body == b"hello");
            Ok(())
        })?;
        theatre.outcomes(&[("answered", 1)])?;
        ensure!(v2.heads() == 1, "{} shadows of one call", v2.heads());
    }
    Ok(())
}

/// Fails if another status, a status in real trailers, or one of a request that is no call, is a reason to try again.
fn an_answer_that_is_nobodys_failure_passes() -> Result<()> {
    let (theatre, _v2) = stage(MIRROR)?;
    let v1 = Server::start(theatre.v1.pod.netns(), theatre.v1.address(PORT), |mut call, body| async move {
        let message = call.read(body).await.map_err(|broken| anyhow!("{broken:?}"))?;
        match &message.body[..] {
            b"not found" => only_status(&mut call, "5"),
            b"no call" => only_status(&mut call, "14"),
            _ => {
                let mut answer = call.begin(HeaderMap::new())?;
                send(&mut answer, "half".into(), false).await?;
                Ok(answer.send_trailers(fields(&[("grpc-status", "14")]))?)
            }
        }
    })?;
    run(async {
        let client = Client::connect(&theatre.client, VIP).await?;
        for (i, (content_type, body, status)) in [
            ("application/grpc", "not found", "5"),
            ("application/json", "no call", "14"),
            ("application/grpc", "in trailers", "14"),
        ]
        .into_iter()
        .enumerate()
        {
            let (head, answer) = client.ask(call(content_type), body).await?;
            let trailers = answer.trailers.unwrap_or_default();
            let got = head.headers.get("grpc-status").or_else(|| trailers.get("grpc-status"));
            ensure!(got.is_some_and(|got| got == status), "{body}: {head:?} {trailers:?}");
            ensure!(v1.heads() == i + 1, "{body}: tried again");
        }
        Ok(())
    })?;
    theatre.outcomes(&[("answered", 3)])?;
    Ok(())
}

/// Fails if a part of a body is sent for the whole of it, or if a call that still streams is held back.
fn a_call_that_is_not_kept_is_made_once() -> Result<()> {
    let (theatre, _v2) = stage(MIRROR)?;
    let v1 = Server::start(theatre.v1.pod.netns(), theatre.v1.address(PORT), |mut call, body| async move {
        if call.head.headers.contains_key("x-early") {
            only_status(&mut call, "14")?;
        }
        call.read(body).await.map_err(|broken| anyhow!("{broken:?}"))?;
        if !call.head.headers.contains_key("x-early") {
            only_status(&mut call, "14")?;
        }
        Ok(())
    })?;
    run(async {
        let client = Client::connect(&theatre.client, VIP).await?;
        // 60 KiB are kept, 70 are not.
        for (length, heads) in [(60 << 10, 3), (70 << 10, 4)] {
            let body = noise(length);
            let (head, _) = client.ask(call("application/grpc"), body.clone()).await?;
            ensure!(head.headers["grpc-status"] == "14" && v1.heads() == heads, "{length}: {} tries", v1.heads());
            ensure!(v1.wait_for(heads).await?.iter().rev().take(1).all(|seen| seen.message.body == body));
        }
        let mut early = call("application/grpc");
        early.headers_mut().extend(fields(&[("x-early", "1")]));
        let (response, mut stream) = client.open(early, false).await?;
        send(&mut stream, "half".into(), false).await?;
        ensure!(response.await?.headers()["grpc-status"] == "14" && v1.heads() == 5);
        send(&mut stream, " and half".into(), true).await?;
        ensure!(v1.wait_for(5).await?[4].message.body == b"half and half");
        Ok(())
    })?;
    theatre.outcomes(&[("answered", 3)])?;
    Ok(())
}

/// Fails if a call goes back to where it failed although there is another endpoint.
fn another_endpoint_is_preferred() -> Result<()> {
    let (theatre, v2) = stage(&attempts(1))?;
    let unavailable = theatre.node.pod("httpbin-v1-ill").label("app", "httpbin").label("version", "v1").start()?;
    let ill = Server::start(unavailable.netns(), (unavailable.v4(), PORT).into(), |mut call, body| async move {
        let _ = call.read(body).await;
        only_status(&mut call, "14")
    })?;
    let _v1 = failing(&theatre, ["0", "0"])?;
    theatre.agent.changed(|| theatre.manifests.apply("ill.yaml", &manifests::pod(&unavailable, "mirror", false)))?;
    const CALLS: usize = 40;
    run(async {
        let client = Client::connect(&theatre.client, VIP).await?;
        for _ in 0..CALLS {
            let (head, answer) = client.ask(call("application/grpc"), "hello").await?;
            let trailers = answer.trailers.unwrap_or_default();
            let got = head.headers.get("grpc-status").or_else(|| trailers.get("grpc-status"));
            ensure!(got.is_some_and(|got| got == "0"), "{head:?} {trailers:?}");
        }
        Ok(())
    })?;
    ensure!(ill.heads() > 0, "nobody met the endpoint that fails");
    theatre.outcomes(&[("answered", CALLS)])?;
    ensure!(v2.heads() == CALLS, "{} shadows", v2.heads());
    Ok(())
}

/// Fails if what the endpoint has read before it refused is lost or sent twice, to v1 or to v2.
fn a_refused_stream_is_sent_again_with_what_went_out_of_its_body() -> Result<()> {
    let (theatre, v2) = stage(MIRROR)?;
    let v1 = Server::start(theatre.v1.pod.netns(), theatre.v1.address(PORT), |mut call, mut body| async move {
        if call.number < 2 {
            ensure!(body.data().await.context("no body")?? == "half");
            call.respond.send_reset(Reason::REFUSED_STREAM);
            return Ok(());
        }
        let _ = call.read(body).await;
        call.answer("one").await
    })?;
    run(async {
        let client = Client::connect(&theatre.client, VIP).await?;
        let (response, mut stream) = client.open(request("POST", URI), false).await?;
        send(&mut stream, "half".into(), false).await?;
        v1.wait_for_heads(3).await?;
        send(&mut stream, " and half".into(), true).await?;
        let answer = read(response.await?.into_body()).await.map_err(|broken| anyhow!("{broken:?}"))?;
        ensure!(answer.body == b"one");
        for server in [&v1, &v2] {
            let seen = server.wait_for(1).await?;
            ensure!(seen.len() == 1 && seen[0].message.body == b"half and half", "{seen:?}");
        }
        Ok(())
    })?;
    theatre.outcomes(&[("answered", 1)])?;
    ensure!((v1.heads(), v2.heads()) == (3, 1));
    Ok(())
}

/// Fails if a client is told 503 of a request that nobody has processed: its library could send it again.
fn a_body_that_is_not_kept_is_the_clients_to_send_again() -> Result<()> {
    let (theatre, _v2) = stage(&attempts(0))?;
    let goes_away = Arc::new(AtomicUsize::new(0));
    let v1 = Script::start(theatre.v1.pod.netns(), theatre.v1.address(PORT), {
        let goes_away = Arc::clone(&goes_away);
        move |mut wire| {
            let stream = frames::first_head(&mut wire)?;
            frames::first_of(0, &mut wire)?;
            match goes_away.fetch_add(1, Ordering::AcqRel) {
                0 => wire.send(&frames::go_away())?,
                // RST_STREAM.
                _ => wire.send(&frames::frame(3, 0, stream, &u32::from(Reason::REFUSED_STREAM).to_be_bytes()))?,
            }
            wire.rest().map(drop)
        }
    })?;
    run(async {
        let client = Client::connect(&theatre.client, VIP).await?;
        for _ in 0..2 {
            let (response, mut stream) = client.open(request("POST", URI), false).await?;
            send(&mut stream, Bytes::from_static(b"half"), false).await?;
            let error = response.await.err().context("an answer")?;
            ensure!(error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM), "{error:?}");
        }
        Ok(())
    })?;
    ensure!(v1.accepted() == 2);
    theatre.outcomes(&[("cancelled", 2)])?;
    Ok(())
}

/// Fails if a v2 that refuses every stream is asked again and again until the shadow's time is over, or over a new connection each time: v1's worker would
/// be busy with it.
fn a_v2_that_refuses_is_asked_twice() -> Result<()> {
    let theatre = Setting::new(MIRROR).v1_port_free().v2_port_free().start()?;
    let _v1 = Server::answering(theatre.v1.pod.netns(), theatre.v1.address(PORT), "one")?;
    let v2 = Server::start(theatre.v2.pod.netns(), theatre.v2.address(PORT), |mut call, _body| async move {
        call.reset_by(Reason::REFUSED_STREAM);
        call.respond.send_reset(Reason::REFUSED_STREAM);
        Ok(())
    })?;
    run(async {
        let client = Client::connect(&theatre.client, VIP).await?;
        for _ in 0..5 {
            let (response, _stream) = client.open(request("GET", URI), true).await?;
            ensure!(response.await?.status() == 200);
        }
        Ok(())
    })?;
    theatre.outcomes(&[("reset", 5)])?;
    ensure!(v2.heads() == 10, "five shadows were sent {} times", v2.heads());
    let last = run(v2.wait_for(10))?.iter().map(|seen| seen.connection).max();
    // A worker has a connection of its own.
    ensure!(last <= Some(1), "the last came on connection {last:?}");
    Ok(())
}
