//! Much at once: megabytes both ways, a thousand connections.

use std::{collections::BTreeSet, fs, process::ExitCode};

use anyhow::{Context as _, Result, ensure};
use integration::{
    Behaviour, Cue, Script, Theatre, Wire, case, harness,
    theatre::{GET, MIRROR, NEEDS, PORT, Setting, from_v1, noise},
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

fn main() -> ExitCode {
    harness::main(&[
        case!(ten_mebibytes_up).needs(NEEDS),
        case!(ten_mebibytes_down).needs(NEEDS),
        case!(a_thousand_connections_at_once).needs(NEEDS).alone(),
    ])
}

const SIZE: usize = 10 << 20;
const CHUNK: usize = 100_000;

/// Fails if a byte is lost, doubled or misplaced on the way to v1 or v2, in either framing.
fn ten_mebibytes_up() -> Result<()> {
    // v2 reads as fast as it can; what it lags behind must not end the shadow here.
    let theatre = Setting::new(MIRROR).args(&["--shadow-buffer-bytes", "32Mi"]).v1(Behaviour::Echo).start()?;
    let body = noise(SIZE);
    let chunks =
        body.chunks(CHUNK).flat_map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    let chunked: Vec<u8> = chunks.chain(*b"0\r\n\r\n").collect();
    let mut wire = theatre.dial()?;
    for (i, (framing, bytes)) in
        [(format!("Content-Length: {SIZE}"), &body), ("Transfer-Encoding: chunked".to_owned(), &chunked)]
            .iter()
            .enumerate()
    {
        wire.send(format!("POST /up HTTP/1.1\r\nHost: httpbin\r\n{framing}\r\n\r\n").as_bytes())?;
        wire.send(bytes)?;
        // v1 answers with what it got, so this is a download too.
        ensure!(wire.answer()?.body == body, "{framing}: the client got other bytes back");
        for (who, actor) in [("v1", &theatre.v1), ("v2", &theatre.v2)] {
            let requests = actor.recorder.wait_for(i + 1)?;
            ensure!(requests[i].body == body, "{framing}: {who} got other bytes");
        }
    }
    theatre.outcomes(&[("answered", 2)])?;
    theatre.agent.gave_back()?;
    Ok(())
}

/// Fails if a byte of v1's answer is lost, doubled or misplaced, or mixed with v2's.
fn ten_mebibytes_down() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    let body = noise(SIZE);
    let other: Vec<u8> = body.iter().rev().copied().collect();
    theatre.v1.recorder.behave(Behaviour::Ok(body.clone()));
    theatre.v2.recorder.behave(Behaviour::Ok(other));
    let mut wire = theatre.dial()?;
    for _ in 0..3 {
        ensure!(wire.exchange(GET)?.body == body, "the client got other bytes than v1 sent");
    }
    theatre.outcomes(&[("answered", 3)])?;
    Ok(())
}

const MANY: usize = 1000;

/// Fails if a connection waits for another, if answers are mixed up, or if sockets are not closed again.
fn a_thousand_connections_at_once() -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    // The client's ends, v1's and v2's are this process's.
    let wanted = (4 * MANY + 1000) as u64;
    ensure!(hard >= wanted, "the hard limit of open files is {hard}; this test needs {wanted}");
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(wanted), hard)?;
    let limits = ["--shadow-max-concurrent", "10000", "--upstream-idle-timeout", "1s"];
    let mut theatre = Setting::new(MIRROR).v1_port_free().args(&limits).start()?;
    let (arrived, all) = (Cue::default(), Cue::default());
    let (arrives, everybody) = (arrived.clone(), all.clone());
    let _v1 = Script::start(theatre.v1.pod.netns(), theatre.v1.address(PORT), move |mut wire| {
        let head = wire.head()?;
        let path = head.split(' ').nth(1).context("no path")?.to_owned();
        arrives.give();
        // Nobody is answered before all have asked.
        everybody.wait(1)?;
        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len()).as_bytes())
    })?;
    let open_files = |theatre: &mut Theatre| -> Result<usize> {
        let pid = theatre.agent.process().pid();
        Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
    };
    let before = open_files(&mut theatre)?;
    let mut wires = Vec::with_capacity(MANY);
    for i in 0..MANY {
        let mut wire: Wire = theatre.dial()?;
        wire.send(format!("GET /{i} HTTP/1.1\r\nHost: httpbin\r\n\r\n").as_bytes())?;
        wires.push(wire);
    }
    arrived.wait(MANY)?;
    let open = open_files(&mut theatre)?;
    // Each request: the client's connection, v1's, and as long as it lasts the shadow's. Little else.
    ensure!(
        (2 * MANY..=3 * MANY + before + 50).contains(&open),
        "{open} open files for {MANY} requests, {before} before"
    );
    all.give();
    for (i, wire) in wires.iter_mut().enumerate() {
        let answer = wire.answer().with_context(|| format!("request {i}"))?;
        ensure!((answer.status, answer.text()) == (200, format!("/{i}")), "request {i} got {answer:?}");
    }
    theatre.outcomes(&[("answered", MANY)])?;
    let shadows: BTreeSet<_> = theatre.v2.recorder.requests().iter().map(|request| request.request_line()).collect();
    ensure!(shadows.len() == MANY && theatre.v2.recorder.count() == MANY, "{} different shadows", shadows.len());
    drop(wires);
    integration::wait::until(&format!("not more than {before} files are open again"), || {
        Ok((open_files(&mut theatre)? <= before).then_some(()))
    })?;
    // And it still serves.
    drop(_v1);
    let _v1 = integration::Recorder::start(
        theatre.v1.pod.netns(),
        theatre.v1.address(PORT),
        Behaviour::Ok(integration::theatre::ANSWER.1.into()),
    )?;
    from_v1(&theatre.ask(GET)?)
}
