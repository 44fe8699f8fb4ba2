//! What the process log says about single requests at its default level: nothing. Whoever can send requests could fill the node's disk otherwise.

use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use integration::{
    Behaviour, Theatre, case, harness,
    theatre::{GET, NEEDS, PLAIN, Setting, from_v1, noise, rules, service, whole},
    wire::Wire,
};

fn main() -> ExitCode {
    harness::main(&[
        case!(shadows_that_fail_are_not_logged).needs(NEEDS),
        case!(primaries_that_fail_are_not_logged).needs(NEEDS),
        case!(clients_that_make_no_sense_are_not_logged).needs(NEEDS),
    ])
}

const ROUNDS: usize = 20;

/// The log must not grow while this is played, nor until all that came of it has ended.
fn in_silence(theatre: &Theatre, play: impl FnOnce() -> Result<()>) -> Result<()> {
    let before = theatre.agent.log();
    play()?;
    theatre.agent.settled()?;
    theatre.agent.metrics_when("all clients have gone", |m| whole(m.sum("understudy_connections_open", &[])) == 0)?;
    let more = theatre.agent.log().split_off(before.len());
    ensure!(more.is_empty(), "logged for single requests:\n{more}");
    Ok(())
}

/// Rules for requests below a path each; the last one is for all others. Of the service `refusing` nobody listens on any port.
fn stage(branches: &[(&str, &str)]) -> Result<Setting> {
    let branches = branches.iter().map(|(path, rest)| match *path {
        "" => format!("  - {rest}\n"),
        path => format!("  - match: [{{uri: {{prefix: /{path}}}}}]\n    {rest}\n"),
    });
    Ok(Setting::new(&branches.collect::<String>()).objects(service(
        "refusing",
        "10.96.0.40:8000".parse()?,
        Some("http"),
        9,
    )))
}

fn get(path: &str) -> Vec<u8> {
    format!("GET /{path} HTTP/1.1\r\nHost: httpbin\r\n\r\n").into_bytes()
}

