//! What v2 gets of a request's body: all of it, in the framing that the client chose, whatever its size, for as many mirrors as there are.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use integration::{
    Behaviour, Recorded, Script, Theatre, case, harness,
    theatre::{MIRROR, NEEDS, PORT, ROUTE, Setting, from_v1, noise, whole},
    wait,
};

fn main() -> ExitCode {
    harness::main(&[
        case!(every_size_in_either_framing).needs(NEEDS),
        case!(a_body_of_many_times_the_buffer).needs(NEEDS),
        case!(trailers_reach_every_mirror).needs(NEEDS),
        case!(ten_mirrors_get_the_same_body).needs(NEEDS),
        case!(an_expectation_is_each_ones_own).needs(NEEDS),
    ])
}

fn request(method: &str, path: &str, framing: &str, body: &[u8]) -> Vec<u8> {
    [format!("{method} {path} HTTP/1.1\r\nHost: httpbin\r\n{framing}\r\n\r\n").as_bytes(), body].concat()
}

/// One chunk for every 50,000 bytes, and this behind the last.
fn chunked(body: &[u8], trailers: &str) -> Vec<u8> {
    let chunks =
        body.chunks(50_000).flat_map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    chunks.chain(format!("0\r\n{trailers}\r\n").into_bytes()).collect()
}

/// Fails if an empty body is given a length or chunks, if the last bytes of one are lost, or if a GET's is left out.
fn every_size_in_either_framing() -> Result<()> {
    let theatre = Setting::new(MIRROR).args(&["--shadow-buffer-bytes", "16Mi"]).start()?;
    let mut wire = theatre.dial()?;
    let mut number = 0;
    for size in [0, 1, 2, 65_535, 65_536, 65_537, 1_000_000] {
        let body = noise(size);
        for (framing, bytes) in [
            (format!("Content-Length: {size}"), body.clone()),
            ("Transfer-Encoding: chunked".to_owned(), chunked(&body, "")),
        ] {
            for method in ["POST", "GET"] {
                number += 1;
                let what = format!("{method} of {size} bytes, {framing}");
                from_v1(&wire.exchange(&request(method, "/", &framing, &bytes))?)?;
                for (who, actor) in [("v1", &theatre.v1), ("v2", &theatre.v2)] {
                    let got = actor.recorder.wait_for(number)?.remove(number - 1);
                    ensure!(got.head_text().contains(&format!("\r\n{framing}\r\n")), "{what}: {}", got.head_text());
                    ensure!(got.body == body, "{what}: {who} got another body");
                }
            }
        }
    }
    theatre.outcomes(&[("answered", number)])?;
    Ok(())
}

/// The buffer bounds how far a shadow may lag behind, not how long its request is. Fails if it bounds the body, as it did in Envoy before 1.33 and
/// does in Traefik.
fn a_body_of_many_times_the_buffer() -> Result<()> {
    const PIECE: usize = 20_000;
    let theatre = Setting::new(MIRROR).args(&["--shadow-buffer-bytes", "64Ki"]).start()?;
    let body = noise(50 * PIECE);
    let mut wire = theatre.dial()?;
    wire.send(&request("POST", "/", &format!("Content-Length: {}", body.len()), b""))?;
    for (number, piece) in body.chunks(PIECE).enumerate() {
        wire.send(piece)?;
        // What v2 has heard has left the buffer.
        let least = (number + 1) * PIECE;
        wait::until("v2 has kept up", || Ok((theatre.v2.recorder.heard().len() >= least).then_some(())))?;
    }
    from_v1(&wire.answer()?)?;
    let shadow = theatre.v2.recorder.wait_for(1)?.remove(0);
    ensure!(shadow.body == body, "v2 got {} of {} bytes", shadow.body.len(), body.len());
    theatre.outcomes(&[("answered", 1)])?;
    Ok(())
}

