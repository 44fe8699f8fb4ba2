//! The way of plain requests past hyper, and where it ends: nobody sees the seam.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use integration::{
    Behaviour, Theatre, case, harness,
    theatre::{GET, MIRROR, NEEDS, Setting, from_v1},
};

fn main() -> ExitCode {
    harness::main(&[
        case!(a_connection_goes_on_where_it_stops_being_plain).needs(NEEDS),
        case!(a_request_cut_anywhere_is_one_request).needs(NEEDS),
        case!(a_changed_rule_holds_for_the_next_request).needs(NEEDS),
        case!(an_answer_may_come_before_its_request_is_taken).needs(NEEDS),
        case!(an_answer_that_breaks_off_breaks_the_connection).needs(NEEDS),
        case!(a_client_that_goes_away_leaves_nothing_behind).needs(NEEDS),
    ])
}

/// Two fields of one name with another between them: hyper gathers them, the fast path leaves them where they were.
const SCATTERED: &[u8] = b"GET /s HTTP/1.1\r\nHost: httpbin\r\nX-A: 1\r\nX-B: 2\r\nX-A: 3\r\n\r\n";
const GATHERED: &[u8] = b"GET /s HTTP/1.1\r\nHost: httpbin\r\nX-A: 1\r\nX-A: 3\r\nX-B: 2\r\n\r\n";

/// Fails if a request is lost, doubled or overtaken where hyper takes over, whatever has been read by then, or if its shadow is.
fn a_connection_goes_on_where_it_stops_being_plain() -> Result<()> {
    let small = b"POST /small HTTP/1.1\r\nHost: httpbin\r\nContent-Length: 5\r\n\r\nsmall";
    let chunked = b"POST /chunked HTTP/1.1\r\nHost: httpbin\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let requests = [SCATTERED, small, SCATTERED, chunked, SCATTERED, small];
    for at_once in [false, true] {
        let theatre = Theatre::mirroring()?;
        let mut wire = theatre.dial()?;
        if at_once {
            wire.send(&requests.concat())?;
        }
        for request in requests {
            if !at_once {
                wire.send(request)?;
            }
            from_v1(&wire.answer()?)?;
        }
        theatre.outcomes(&[("answered", requests.len())])?;
        for (pod, is_v2) in [(&theatre.v1, false), (&theatre.v2, true)] {
            let mut came = pod.recorder.wait_for(requests.len())?;
            if is_v2 {
                // Shadows may overtake each other.
                came.sort_by_key(|request| request.head.len());
            }
            ensure!(came.len() == requests.len(), "{} requests (v2: {is_v2})", came.len());
            let of = |body: &[u8]| came.iter().filter(|request| request.body == body).count();
            ensure!((of(b""), of(b"small"), of(b"abc")) == (3, 2, 1), "other bodies (v2: {is_v2})");
            if !is_v2 {
                let heads: Vec<_> = came.iter().map(|request| &request.head[..]).collect();
                ensure!(heads[0] == SCATTERED && heads[2] == SCATTERED, "not plain where it should be");
                ensure!(heads[4] == GATHERED, "plain where it should not be");
            }
        }
    }
    Ok(())
}

/// Fails if what comes in two reads is taken for something else than what comes in one.
fn a_request_cut_anywhere_is_one_request() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    let request = b"POST /p HTTP/1.1\r\nHost: httpbin\r\nContent-Length: 4\r\n\r\nbody";
    let cuts = [1, 4, 16, 17, 18, 30, 36, request.len() - 5, request.len() - 4, request.len() - 1];
    for cut in cuts {
        let mut wire = theatre.dial()?;
        from_v1(&wire.exchange(GET)?)?;
        wire.send(&request[..cut])?;
        std::thread::sleep(std::time::Duration::from_millis(20));
        wire.send(&request[cut..])?;
        from_v1(&wire.answer()?)?;
        from_v1(&wire.exchange(GET)?)?;
    }
    let count = cuts.len() * 3;
    theatre.outcomes(&[("answered", count)])?;
    let came = theatre.v1.recorder.wait_for(count)?;
    ensure!(came.iter().filter(|request| request.body == b"body").count() == cuts.len(), "a body is missing");
    Ok(())
}

/// Fails if a connection keeps the table with which it began, or if the fast path is for rules that it is not for.
fn a_changed_rule_holds_for_the_next_request() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    let mut wire = theatre.dial()?;
    from_v1(&wire.exchange(GET)?)?;
    theatre.rule(&format!(
        "{MIRROR}    headers: {{request: {{set: {{x-rule: new}}}}, response: {{set: {{x-answer: new}}}}}}\n"
    ))?;
    for _ in 0..2 {
        let answer = wire.exchange(GET)?;
        ensure!(answer.head.contains("x-answer: new"), "{}", answer.head);
    }
    let came = theatre.v1.recorder.wait_for(3)?;
    let has = |at: usize| String::from_utf8_lossy(&came[at].head).contains("x-rule: new");
    ensure!((has(0), has(1), has(2)) == (false, true, true), "the rule does not hold");
    Ok(())
}

/// Fails if nobody listens to an endpoint until it has taken the whole request, or if a connection on which half a request stands is used again.
fn an_answer_may_come_before_its_request_is_taken() -> Result<()> {
    let theatre = Setting::new(MIRROR).v1(Behaviour::EarlyThenDeaf).narrow().start()?;
    let request = format!(
        "POST /p HTTP/1.1\r\nHost: httpbin\r\nX-A: 1\r\nX-B: 2\r\nX-A: 3\r\nContent-Length: 7000\r\n\r\n{0:7000}",
        'x'
    );
    let mut wire = theatre.dial()?;
    for connections in 1..=2 {
        let answer = wire.exchange(request.as_bytes())?;
        ensure!(answer.status == 200, "{}", answer.head);
        let came = theatre.v1.recorder.wait_for(connections)?;
        let last = &came[connections - 1];
        ensure!(last.connection == connections - 1, "half a request stands before this one");
        ensure!(last.head_text().contains("X-A: 1\r\nX-B: 2"), "not plain");
    }
    theatre.outcomes(&[("answered", 2)])?;
    Ok(())
}

/// Fails if the client can take what it has for the whole.
fn an_answer_that_breaks_off_breaks_the_connection() -> Result<()> {
    for cut in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let theatre = Setting::new(MIRROR).v1(Behaviour::RawThenClose(cut.to_vec())).start()?;
        let mut wire = theatre.dial()?;
        wire.send(GET)?;
        ensure!(wire.rest().is_err(), "the connection ended as if all were well");
        theatre.outcomes(&[("answered", 1)])?;
    }
    Ok(())
}

/// Fails if an exchange outlives its client while its endpoint thinks.
fn a_client_that_goes_away_leaves_nothing_behind() -> Result<()> {
    let theatre = Setting::new(MIRROR).v1(Behaviour::Hang).start()?;
    let mut wire = theatre.dial()?;
    wire.send(GET)?;
    theatre.v1.recorder.wait_for(1)?;
    wire.reset()?;
    theatre.agent.settled()?;
    Ok(())
}
