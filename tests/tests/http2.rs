//! HTTP/2 with prior knowledge: messages reach v1 as they were sent and come back as they were answered, and v2 gets its copy.

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context as _, Result, anyhow, ensure};
use bytes::Bytes;
use http::{HeaderMap, header::HOST};
use integration::{
    Theatre, case, harness,
    http2::{Client, Server, fields, read, request, run, send, until},
    needs::Need,
    theatre::{self, MIRROR, NEEDS, PLAIN, PORT, Setting, VIP, noise, whole},
};

const CURL: &[Need] = &[Need::Root, Need::NetTools, Need::Curl, Need::Cgroup2, Need::Btf, Need::Agent];

fn main() -> ExitCode {
    harness::main(&[
        case!(a_request_and_its_shadow).needs(NEEDS),
        case!(the_authority_is_kept_and_the_shadow_gets_its_own).needs(NEEDS),
        case!(trailers_both_ways).needs(NEEDS),
        case!(large_bodies_both_ways).needs(NEEDS),
        case!(a_stream_in_both_directions).needs(NEEDS),
        case!(informational_answers).needs(NEEDS),
        case!(a_hundred_streams_share_a_connection).needs(NEEDS),
        case!(more_streams_take_another_connection_and_idle_ones_close).needs(NEEDS),
        case!(connect_is_a_stream).needs(NEEDS),
        case!(a_head_that_is_too_large_is_431).needs(NEEDS),
        case!(detected_on_an_undeclared_port).needs(NEEDS),
        case!(http1_on_a_port_declared_http2).needs(NEEDS),
        case!(a_client_that_does_not_read_stops_v1).needs(NEEDS),
        case!(v1_that_does_not_read_stops_the_client).needs(NEEDS),
        case!(curl_with_prior_knowledge).needs(CURL),
    ])
}

const GET: &str = "http://httpbin:8000/get?a=1";

/// The stage with HTTP/2 servers that read and answer for v1 and v2.
fn stage() -> Result<(Theatre, Server, Server)> {
    let theatre = Setting::new(MIRROR).v1_port_free().v2_port_free().start()?;
    let v1 = Server::answering(theatre.v1.pod.netns(), theatre.v1.address(PORT), "one")?;
    let v2 = Server::answering(theatre.v2.pod.netns(), theatre.v2.address(PORT), "two")?;
    Ok((theatre, v1, v2))
}

/// Fails if a field is added, lost or changed on its way to v1, or if HTTP/2 becomes HTTP/1 on the way to either.
fn a_request_and_its_shadow() -> Result<()> {
    let (theatre, v1, v2) = stage()?;
    run(async {
        let client = Client::connect(&theatre.client, VIP).await?;
        let mut get = request("POST", GET);
        let sent =
            fields(&[("x-a", "1"), ("te", "trailers"), ("grpc-timeout", "5S"), ("cookie", "a=1"), ("cookie", "b=2")]);
        *get.headers_mut() = sent.clone();
        let (head, answer) = client.ask(get, "hello").await?;
        ensure!(head.status == 200 && head.headers.is_empty() && answer.body == b"one", "{head:?}");
        let seen = v1.wait_for(1).await?.remove(0);
        ensure!(seen.head.headers == sent, "v1 got {:?}", seen.head.headers);
        ensure!(seen.head.uri == GET && seen.head.method == "POST" && seen.message.body == b"hello");
        let shadow = v2.wait_for(1).await?.remove(0);
        let mut expected = sent;
        expected.extend(fields(&[("x-understudy-shadow", "true")]));
        ensure!(shadow.head.headers == expected, "v2 got {:?}", shadow.head.headers);
        ensure!(shadow.head.uri == "http://httpbin-shadow:8000/get?a=1" && shadow.message.body == b"hello");
        Ok(())
    })?;
    let view = theatre.outcomes(&[("answered", 1)])?;
    ensure!(whole(view.sum("understudy_connections_total", &[("kind", "http2")])) == 1);
    Ok(())
}

