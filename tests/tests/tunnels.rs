//! Upgrades and CONNECT: bytes pass both ways once v1 has agreed, and v2 never hears of them.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use integration::{
    Theatre, case, harness,
    script::Script,
    theatre::{MIRROR, NEEDS, PORT, Setting, from_v1, whole},
    wire::Wire,
};

fn main() -> ExitCode {
    harness::main(&[
        case!(an_upgrade_becomes_a_tunnel).needs(NEEDS),
        case!(connect_becomes_a_tunnel).needs(NEEDS),
        case!(an_upgrade_that_v1_declines_is_an_ordinary_answer).needs(NEEDS),
    ])
}

const UPGRADE: &str =
    "GET /chat HTTP/1.1\r\nHost: httpbin\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\nX-Key: k\r\n\r\n";

/// A v1 that agrees to every upgrade and CONNECT, says a word first, and echoes until the client has finished.
fn agreeing(theatre: &Theatre, agreement: &'static str) -> Result<Script> {
    Script::start(theatre.v1.pod.netns(), theatre.v1.address(PORT), move |mut wire| {
        let head = wire.head()?;
        let asked = head.starts_with("CONNECT ") || head.to_ascii_lowercase().contains("\r\nupgrade: echo/1\r\n");
        ensure!(asked, "v1 was asked for no tunnel: {head}");
        wire.send(&[agreement.as_bytes(), b"welcome\0"].concat())?;
        let bytes = wire.rest()?;
        wire.send(&bytes)
    })
}

fn talk(mut wire: Wire) -> Result<()> {
    // The server speaks first.
    ensure!(wire.take(8)? == b"welcome\0");
    let bytes: Vec<u8> = (0..=255).collect();
    wire.send(&bytes)?;
    wire.finish()?;
    // The client's half-close gets through, and v1's answer after it.
    ensure!(wire.rest()? == bytes, "the tunnel changed bytes");
    Ok(())
}

fn counted(theatre: &Theatre) -> Result<()> {
    let view = theatre.outcomes(&[("not_mirrorable", 1)])?;
    ensure!(whole(view.sum("understudy_connections_total", &[("kind", "tunnel")])) == 1, "no tunnel counted");
    ensure!(theatre.v2.recorder.peers().is_empty(), "v2 was connected to");
    Ok(())
}

/// Fails if `Upgrade` is taken out as a hop-by-hop field, if the tunnel's connection is pooled, or if the request is mirrored.
fn an_upgrade_becomes_a_tunnel() -> Result<()> {
    let theatre = Setting::new(MIRROR).v1_port_free().start()?;
    let agreement = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo/1\r\nConnection: Upgrade\r\nX-Accept: a\r\n\r\n";
    let v1 = agreeing(&theatre, agreement)?;
    let mut wire = theatre.dial()?;
    wire.send(UPGRADE.as_bytes())?;
    let head = wire.head()?;
    let lower = head.to_ascii_lowercase();
    ensure!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    for field in ["upgrade: echo/1", "connection: upgrade", "x-accept: a"] {
        ensure!(lower.contains(&format!("\r\n{field}\r\n")), "no `{field}` in {head}");
    }
    talk(wire)?;
    ensure!(v1.accepted() == 1);
    counted(&theatre)
}

/// Fails if a CONNECT is refused, mirrored, or sent on as another method.
fn connect_becomes_a_tunnel() -> Result<()> {
    let theatre = Setting::new(MIRROR).v1_port_free().start()?;
    let _v1 = agreeing(&theatre, "HTTP/1.1 200 Connected\r\n\r\n")?;
    let mut wire = theatre.dial()?;
    wire.send(b"CONNECT httpbin:8000 HTTP/1.1\r\nHost: httpbin:8000\r\n\r\n")?;
    let head = wire.head()?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{head}");
    talk(wire)?;
    counted(&theatre)
}

/// Fails if the proxy insists on the tunnel, or spoils the connection for the next request.
fn an_upgrade_that_v1_declines_is_an_ordinary_answer() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    let mut wire = theatre.dial()?;
    from_v1(&wire.exchange(UPGRADE.as_bytes())?)?;
    let v1 = &theatre.v1.recorder.requests()[0];
    ensure!(v1.header("upgrade").as_deref() == Some("echo/1"), "v1 was not asked: {}", v1.head_text());
    from_v1(&wire.exchange(integration::theatre::GET)?)?;
    theatre.outcomes(&[("not_mirrorable", 1), ("answered", 1)])?;
    Ok(())
}
