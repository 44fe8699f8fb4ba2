//! Who goes when somebody goes first: a client before its answer, a primary out of time, an upload that stops. A shadow whose request was whole
//! lives on by itself; one whose request never was ends unfinished.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use integration::{
    Behaviour, Cue, Script, Theatre, Wire, case, harness,
    theatre::{GET, MIRROR, NEEDS, PORT, Setting, from_v1, noise},
};

fn main() -> ExitCode {
    harness::main(&[
        case!(a_client_that_leaves_before_its_answer_leaves_its_shadow).needs(NEEDS),
        case!(a_shadow_outlives_the_primarys_timeout).needs(NEEDS),
        case!(an_upload_that_leaves_half_way_ends_both).needs(NEEDS),
        case!(an_upload_that_stops_costs_the_shadow_alone).needs(NEEDS),
        case!(a_shadow_that_is_still_connecting_costs_no_upload).needs(NEEDS),
    ])
}

/// A server that says when a head has come, and answers when it is told to.
fn waiting(theatre: &Theatre, asked: &Cue, answers: &Cue) -> Result<Script> {
    let (asked, answers) = (asked.clone(), answers.clone());
    Script::start(theatre.v2.pod.netns(), theatre.v2.address(PORT), move |mut wire| {
        wire.head()?;
        asked.give();
        answers.wait(1)?;
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    })
}

/// Envoy lets such a shadow live; Traefik does not even start it. Fails if the primary's end is the shadow's, or if a primary lives on at v1 although
/// nobody waits for it.
fn a_client_that_leaves_before_its_answer_leaves_its_shadow() -> Result<()> {
    for request in [GET, b"POST / HTTP/1.1\r\nHost: httpbin\r\nContent-Length: 0\r\n\r\n"] {
        let theatre = Setting::new(MIRROR).v1_port_free().v2_port_free().start()?;
        let (asked, answers, left) = (Cue::default(), Cue::default(), Cue::default());
        let _v2 = waiting(&theatre, &asked, &answers)?;
        let (asks, leaves) = (asked.clone(), left.clone());
        let _v1 = Script::start(theatre.v1.pod.netns(), theatre.v1.address(PORT), move |mut wire| {
            wire.head()?;
            asks.give();
            // Whichever way it ends.
            let _ = wire.rest();
            leaves.give();
            Ok(())
        })?;
        let mut wire = theatre.dial()?;
        wire.send(request)?;
        asked.wait(2)?;
        wire.reset()?;
        left.wait(1)?;
        answers.give();
        theatre.outcomes(&[("answered", 1)])?;
    }
    Ok(())
}

/// Fails if the shadow has the primary's timeout, or ends with it.
fn a_shadow_outlives_the_primarys_timeout() -> Result<()> {
    let theatre = Setting::new(&format!("{MIRROR}    timeout: 1s\n")).v1(Behaviour::Hang).v2_port_free().start()?;
    let (asked, answers) = (Cue::default(), Cue::default());
    let _v2 = waiting(&theatre, &asked, &answers)?;
    let answer = theatre.ask(GET)?;
    ensure!(answer.status == 504, "{answer:?}");
    asked.wait(1)?;
    answers.give();
    theatre.outcomes(&[("answered", 1)])?;
    Ok(())
}

/// Fails if what has come of a body is ended as if it were all, at v1 or at v2, however the client leaves.
fn an_upload_that_leaves_half_way_ends_both() -> Result<()> {
    let ways: [fn(Wire) -> Result<()>; 2] = [|wire| wire.reset(), |wire| wire.finish()];
    for framing in ["Content-Length: 10\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"] {
        for leave in ways {
            let theatre = Setting::new(MIRROR).v1_port_free().v2_port_free().start()?;
            let (half, ended) = (Cue::default(), Cue::default());
            let part = |wire: &mut Wire, half: &Cue| {
                let head = wire.head()?;
                // The bytes of the body that the client has sent, in its framing.
                wire.take(if head.contains("chunked") { 10 } else { 5 })?;
                half.give();
                // A reset, or an end before that of the body.
                let rest = wire.rest().unwrap_or_default();
                ensure!(rest.is_empty(), "more than the client has sent: {}", rest.escape_ascii());
                anyhow::Ok(())
            };
            let servers = [&theatre.v1, &theatre.v2].map(|actor| {
                let (half, ended) = (half.clone(), ended.clone());
                Script::start(actor.pod.netns(), actor.address(PORT), move |mut wire| {
                    part(&mut wire, &half)?;
                    ended.give();
                    Ok(())
                })
            });
            let servers = servers.into_iter().collect::<Result<Vec<_>>>()?;
            let mut wire = theatre.dial()?;
            wire.send(format!("POST / HTTP/1.1\r\nHost: httpbin\r\n{framing}").as_bytes())?;
            half.wait(2)?;
            leave(wire)?;
            ended.wait(2)?;
            theatre.outcomes(&[("cancelled", 1)])?;
            ensure!(servers.iter().all(|server| server.accepted() == 1), "half a request was sent again");
        }
    }
    Ok(())
}

/// Fails if a shadow may stay as long as its client pleases, or if its end is felt by the upload that goes on.
fn an_upload_that_stops_costs_the_shadow_alone() -> Result<()> {
    let theatre = Setting::new(MIRROR).args(&["--shadow-timeout", "1s"]).start()?;
    let mut wire = theatre.dial()?;
    wire.send(b"POST / HTTP/1.1\r\nHost: httpbin\r\nContent-Length: 10\r\n\r\nhello")?;
    theatre.outcomes(&[("timeout", 1)])?;
    ensure!(theatre.v2.recorder.count() == 0, "half a request counts as one at v2");
    wire.send(b"world")?;
    from_v1(&wire.answer()?)?;
    ensure!(theatre.v1.recorder.requests()[0].body == b"helloworld", "v1 got another body");
    // The connection is as good as ever.
    from_v1(&wire.exchange(GET)?)?;
    theatre.outcomes(&[("timeout", 1), ("answered", 1)])?;
    Ok(())
}

/// A v2 to which no connection comes about while the whole upload passes. Fails if the body waits for the shadow's connection.
fn a_shadow_that_is_still_connecting_costs_no_upload() -> Result<()> {
    let theatre = Setting::new(MIRROR).args(&["--connect-timeout", "2s", "--shadow-buffer-bytes", "1Mi"]).start()?;
    // Packets to v2 get no further than the node.
    theatre.node.netns().ip(&[&format!("route replace blackhole {}/32", theatre.v2.pod.v4())])?;
    let mut wire = theatre.dial()?;
    for size in [1 << 19, 4 << 20] {
        let body = noise(size);
        wire.send(format!("POST / HTTP/1.1\r\nHost: httpbin\r\nContent-Length: {size}\r\n\r\n").as_bytes())?;
        wire.send(&body)?;
        from_v1(&wire.answer()?)?;
        ensure!(theatre.v1.recorder.requests().last().is_some_and(|last| last.body == body), "another body");
    }
    theatre.outcomes(&[("connect_failed", 1), ("too_slow", 1)])?;
    theatre.agent.gave_back()?;
    Ok(())
}