/// Fails if `:authority` is made of Host or the other way round, or if the suffix stands behind the port.
fn the_authority_is_kept_and_the_shadow_gets_its_own() -> Result<()> {
    let (theatre, v1, v2) = stage()?;
    let cases = [
        (Some("httpbin:8000"), None, Some("httpbin-shadow:8000"), None),
        (Some("httpbin"), None, Some("httpbin-shadow"), None),
        (Some("HTTPBIN.mirror"), None, Some("HTTPBIN.mirror-shadow"), None),
        (Some("httpbin:8000"), Some("httpbin:8000"), Some("httpbin-shadow:8000"), Some("httpbin-shadow:8000")),
        (None, Some("httpbin:8000"), None, Some("httpbin-shadow:8000")),
    ];
    run(async {
        let client = Client::connect(&theatre.client, VIP).await?;
        for (i, (authority, host, shadow_authority, shadow_host)) in cases.into_iter().enumerate() {
            let uri = authority.map_or_else(|| "/x".to_owned(), |authority| format!("http://{authority}/x"));
            let mut get = request("GET", &uri);
            if authority.is_none() {
                // Else h2 wants an authority; the request goes out over HTTP/2 all the same.
                *get.version_mut() = http::Version::HTTP_11;
            }
            if let Some(host) = host {
                get.headers_mut().insert(HOST, host.parse()?);
            }
            client.ask(get, "").await?;
            let got = async |server: &Server| -> Result<(Option<String>, Option<String>)> {
                let head = server.wait_for(i + 1).await?.remove(i).head;
                let host = head.headers.get(HOST).map(|host| host.to_str().map(ToOwned::to_owned)).transpose()?;
                Ok((head.uri.authority().map(ToString::to_string), host))
            };
            let text =
                |pair: (Option<&str>, Option<&str>)| (pair.0.map(ToOwned::to_owned), pair.1.map(ToOwned::to_owned));
            let (at_v1, at_v2) = (got(&v1).await?, got(&v2).await?);
            ensure!(at_v1 == text((authority, host)), "v1 got {at_v1:?} of {authority:?} {host:?}");
            ensure!(at_v2 == text((shadow_authority, shadow_host)), "v2 got {at_v2:?} of {authority:?} {host:?}");
        }
        Ok(())
    })?;
    theatre.outcomes(&[("answered", cases.len())])?;
    Ok(())
}

/// Fails if trailers end with the connection that they came on.
fn trailers_both_ways() -> Result<()> {
    let theatre = Setting::new(MIRROR).v1_port_free().v2_port_free().start()?;
    let v1 = Server::start(theatre.v1.pod.netns(), theatre.v1.address(PORT), |mut call, body| async move {
        let _ = call.read(body).await;
        let mut answer = call.begin(HeaderMap::new())?;
        send(&mut answer, "one".into(), false).await?;
        Ok(answer.send_trailers(fields(&[("grpc-status", "0"), ("x-b", "2")]))?)
    })?;
    let v2 = Server::answering(theatre.v2.pod.netns(), theatre.v2.address(PORT), "two")?;
    run(async {
        let client = Client::connect(&theatre.client, VIP).await?;
        let (response, mut stream) = client.open(request("POST", GET), false).await?;
        send(&mut stream, "hello".into(), false).await?;
        let sent = fields(&[("x-checksum", "9")]);
        stream.send_trailers(sent.clone())?;
        let answer = read(response.await?.into_body()).await.map_err(|broken| anyhow!("{broken:?}"))?;
        ensure!(answer.body == b"one");
        ensure!(answer.trailers == Some(fields(&[("grpc-status", "0"), ("x-b", "2")])), "{answer:?}");
        for server in [&v1, &v2] {
            let message = server.wait_for(1).await?.remove(0).message;
            ensure!(message.body == b"hello" && message.trailers.as_ref() == Some(&sent), "{message:?}");
        }
        Ok(())
    })?;
    theatre.outcomes(&[("answered", 1)])?;
    Ok(())
}