/// Fails if trailers go to the first mirror alone, or end with the primary.
fn trailers_reach_every_mirror() -> Result<()> {
    let theatre = Setting::new(&format!(
        "{ROUTE}    mirrors:\n    - destination: {{host: httpbin, subset: v2}}\n    - destination: {{host: httpbin, subset: v3}}\n"
    ))
    .start()?;
    let mut wire = theatre.dial()?;
    let trailers = "X-Sum: 1\r\nX-Twice: a\r\nX-Twice: b\r\n";
    for (number, announced) in ["", "\r\nTrailer: X-Sum"].iter().enumerate() {
        let framing = format!("Transfer-Encoding: chunked{announced}");
        from_v1(&wire.exchange(&request("POST", "/", &framing, &chunked(b"hello", trailers)))?)?;
        for (who, actor) in [("v1", &theatre.v1), ("v2", &theatre.v2), ("v3", &theatre.native)] {
            let got = actor.recorder.wait_for(number + 1)?.remove(number);
            let end = String::from_utf8_lossy(&got.raw_body).to_lowercase();
            ensure!(
                end == format!("5\r\nhello\r\n0\r\n{}\r\n", trailers.to_lowercase()),
                "{who} got {end:?} of request {number}"
            );
        }
    }
    theatre.outcomes(&[("answered", 4)])?;
    Ok(())
}

const MIRRORS: usize = 10;

/// Fails if mirrors share a body, so that one takes it from the others, or if one of them is counted for another.
fn ten_mirrors_get_the_same_body() -> Result<()> {
    let to = |number| if number % 2 == 0 { "v2" } else { "v3" };
    let mirrors: String =
        (0..MIRRORS).map(|number| format!("    - destination: {{host: httpbin, subset: {}}}\n", to(number))).collect();
    let theatre = Setting::new(&format!("{ROUTE}    mirrors:\n{mirrors}")).start()?;
    let body = noise(100_000);
    let mut wire = theatre.dial()?;
    const REQUESTS: usize = 3;
    for _ in 0..REQUESTS {
        from_v1(&wire.exchange(&request("POST", "/", "Content-Length: 100000", &body))?)?;
    }
    let view = theatre.outcomes(&[("answered", MIRRORS * REQUESTS)])?;
    for mirror in 0..MIRRORS {
        let mirror = mirror.to_string();
        let answered = view.sum("understudy_shadow_requests_total", &[("mirror", &mirror), ("outcome", "answered")]);
        ensure!(whole(answered) == REQUESTS, "mirror {mirror} counts {answered}");
    }
    for (who, actor, count) in
        [("v1", &theatre.v1, REQUESTS), ("v2", &theatre.v2, 5 * REQUESTS), ("v3", &theatre.native, 5 * REQUESTS)]
    {
        let got: Vec<Recorded> = actor.recorder.requests();
        ensure!(got.len() == count, "{who} got {} requests", got.len());
        ensure!(got.iter().all(|request| request.body == body), "{who} got another body");
    }
    Ok(())
}

const EXPECTING: &[u8] = b"POST / HTTP/1.1\r\nHost: httpbin\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";

/// Fails if v2's refusal reaches the client, if the client's body waits for v2's word, or if a body that v1 has refused counts as sent to v2.
fn an_expectation_is_each_ones_own() -> Result<()> {
    let refusal = b"HTTP/1.1 417 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let theatre = Setting::new(MIRROR).v2_port_free().start()?;
    let v2 = Script::start(theatre.v2.pod.netns(), theatre.v2.address(PORT), move |mut wire| {
        ensure!(wire.head()?.contains("\r\nExpect: 100-continue\r\n"), "v2 was not asked");
        wire.send(refusal)
    })?;
    let mut wire = theatre.dial()?;
    wire.send(EXPECTING)?;
    ensure!(wire.head()?.starts_with("HTTP/1.1 100 "), "v1's word is not the first");
    wire.send(b"hello")?;
    from_v1(&wire.answer()?)?;
    theatre.outcomes(&[("answered", 1)])?;
    ensure!(v2.accepted() == 1 && theatre.v1.recorder.requests()[0].body == b"hello");
    drop(v2);

    let theatre = Theatre::mirroring()?;
    theatre.v1.recorder.behave(Behaviour::EarlyThenDeaf);
    let mut wire = theatre.dial()?;
    wire.send(EXPECTING)?;
    ensure!(wire.answer()?.text() == "early");
    drop(wire);
    theatre.outcomes(&[("cancelled", 1)])?;
    ensure!(theatre.v2.recorder.count() == 0, "v2 counts a request whose body never came");
    Ok(())
}
