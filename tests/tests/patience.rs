//! Clients that keep the proxy waiting: heads that never end, connections on which nothing moves, ten thousand of them at once.

use std::{net::TcpStream, process::ExitCode};

use anyhow::{Context as _, Result, ensure};
use integration::{
    Behaviour, case,
    fault_matrix::usage::Usage,
    harness,
    script::{Cue, Script},
    theatre::{GET, MIRROR, NEEDS, PLAIN, PORT, Setting, Theatre, VIP, from_v1, rules, whole},
    wait,
    wire::Wire,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

fn main() -> ExitCode {
    harness::main(&[
        case!(a_head_that_does_not_end_is_408).needs(NEEDS),
        case!(idle_connections_end_and_thinking_endpoints_do_not).needs(NEEDS),
        case!(ten_thousand_slow_clients_take_nothing_from_others).needs(NEEDS).alone(),
    ])
}

/// A connection that has begun a head, at the service.
fn begun(theatre: &Theatre, head: &[u8]) -> Result<Wire> {
    let mut wire = theatre.dial()?;
    wire.send(head)?;
    Ok(wire)
}

/// 408, and nothing more.
fn timed_out(mut wire: Wire) -> Result<()> {
    let answer = wire.answer()?;
    ensure!(answer.status == 408, "{answer:?}");
    ensure!(wire.rest()?.is_empty(), "more than one answer");
    Ok(())
}

/// Fails if a head may take for ever, or if the time for it ends idle connections and slow bodies too (hyper's own timer ends the former).
fn a_head_that_does_not_end_is_408() -> Result<()> {
    let theatre = Setting::new(MIRROR).args(&["--header-timeout", "1s"]).start()?;
    let mut idle = theatre.dial()?;
    from_v1(&idle.exchange(GET)?)?;
    let mut slow = begun(&theatre, b"POST / HTTP/1.1\r\nHost: httpbin\r\nContent-Length: 5\r\n\r\nhe")?;
    let (request, rest) = GET.split_at(20);
    let heads: Vec<_> = (0..2).map(|_| begun(&theatre, request)).collect::<Result<_>>()?;
    // The first line alone, the start of HTTP/2's preface, and a second request.
    let others = [begun(&theatre, &GET[..3])?, begun(&theatre, b"PRI * HTTP/2.0\r\n")?];
    let mut second = begun(&theatre, GET)?;
    from_v1(&second.answer()?)?;
    second.send(request)?;
    for wire in heads.into_iter().chain(others).chain([second]) {
        timed_out(wire)?;
    }
    // All that began before those heads, and is older than they were.
    from_v1(&idle.exchange(GET)?)?;
    slow.send(b"llo")?;
    from_v1(&slow.answer()?)?;
    // A head in two pieces is as good as any.
    let mut two = begun(&theatre, request)?;
    two.send(rest)?;
    from_v1(&two.answer()?)?;
    let view = theatre.outcomes(&[("answered", 5)])?;
    let late = view.sum("understudy_faults_total", &[("side", "client"), ("kind", "head_timeout")]);
    ensure!(whole(late) == 5, "{late} late heads are counted");
    Ok(())
}

/// Fails if a silent connection is kept for ever, if only one end of it is closed, or if an endpoint that thinks is taken for silence.
fn idle_connections_end_and_thinking_endpoints_do_not() -> Result<()> {
    let theatre = Setting::new(MIRROR)
        .objects(rules("plain", &MIRROR.replace("host: httpbin", "host: plain")))
        .args(&["--idle-timeout", "1s"])
        .v1_port_free()
        .start()?;
    let thought = Cue::default();
    let thinks = thought.clone();
    let _v1 = Script::start(theatre.v1.pod.netns(), theatre.v1.address(PORT), move |mut wire| {
        loop {
            let head = wire.head()?;
            if head.starts_with("CONNECT ") {
                wire.send(b"HTTP/1.1 200 OK\r\n\r\n")?;
                return wire.rest().map(|_| ());
            }
            if head.starts_with("GET /think ") {
                thinks.wait(1)?;
            }
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\none")?;
        }
    })?;
    let ended = Cue::default();
    let ends = ended.clone();
    let _opaque = Script::start(theatre.native.pod.netns(), theatre.native.address(PLAIN.port()), move |mut wire| {
        wire.send(b"220 ready\r\n")?;
        wire.rest()?;
        ends.give();
        Ok(())
    })?;
    let mut thinking = begun(&theatre, b"GET /think HTTP/1.1\r\nHost: httpbin\r\n\r\n")?;
    let silent = theatre.dial()?;
    let mut kept = theatre.dial()?;
    from_v1(&kept.exchange(GET)?)?;
    let mut opaque = Wire::connect(&theatre.client, PLAIN)?;
    ensure!(opaque.take(11)? == b"220 ready\r\n");
    let mut tunnel = theatre.dial()?;
    tunnel.send(b"CONNECT httpbin:8000 HTTP/1.1\r\nHost: httpbin:8000\r\n\r\n")?;
    ensure!(tunnel.head()?.starts_with("HTTP/1.1 200 "));
    for (what, mut wire) in [("silent", silent), ("kept", kept), ("opaque", opaque), ("tunnel", tunnel)] {
        let rest = wire.rest().context(what)?;
        ensure!(rest.is_empty(), "{what}: {}", rest.escape_ascii());
    }
    ended.wait(1).context("the opaque connection's other end")?;
    // It is as old as those.
    thought.give();
    from_v1(&thinking.answer()?)?;
    theatre.agent.metrics_when("no connection but one", |m| m.sum("understudy_connections_open", &[]) < 1.5)?;
    Ok(())
}

const CLIENTS: usize = 10_000;

/// Fails if slow heads cost others their answers, if they are kept for ever, or if one of them costs more memory than a page or some.
fn ten_thousand_slow_clients_take_nothing_from_others() -> Result<()> {
    // A connection here has one descriptor, and none of the agent's.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most.min(65_536), most)?;
    let theatre = Setting::new(MIRROR).args(&["--header-timeout", "8s"]).v1(Behaviour::Ok(b"one".to_vec())).start()?;
    for _ in 0..100 {
        theatre.ask_v1()?;
    }
    let pid = theatre.agent.pid();
    let before = Usage::of(pid)?;
    let mut clients = theatre.client.run(|| {
        let dial = |_| TcpStream::connect_timeout(&VIP, wait::PATIENCE).context("a slow client is refused");
        (0..CLIENTS).map(dial).collect::<Result<Vec<_>>>()
    })?;
    let each = |clients: &mut Vec<TcpStream>, piece: &[u8]| -> Result<()> {
        clients.iter_mut().try_for_each(|client| Ok(std::io::Write::write_all(client, piece)?))
    };
    let accepted = |least: usize| {
        theatre.agent.metrics_when("slow clients", |m| whole(m.sum("understudy_connections_open", &[])) >= least)
    };
    accepted(CLIENTS)?;
    let silent = Usage::of(pid)?;
    each(&mut clients, b"GET /slow HTTP/1.1\r\n")?;
    theatre
        .agent
        .metrics_when("slow heads", |m| whole(m.sum("understudy_connections_total", &[("kind", "http")])) >= CLIENTS)?;
    let mut other = theatre.dial()?;
    let trickle = b"Host: httpbin\r\nX-Slow: yes\r\n";
    for byte in trickle {
        each(&mut clients, std::slice::from_ref(byte)).context("a slow client was cut off before its time")?;
        from_v1(&other.exchange(GET)?)?;
        theatre.ask_v1()?;
    }
    let slow = Usage::of(pid)?;
    for client in clients {
        timed_out(Wire::over(client)?)?;
    }
    from_v1(&other.exchange(GET)?)?;
    drop(other);
    // Pooled connections come and go.
    let after = wait::until("the descriptors come back", || {
        let now = Usage::of(pid)?;
        Ok((now.fds <= before.fds + 8).then_some(now))
    })?;
    let per = |usage: Usage| (usage.rss.saturating_sub(before.rss) * 1024) as usize / CLIENTS;
    println!(
        "{CLIENTS} clients: a silent one takes {} bytes, one with half a head {}; RSS {} KiB before, {} KiB after; descriptors {} and {}",
        per(silent),
        per(slow),
        before.rss,
        after.rss,
        before.fds,
        after.fds
    );
    ensure!(per(slow) < 32 * 1024, "a slow client takes {} bytes", per(slow));
    theatre.outcomes(&[("answered", 100 + 2 * trickle.len() + 1)])?;
    ensure!(theatre.native.recorder.count() == 0);
    Ok(())
}