/// A server that sends the body back while it comes.
fn echo(theatre: &Theatre) -> Result<Server> {
    Server::start(theatre.v1.pod.netns(), theatre.v1.address(PORT), |mut call, mut body| async move {
        let mut answer = call.begin(HeaderMap::new())?;
        while let Some(chunk) = body.data().await {
            let chunk = chunk?;
            body.flow_control().release_capacity(chunk.len())?;
            send(&mut answer, chunk, false).await?;
        }
        send(&mut answer, Bytes::new(), true).await
    })
}

/// Fails if a byte is lost where a window ends: those of the client and of both servers are the smallest that there are by default, 65,535.
fn large_bodies_both_ways() -> Result<()> {
    let theatre = Setting::new(MIRROR).v1_port_free().v2_port_free().start()?;
    let _v1 = echo(&theatre)?;
    let v2 = Server::answering(theatre.v2.pod.netns(), theatre.v2.address(PORT), "two")?;
    let body = Bytes::from(noise(1 << 20));
    run(async {
        let client = Client::connect(&theatre.client, VIP).await?;
        let (_, answer) = client.ask(request("POST", GET), body.clone()).await?;
        ensure!(answer.body == body, "{} bytes came back", answer.body.len());
        Ok(())
    })?;
    ensure!(run(v2.wait_for(1))?[0].message.body == body);
    theatre.outcomes(&[("answered", 1)])?;
    Ok(())
}

/// Fails if either direction waits for the end of the other.
fn a_stream_in_both_directions() -> Result<()> {
    let theatre = Setting::new(MIRROR).v1_port_free().v2_port_free().start()?;
    let _v1 = echo(&theatre)?;
    let v2 = Server::answering(theatre.v2.pod.netns(), theatre.v2.address(PORT), "two")?;
    run(async {
        let client = Client::connect(&theatre.client, VIP).await?;
        let (response, mut stream) = client.open(request("POST", GET), false).await?;
        let mut answer = response.await?.into_body();
        for word in ["one", "two", "three"] {
            send(&mut stream, word.into(), false).await?;
            let chunk = answer.data().await.context("the answer ended")??;
            ensure!(chunk == word);
        }
        send(&mut stream, Bytes::new(), true).await?;
        let rest = read(answer).await.map_err(|broken| anyhow!("{broken:?}"))?;
        ensure!(rest.body.is_empty(), "{rest:?}");
        Ok(())
    })?;
    ensure!(run(v2.wait_for(1))?[0].message.body == b"onetwothree");
    theatre.outcomes(&[("answered", 1)])?;
    Ok(())
}

/// Fails if 1xx answers are lost, or invented.
fn informational_answers() -> Result<()> {
    let theatre = Setting::new(MIRROR).v1_port_free().start()?;
    let _v1 = Server::start(theatre.v1.pod.netns(), theatre.v1.address(PORT), |mut call, body| async move {
        for status in [100, 103] {
            call.respond
                .send_informational(http::Response::builder().status(status).header("x-hint", "1").body(())?)?;
        }
        let _ = call.read(body).await;
        call.answer("one").await
    })?;
    run(async {
        let client = Client::connect(&theatre.client, VIP).await?;
        let (mut response, mut stream) = client.open(request("POST", GET), false).await?;
        for status in [100, 103] {
            let interim = std::future::poll_fn(|cx| response.poll_informational(cx)).await.context("no 1xx")??;
            ensure!(interim.status() == status && interim.headers()["x-hint"] == "1", "{interim:?}");
        }
        send(&mut stream, "hello".into(), true).await?;
        ensure!(response.await?.status() == 200);
        Ok(())
    })
}

