//! What is not HTTP/1: to the original destination byte for byte, half-closes and resets included.

use std::{net::SocketAddr, process::ExitCode};

use anyhow::{Context as _, Result, ensure};
use integration::{
    Behaviour, MetricsView, Recorder, case, harness,
    script::{Cue, Script},
    theatre::{MIRROR, NEEDS, PLAIN, Setting, TCP, Theatre, noise, rules, whole},
    wire::{self, Wire},
};

fn main() -> ExitCode {
    harness::main(&[
        case!(a_server_may_speak_first).needs(NEEDS),
        case!(binary_bytes_pass_unchanged_both_ways).needs(NEEDS),
        case!(half_closes_pass_both_ways).needs(NEEDS),
        case!(resets_pass_both_ways).needs(NEEDS),
        case!(a_refusal_is_seen_by_the_client).needs(NEEDS),
        case!(http_on_an_undeclared_port_is_detected_and_mirrored).needs(NEEDS),
        case!(a_port_declared_tcp_is_not_captured).needs(NEEDS),
    ])
}

/// The usual stage, with rules for all three services.
fn stage() -> Result<Theatre> {
    let for_host = |host: &str| rules(host, &MIRROR.replace("host: httpbin", &format!("host: {host}")));
    Setting::new(MIRROR).objects(for_host("plain")).objects(for_host("db")).start()
}

/// A part played where kube-proxy leads from a service's address.
fn native<F>(theatre: &Theatre, vip: SocketAddr, part: F) -> Result<Script>
where
    F: Fn(Wire) -> Result<()> + Send + Sync + 'static,
{
    Script::start(theatre.native.pod.netns(), theatre.native.address(vip.port()), part)
}

fn kind(view: &MetricsView, kind: &str) -> usize {
    whole(view.sum("understudy_connections_total", &[("kind", kind)]))
}

/// One connection was passed through unread; nothing was mirrored.
fn counted(theatre: &Theatre) -> Result<()> {
    let view = theatre.agent.metrics_when("one opaque connection", |view| kind(view, "opaque") == 1)?;
    ensure!(whole(view.candidates()) == 0 && kind(&view, "http") == 0);
    Ok(())
}

/// Fails if the proxy waits for the client's first byte for ever.
fn a_server_may_speak_first() -> Result<()> {
    let theatre = stage()?;
    let _server = native(&theatre, PLAIN, |mut wire| {
        wire.send(b"220 ready\r\n")?;
        ensure!(wire.take(6)? == b"QUIT\r\n");
        wire.send(b"221 bye\r\n")
    })?;
    let mut wire = Wire::connect(&theatre.client, PLAIN)?;
    ensure!(wire.take(11)? == b"220 ready\r\n");
    wire.send(b"QUIT\r\n")?;
    ensure!(wire.rest()? == b"221 bye\r\n");
    counted(&theatre)
}

/// Fails if the bytes that detection read are lost or doubled.
fn binary_bytes_pass_unchanged_both_ways() -> Result<()> {
    let theatre = stage()?;
    let server = Recorder::start(theatre.native.pod.netns(), theatre.native.address(PLAIN.port()), Behaviour::Bytes)?;
    let bytes = noise(1 << 20);
    let mut wire = Wire::connect(&theatre.client, PLAIN)?;
    let echoed = std::thread::scope(|scope| {
        let mut writing = Wire::over(wire.socket().try_clone()?)?;
        let sender = scope.spawn(move || writing.send(&bytes[..]).and_then(|()| writing.finish()).map(|()| bytes));
        let echoed = wire.rest()?;
        let bytes = sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        anyhow::Ok(echoed == bytes && server.bytes() == bytes)
    })?;
    ensure!(echoed, "bytes were lost, doubled or changed");
    let peers = server.peers();
    ensure!(peers.len() == 1 && peers[0].ip() == std::net::IpAddr::V4(theatre.client.v4()), "from {peers:?}");
    counted(&theatre)
}