/// Every outcome but those of a drain and of a node without memory or CPU. Fails if the end of a shadow, or its reason, is logged above debug.
fn shadows_that_fail_are_not_logged() -> Result<()> {
    const V1: &str = "route: [{destination: {host: httpbin, subset: v1}}]\n    mirror";
    let theatre = stage(&[
        ("empty", &format!("{V1}: {{host: httpbin, subset: empty}}")),
        ("unknown", &format!("{V1}: {{host: httpbin, subset: unheard-of}}")),
        ("nobody", &format!("{V1}: {{host: nobody}}")),
        ("refused", &format!("{V1}: {{host: refusing}}")),
        ("", &format!("{V1}: {{host: httpbin, subset: v2}}")),
    ])?
    .args(&["--shadow-timeout", "1s", "--shadow-buffer-bytes", "64Ki", "--shadow-max-concurrent", "4"])
    .start()?;
    let big = noise(16 << 20);
    in_silence(&theatre, || {
        let mut wire = theatre.dial()?;
        for _ in 0..ROUNDS {
            for path in ["empty", "unknown", "nobody", "refused"] {
                from_v1(&wire.exchange(&get(path))?)?;
            }
            from_v1(&wire.exchange(b"GET / HTTP/1.1\r\nHost: httpbin\r\nx-understudy-shadow: true\r\n\r\n")?)?;
            theatre.agent.settled()?;
        }
        let said: [&[u8]; 4] = [
            b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\ncut",
            b"this is not HTTP at all\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ];
        let faults = said.map(|bytes| Behaviour::RawThenClose(bytes.to_vec()));
        for fault in faults.into_iter().chain([Behaviour::Reset]) {
            theatre.v2.recorder.behave(fault);
            for _ in 0..ROUNDS {
                from_v1(&wire.exchange(GET)?)?;
                theatre.agent.settled()?;
            }
        }
        theatre.v2.recorder.behave(Behaviour::Hang);
        for _ in 0..ROUNDS {
            from_v1(&wire.exchange(GET)?)?;
        }
        theatre.agent.settled()?;
        let half = b"POST / HTTP/1.1\r\nHost: httpbin\r\nContent-Length: 9\r\n\r\nhalf";
        for _ in 0..ROUNDS {
            let mut half_way = theatre.dial()?;
            half_way.send(half)?;
            theatre.agent.metrics_when("it is under way", |m| whole(m.sum("understudy_shadows_active", &[])) > 0)?;
            half_way.reset()?;
            theatre.agent.settled()?;
        }
        theatre.v2.recorder.behave(Behaviour::Deaf);
        let head = format!("POST / HTTP/1.1\r\nHost: httpbin\r\nContent-Length: {}\r\n\r\n", big.len());
        wire.send(&[head.as_bytes(), &big].concat())?;
        from_v1(&wire.answer()?)?;
        theatre.agent.settled()?;
        drop(wire);
        Ok(())
    })?;
    let view = theatre.agent.settled()?;
    let outcomes =
        ["answered", "reset", "timeout", "shed_concurrency", "cancelled", "too_slow", "connect_failed", "no_endpoint"];
    for outcome in outcomes.into_iter().chain(["unknown_destination", "loop"]) {
        ensure!(view.outcome(outcome) > 0.0, "none ended as {outcome}: {:?}", view.lines("understudy_shadow_requests"));
    }
    Ok(())
}

/// Fails if a fault of the rules or of an endpoint is logged above debug.
fn primaries_that_fail_are_not_logged() -> Result<()> {
    let theatre = stage(&[
        ("empty", "route: [{destination: {host: httpbin, subset: empty}}]"),
        ("unknown", "route: [{destination: {host: httpbin, subset: unheard-of}}]"),
        ("refused", "route: [{destination: {host: refusing}}]"),
        ("late", "timeout: 1ms\n    route: [{destination: {host: httpbin, subset: v1}}]"),
        ("v1", "route: [{destination: {host: httpbin, subset: v1}}]"),
    ])?
    .start()?;
    in_silence(&theatre, || {
        let mut wire = theatre.dial()?;
        for (path, status) in [("empty", 503), ("unknown", 503), ("refused", 503), ("else", 404)] {
            for _ in 0..ROUNDS {
                let answer = wire.exchange(&get(path))?;
                ensure!(answer.status == status, "/{path}: {answer:?}");
            }
        }
        theatre.v1.recorder.behave(Behaviour::Hang);
        ensure!(wire.exchange(&get("late"))?.status == 504);
        theatre.v1.recorder.behave(Behaviour::Reset);
        for _ in 0..ROUNDS {
            ensure!(wire.exchange(b"POST /v1 HTTP/1.1\r\nHost: httpbin\r\nContent-Length: 0\r\n\r\n")?.status == 503);
        }
        let two_lengths = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nhi";
        let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\ncut";
        for said in [&b"no HTTP\r\n\r\n"[..], two_lengths, cut] {
            theatre.v1.recorder.behave(Behaviour::RawThenClose(said.to_vec()));
            for _ in 0..ROUNDS {
                let mut wire = theatre.dial()?;
                wire.send(&get("v1"))?;
                let _ = wire.answer();
            }
        }
        Ok(())
    })
}

/// Fails if a client's bad request, its reset, or a connection that nobody captured is logged above debug.
fn clients_that_make_no_sense_are_not_logged() -> Result<()> {
    let rule = "  - route: [{destination: {host: httpbin, subset: v1}}]\n    mirror: {host: httpbin, subset: v2}\n";
    let theatre = Setting::new(rule).objects(rules("plain", &rule.replace("host: httpbin", "host: plain"))).start()?;
    in_silence(&theatre, || {
        let long = format!("GET / HTTP/1.1\r\nHost: httpbin\r\nX: {}\r\n\r\n", "x".repeat(70 << 10));
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nthis is no frame, however one looks at it";
        let chunk = b"POST / HTTP/1.1\r\nHost: httpbin\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n";
        let bad: [&[u8]; 9] = [
            b"nonsense\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET / HTTP/3.0\r\nHost: httpbin\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: httpbin\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            chunk,
            long.as_bytes(),
            preface,
            b"GET / HT",
        ];
        for bytes in bad {
            for _ in 0..ROUNDS {
                let mut wire = theatre.dial()?;
                wire.send(bytes)?;
                wire.finish()?;
                // Refused or reset; other tests say which.
                let _ = wire.rest();
            }
        }
        for _ in 0..ROUNDS {
            theatre.dial()?.reset()?;
            let mut begun = theatre.dial()?;
            begun.send(b"GET / HTTP/1.1\r\nHo")?;
            begun.reset()?;
            // Where the connection leads nobody listens.
            let mut opaque = Wire::connect(&theatre.client, PLAIN)?;
            let _ = opaque.send(b"\0\x01\x02\r\n").and_then(|()| opaque.rest());
        }
        Ok(())
    })?;
    let view = theatre.agent.metrics()?;
    let bad = view.sum("understudy_faults_total", &[("side", "client")]);
    ensure!(whole(bad) >= 5 * ROUNDS, "{bad} faults of clients");
    theatre.ask_v1().context("after all that")
}