/// Fails if streams wait for each other, or have a connection each.
fn a_hundred_streams_share_a_connection() -> Result<()> {
    let theatre =
        Setting::new(MIRROR).v1_port_free().v2_port_free().args(&["--shadow-max-concurrent", "1000"]).start()?;
    let v1 = Server::start(theatre.v1.pod.netns(), theatre.v1.address(PORT), |mut call, body| async move {
        let path = call.head.uri.path().to_owned();
        let _ = call.read(body).await;
        call.answer(path).await
    })?;
    let v2 = Server::answering(theatre.v2.pod.netns(), theatre.v2.address(PORT), "two")?;
    run(async {
        let client = Client::connect(&theatre.client, VIP).await?;
        let mut streams = Vec::new();
        for i in 0..100 {
            let (response, stream) = client.open(request("POST", &format!("http://httpbin:8000/{i}")), false).await?;
            streams.push((i, response, stream));
        }
        // All are open at v1 before the first of them goes on.
        v1.wait_for_heads(100).await?;
        for (_, _, stream) in &mut streams {
            send(stream, "x".into(), true).await?;
        }
        for (i, response, _stream) in streams {
            let answer = read(response.await?.into_body()).await.map_err(|broken| anyhow!("{broken:?}"))?;
            ensure!(answer.body == format!("/{i}").into_bytes());
        }
        ensure!(v1.connections() == 1, "{} connections to v1", v1.connections());
        Ok(())
    })?;
    theatre.outcomes(&[("answered", 100)])?;
    ensure!(v2.connections() == 1, "{} connections to v2", v2.connections());
    Ok(())
}

/// Fails if a connection takes more streams than servers are recommended to allow, if each request beyond gets one of its own, or if one without
/// streams stays open for ever.
fn more_streams_take_another_connection_and_idle_ones_close() -> Result<()> {
    let theatre = Setting::new(theatre::ROUTE).v1_port_free().args(&["--upstream-idle-timeout", "1s"]).start()?;
    let v1 = Server::answering(theatre.v1.pod.netns(), theatre.v1.address(PORT), "one")?;
    run(async {
        let client = Client::connect(&theatre.client, VIP).await?;
        let mut streams = Vec::new();
        for _ in 0..150 {
            streams.push(client.open(request("POST", GET), false).await?);
        }
        v1.wait_for_heads(150).await?;
        ensure!(v1.connections() == 2, "{} connections for 150 streams", v1.connections());
        for (_, stream) in &mut streams {
            send(stream, "x".into(), true).await?;
        }
        for (response, _) in streams {
            ensure!(response.await?.status() == 200);
        }
        until("both connections have ended", || v1.ended() == 2).await?;
        let (_, answer) = client.ask(request("GET", GET), "").await?;
        ensure!(answer.body == b"one" && v1.connections() == 3);
        Ok(())
    })
}

/// Fails if a tunnel over HTTP/2 is mirrored, or cut.
fn connect_is_a_stream() -> Result<()> {
    let theatre = Setting::new(MIRROR).v1_port_free().start()?;
    let _v1 = echo(&theatre)?;
    run(async {
        let client = Client::connect(&theatre.client, VIP).await?;
        let mut connect = request("CONNECT", "/");
        *connect.uri_mut() = "httpbin:8000".parse()?;
        let (response, mut stream) = client.open(connect, false).await?;
        let mut answer = response.await?.into_body();
        send(&mut stream, "ping".into(), false).await?;
        ensure!(answer.data().await.context("the tunnel ended")?? == "ping");
        send(&mut stream, Bytes::new(), true).await?;
        let rest = read(answer).await.map_err(|broken| anyhow!("{broken:?}"))?;
        ensure!(rest.body.is_empty(), "{rest:?}");
        Ok(())
    })?;
    theatre.outcomes(&[("not_mirrorable", 1)])?;
    Ok(())
}