/// Fails if a half-close ends both directions (a plain `shutdown` or `select` over both copies).
fn half_closes_pass_both_ways() -> Result<()> {
    // The client finishes first, the server answers after it.
    let theatre = stage()?;
    let server = native(&theatre, PLAIN, |mut wire| {
        let all = wire.rest()?;
        wire.send(&all.iter().rev().copied().collect::<Vec<_>>())
    })?;
    let mut client = Wire::connect(&theatre.client, PLAIN)?;
    client.send(b"\x01\x02\x03")?;
    client.finish()?;
    ensure!(client.rest()? == b"\x03\x02\x01");
    drop(server);
    counted(&theatre)?;
    // The server finishes first, and still hears the client.
    let heard = Cue::default();
    let hears = heard.clone();
    let _server = native(&theatre, PLAIN, move |mut wire| {
        wire.send(b"\x00bye")?;
        wire.finish()?;
        ensure!(wire.rest()? == b"\x00and you");
        hears.give();
        Ok(())
    })?;
    let mut client = Wire::connect(&theatre.client, PLAIN)?;
    client.send(b"\x00")?;
    ensure!(client.rest()? == b"\x00bye");
    client.send(b"and you")?;
    client.finish()?;
    heard.wait(1)
}

/// Fails if a reset of one side reaches the other as a regular end.
fn resets_pass_both_ways() -> Result<()> {
    let theatre = stage()?;
    let server_saw = Cue::default();
    let seen = server_saw.clone();
    let _server = native(&theatre, PLAIN, move |mut wire| {
        if wire.take(2)? == b"\x00r" {
            wire::reset_on_close(wire.socket())?;
            return Ok(());
        }
        wire.send(b"\x00up")?;
        if wire.rest().is_err() {
            seen.give();
        }
        Ok(())
    })?;
    let mut client = Wire::connect(&theatre.client, PLAIN)?;
    client.send(b"\x00r")?;
    ensure!(client.rest().is_err(), "the server's reset came as a regular end");
    let mut client = Wire::connect(&theatre.client, PLAIN)?;
    client.send(b"\x00c")?;
    ensure!(client.take(3)? == b"\x00up");
    client.reset()?;
    server_saw.wait(1).context("the client's reset came as a regular end, or never")
}

/// Fails if the client of a server that refuses is left hanging, or told that all is well.
fn a_refusal_is_seen_by_the_client() -> Result<()> {
    let theatre = stage()?;
    let mut client = Wire::connect(&theatre.client, PLAIN)?;
    // Nobody listens; the connection was accepted on the server's behalf, so it ends in a reset.
    let _ = client.send(b"\x00\x01");
    ensure!(client.rest().is_err(), "a refused connection ended as if it had been served");
    Ok(())
}

/// Fails if detection is left out: the bytes would go to the original destination.
fn http_on_an_undeclared_port_is_detected_and_mirrored() -> Result<()> {
    let theatre = stage()?;
    let at = |actor: &integration::theatre::Actor, text: &str| {
        Recorder::start(actor.pod.netns(), actor.address(PLAIN.port()), Behaviour::Ok(text.into()))
    };
    let (v1, v2, native) = (at(&theatre.v1, "one")?, at(&theatre.v2, "two")?, at(&theatre.native, "native")?);
    let request = b"GET /detected HTTP/1.1\r\nHost: plain:9000\r\nX-CaSe: 1\r\n\r\n";
    let mut client = Wire::connect(&theatre.client, PLAIN)?;
    // In two parts, so that the first read does not tell.
    client.send(&request[..5])?;
    client.send(&request[5..])?;
    integration::theatre::from_v1(&client.answer()?)?;
    ensure!(v1.wait_for(1)?[0].head == request, "{}", v1.requests()[0].head_text());
    ensure!(v2.wait_for(1)?[0].header("host").as_deref() == Some("plain-shadow:9000"));
    theatre.outcomes(&[("answered", 1)])?;
    ensure!(native.count() == 0 && kind(&theatre.agent.metrics()?, "http") == 1);
    Ok(())
}

/// Fails if the port's declared protocol does not keep it out of the kernel's rules.
fn a_port_declared_tcp_is_not_captured() -> Result<()> {
    let theatre = stage()?;
    let server = Recorder::start(theatre.native.pod.netns(), theatre.native.address(TCP.port()), Behaviour::Bytes)?;
    let mut client = Wire::connect(&theatre.client, TCP)?;
    let bytes = b"GET / HTTP/1.1\r\nHost: db\r\n\r\n";
    client.send(bytes)?;
    client.finish()?;
    ensure!(client.rest()? == bytes && server.bytes() == bytes);
    let view = theatre.agent.settled()?;
    ensure!(whole(view.sum("understudy_connections_total", &[])) == 0, "it was captured");
    // The next one to a captured port is counted: the counter is alive.
    theatre.ask_v1()?;
    ensure!(kind(&theatre.agent.metrics()?, "http") == 1);
    Ok(())
}