/// Fails if the limits are other than those of HTTP/1, or if a refused request spoils the connection for the others.
fn a_head_that_is_too_large_is_431() -> Result<()> {
    let (theatre, v1, _v2) = stage()?;
    run(async {
        let client = Client::connect(&theatre.client, VIP).await?;
        let with = |count: usize, length: usize| -> Result<_> {
            let mut get = request("GET", GET);
            for i in 0..count {
                get.headers_mut().insert(format!("x-{i}").parse::<http::HeaderName>()?, "v".repeat(length).parse()?);
            }
            Ok(get)
        };
        for (count, length, status) in [(256, 1, 200), (257, 1, 431), (3, 20_000, 200), (4, 20_000, 431)] {
            let (response, _stream) = client.open(with(count, length)?, true).await?;
            let got = response.await?.status();
            ensure!(got == status, "{count} fields of {length} bytes: {got}");
        }
        ensure!(v1.heads() == 2);
        Ok(())
    })?;
    theatre.outcomes(&[("answered", 2)])?;
    Ok(())
}

/// Fails if the preface is only looked for on ports that are declared.
fn detected_on_an_undeclared_port() -> Result<()> {
    let rules = theatre::rules("plain", &MIRROR.replace("httpbin", "plain"));
    let theatre = Setting::new(MIRROR).objects(rules).start()?;
    let at = |actor: &theatre::Actor, body| Server::answering(actor.pod.netns(), actor.address(PLAIN.port()), body);
    let (_v1, v2) = (at(&theatre.v1, "one")?, at(&theatre.v2, "two")?);
    run(async {
        let client = Client::connect(&theatre.client, PLAIN).await?;
        let (_, answer) = client.ask(request("GET", "http://plain:9000/"), "").await?;
        ensure!(answer.body == b"one", "{answer:?}");
        Ok(())
    })?;
    ensure!(run(v2.wait_for(1))?[0].head.uri == "http://plain-shadow:9000/");
    theatre.outcomes(&[("answered", 1)])?;
    Ok(())
}

/// Fails if a declaration is taken for the truth about what comes.
fn http1_on_a_port_declared_http2() -> Result<()> {
    let service = theatre::service("plain", PLAIN, Some("grpc-plain"), PORT);
    let rules = theatre::rules("plain", &MIRROR.replace("httpbin", "plain"));
    let theatre = Setting::new(MIRROR).start()?;
    theatre.agent.changed(|| theatre.manifests.apply("plain.yaml", &integration::manifests::documents(&[rules])))?;
    // The declaration replaces that of the same Service in the world's file.
    let world = std::fs::read_to_string(theatre.manifests.path().join("world.yaml"))?;
    let undeclared = theatre::service("plain", PLAIN, None, PLAIN.port());
    ensure!(world.contains(undeclared.trim_end()), "the world has another service");
    let declared = world.replace(undeclared.trim_end(), service.trim_end());
    theatre.agent.changed(|| theatre.manifests.apply("world.yaml", &declared))?;
    let answer =
        integration::Wire::connect(&theatre.client, PLAIN)?.exchange(b"GET / HTTP/1.1\r\nHost: plain:9000\r\n\r\n")?;
    theatre::from_v1(&answer)?;
    theatre.outcomes(&[("answered", 1)])?;
    Ok(())
}

/// More than all buffers on the way together.
const MUCH: usize = 64 << 20;
/// What the windows and buffers on the way may hold, generously.
const HELD: usize = 8 << 20;

/// Asks for so long as `moved` still moves; what stands still while others are served is held back for good.
async fn stands_still(client: &Client, moved: &AtomicUsize) -> Result<usize> {
    loop {
        let before = moved.load(Ordering::Acquire);
        for _ in 0..50 {
            client.ask(request("GET", "http://httpbin:8000/small"), "").await?;
        }
        if before > 0 && moved.load(Ordering::Acquire) == before {
            return Ok(before);
        }
    }
}

/// Fails if an answer is read ahead of the client.
fn a_client_that_does_not_read_stops_v1() -> Result<()> {
    let theatre = Setting::new(theatre::ROUTE).v1_port_free().start()?;
    let sent = Arc::new(AtomicUsize::new(0));
    let _v1 = Server::start(theatre.v1.pod.netns(), theatre.v1.address(PORT), {
        let sent = Arc::clone(&sent);
        move |mut call, _body| {
            let sent = Arc::clone(&sent);
            async move {
                if call.head.uri.path() == "/small" {
                    return call.answer("small").await;
                }
                let mut answer = call.begin(HeaderMap::new())?;
                let piece = Bytes::from(noise(16 * 1024));
                while sent.load(Ordering::Acquire) < MUCH {
                    send(&mut answer, piece.clone(), false).await?;
                    sent.fetch_add(piece.len(), Ordering::AcqRel);
                }
                send(&mut answer, Bytes::new(), true).await
            }
        }
    })?;
    run(async {
        let client = Client::connect(&theatre.client, VIP).await?;
        let (response, _stream) = client.open(request("GET", GET), true).await?;
        let body = response.await?.into_body();
        let held = stands_still(&client, &sent).await?;
        ensure!(held < HELD, "v1 could send {held} bytes to a client that does not read");
        let answer = read(body).await.map_err(|broken| anyhow!("{:?} after {}", broken.code, broken.body.len()))?;
        ensure!(answer.body.len() == MUCH);
        Ok(())
    })
}

/// Fails if a request is read ahead of the endpoint. The shadow reads, and gets no more than the primary.
fn v1_that_does_not_read_stops_the_client() -> Result<()> {
    let theatre = Setting::new(theatre::ROUTE).v1_port_free().start()?;
    let go_on = Arc::new(tokio::sync::Notify::new());
    let _v1 = Server::start(theatre.v1.pod.netns(), theatre.v1.address(PORT), {
        let go_on = Arc::clone(&go_on);
        move |mut call, body| {
            let go_on = Arc::clone(&go_on);
            async move {
                if call.head.uri.path() != "/small" {
                    go_on.notified().await;
                }
                let length = call.read(body).await.map_or(0, |message| message.body.len());
                call.answer(length.to_string()).await
            }
        }
    })?;
    run(async {
        let client = Client::connect(&theatre.client, VIP).await?;
        let (response, mut stream) = client.open(request("POST", GET), false).await?;
        let sent = Arc::new(AtomicUsize::new(0));
        let upload = tokio::spawn({
            let sent = Arc::clone(&sent);
            async move {
                let piece = Bytes::from(noise(16 * 1024));
                while sent.load(Ordering::Acquire) < MUCH {
                    send(&mut stream, piece.clone(), false).await?;
                    sent.fetch_add(piece.len(), Ordering::AcqRel);
                }
                send(&mut stream, Bytes::new(), true).await
            }
        });
        let held = stands_still(&client, &sent).await?;
        ensure!(held < HELD, "the client could send {held} bytes to a v1 that does not read");
        go_on.notify_one();
        let answer = read(response.await?.into_body()).await.map_err(|broken| anyhow!("{broken:?}"))?;
        ensure!(answer.body == MUCH.to_string().into_bytes());
        upload.await?
    })
}

/// Fails if a client that we did not write is not understood.
fn curl_with_prior_knowledge() -> Result<()> {
    let (theatre, v1, v2) = stage()?;
    let url = format!("http://{VIP}/curl");
    let words = [
        "curl",
        "--silent",
        "--show-error",
        "--max-time",
        "30",
        "--http2-prior-knowledge",
        "--write-out",
        " %{http_version} %{http_code}",
    ];
    let output =
        theatre.client.exec(&[&words[..], &["--header", "Host: httpbin:8000", "--data", "hello", &url]].concat())?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    ensure!(output.stdout == b"one 2 200", "{}", String::from_utf8_lossy(&output.stdout));
    ensure!(run(v1.wait_for(1))?[0].message.body == b"hello" && run(v2.wait_for(1))?[0].message.body == b"hello");
    theatre.outcomes(&[("answered", 1)])?;
    Ok(())
}
