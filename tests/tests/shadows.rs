//! What v2 sees, when, and that it can never be felt: neither in v1's answer nor in the client's upload.

use std::{
    net::IpAddr,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Result, ensure};
use integration::{
    Behaviour, Theatre, case, harness,
    script::{Cue, Script},
    theatre::{GET, MIRROR, NEEDS, PORT, Setting, from_v1, noise, whole},
};

fn main() -> ExitCode {
    harness::main_both_ways(&[
        case!(a_shadow_differs_by_host_and_marker_alone).needs(NEEDS),
        case!(the_host_suffix_can_be_changed_and_left_out).needs(NEEDS),
        case!(each_of_several_mirrors_gets_its_shadow).needs(NEEDS),
        case!(a_shadow_outlives_its_client).needs(NEEDS),
        case!(a_v2_that_reads_late_gets_all_and_holds_up_nobody).needs(NEEDS),
        case!(a_v2_that_never_reads_holds_up_nobody).needs(NEEDS),
        case!(servers_see_the_clients_own_address).needs(NEEDS),
        case!(what_v2_says_reaches_nobody).needs(NEEDS),
    ])
}

/// Fails if the suffix is left out, if a header is added or lost on the way to v2, or if the shadow is made from another head than v1's.
fn a_shadow_differs_by_host_and_marker_alone() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    let mut wire = theatre.dial()?;
    let requests: [&[u8]; 5] = [
        b"GET /a?b=c HTTP/1.1\r\nX-First: 1\r\nHoST: httpbin:8000\r\nX-CaSe: 1\r\nCookie: a\r\nCookie: b\r\n\r\n",
        b"HEAD /head HTTP/1.1\r\nHost: httpbin\r\nAuthorization: Basic x\r\n\r\n",
        b"POST /body HTTP/1.1\r\nHost: httpbin.mirror:8000\r\nContent-Length: 5\r\nX-After: 1\r\n\r\nhello",
        b"PUT /chunks HTTP/1.1\r\nHost: httpbin:8000\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"DELETE / HTTP/1.1\r\nHost: httpbin:8000\r\nConnection: X-Mine\r\nX-Mine: 1\r\nX-Theirs: 1\r\n\r\n",
    ];
    for (i, request) in requests.iter().enumerate() {
        from_v1_unless_head(&wire.exchange(request)?)?;
        let v2 = theatre.v2.recorder.wait_for(i + 1)?;
        let (v1, v2) = (&theatre.v1.recorder.requests()[i], &v2[i]);
        let expected = v1
            .head_text()
            .replace("httpbin.mirror:8000\r\n", "httpbin.mirror-shadow:8000\r\n")
            .replace("httpbin:8000\r\n", "httpbin-shadow:8000\r\n")
            .replace("httpbin\r\n", "httpbin-shadow\r\n");
        let expected =
            format!("{}x-understudy-shadow: true\r\n\r\n", expected.trim_end_matches("\r\n").to_owned() + "\r\n");
        ensure!(v2.head_text() == expected, "v2 saw {:?}, not {expected:?}", v2.head_text());
        ensure!(v1.body == v2.body, "v2 got another body");
    }
    theatre.outcomes(&[("answered", requests.len())])?;
    theatre.control(GET)?;
    ensure!(theatre.v2.recorder.count() == requests.len(), "a control request was mirrored");
    Ok(())
}

fn from_v1_unless_head(answer: &integration::http::Answer) -> Result<()> {
    if answer.body.is_empty() { Ok(()) } else { from_v1(answer) }
}

/// Fails if the flag is not handed to the table.
fn the_host_suffix_can_be_changed_and_left_out() -> Result<()> {
    for (suffix, host) in [("-rehearsal", "httpbin-rehearsal:8000"), ("", "httpbin:8000")] {
        let theatre = Setting::new(MIRROR).args(&["--shadow-host-suffix", suffix]).start()?;
        theatre.ask_v1()?;
        let shadow = &theatre.v2.recorder.wait_for(1)?[0];
        ensure!(shadow.header("host").as_deref() == Some(host), "{}", shadow.head_text());
        ensure!(shadow.header("x-understudy-shadow").as_deref() == Some("true"));
        theatre.outcomes(&[("answered", 1)])?;
    }
    Ok(())
}

/// Fails if only the first of `mirrors` is compiled, or if they share one count.
fn each_of_several_mirrors_gets_its_shadow() -> Result<()> {
    let theatre = Setting::new(
        "  - route: [{destination: {host: httpbin, subset: v1}}]\n    mirrors:\n\
         \x20   - destination: {host: httpbin, subset: v2}\n    - destination: {host: httpbin, subset: v3}\n",
    )
    .start()?;
    let request = b"POST /both HTTP/1.1\r\nHost: httpbin\r\nContent-Length: 5\r\n\r\nhello";
    for _ in 0..10 {
        from_v1(&theatre.ask(request)?)?;
    }
    for actor in [&theatre.v2, &theatre.native] {
        let shadows = actor.recorder.wait_for(10)?;
        ensure!(shadows.len() == 10);
        ensure!(shadows.iter().all(|s| s.body == b"hello" && s.header("host").as_deref() == Some("httpbin-shadow")));
    }
    let view = theatre.outcomes(&[("answered", 20)])?;
    for mirror in ["0", "1"] {
        let candidates = view.sum("understudy_shadow_candidates_total", &[("mirror", mirror)]);
        ensure!(whole(candidates) == 10, "mirror {mirror} counts {candidates}");
    }
    Ok(())
}

/// Fails if the end of the client's connection, or of the primary's exchange, cancels the shadow of a request that was whole.
fn a_shadow_outlives_its_client() -> Result<()> {
    let theatre = Setting::new(MIRROR).v2_port_free().start()?;
    let (asked, gone) = (Cue::default(), Cue::default());
    let (asks, goes) = (asked.clone(), gone.clone());
    let _v2 = Script::start(theatre.v2.pod.netns(), theatre.v2.address(PORT), move |mut wire| {
        wire.head()?;
        asks.give();
        goes.wait(1)?;
        wire.send(b"HTTP/1.1 202 Late\r\nContent-Length: 2\r\n\r\nok")
    })?;
    let mut wire = theatre.dial()?;
    from_v1(&wire.exchange(GET)?)?;
    asked.wait(1)?;
    wire.reset()?;
    theatre.agent.metrics_when("the client's connection is gone", |view| {
        whole(view.sum("understudy_connections_open", &[("kind", "captured")])) == 0
    })?;
    gone.give();
    theatre.outcomes(&[("answered", 1)])?;
    Ok(())
}

/// Fails if the copy is awaited anywhere on the primary's way: v2 reads nothing until the client has its answer.
fn a_v2_that_reads_late_gets_all_and_holds_up_nobody() -> Result<()> {
    let theatre = Setting::new(MIRROR).args(&["--shadow-buffer-bytes", "16Mi"]).v2_port_free().start()?;
    let (cue, read) = (Cue::default(), Arc::<Mutex<Vec<u8>>>::default());
    let (heard, kept) = (cue.clone(), Arc::clone(&read));
    let body = noise(8 << 20);
    let length = body.len();
    let _v2 = Script::start(theatre.v2.pod.netns(), theatre.v2.address(PORT), move |mut wire| {
        heard.wait(1)?;
        wire.head()?;
        *kept.lock().unwrap_or_else(PoisonError::into_inner) = wire.take(length)?;
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    })?;
    let mut wire = theatre.dial()?;
    wire.send(format!("POST /late HTTP/1.1\r\nHost: httpbin\r\nContent-Length: {length}\r\n\r\n").as_bytes())?;
    wire.send(&body)?;
    from_v1(&wire.answer()?)?;
    ensure!(theatre.v1.recorder.requests()[0].body == body, "v1 got another body");
    cue.give();
    theatre.outcomes(&[("answered", 1)])?;
    ensure!(*read.lock().unwrap_or_else(PoisonError::into_inner) == body, "v2 got another body");
    Ok(())
}

/// Fails if a full queue makes the primary wait instead of ending the shadow.
fn a_v2_that_never_reads_holds_up_nobody() -> Result<()> {
    let theatre = Setting::new(MIRROR).v2(Behaviour::Deaf).start()?;
    let body = noise(24 << 20);
    let mut wire = theatre.dial()?;
    for _ in 0..2 {
        wire.send(format!("PUT /big HTTP/1.1\r\nHost: httpbin\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes())?;
        wire.send(&body)?;
        from_v1(&wire.answer()?)?;
    }
    ensure!(theatre.v1.recorder.requests().iter().all(|r| r.body == body), "v1 got another body");
    theatre.outcomes(&[("too_slow", 2)])?;
    theatre.agent.gave_back()?;
    Ok(())
}

/// T54. Fails if an upstream socket is made in the agent's own namespace.
fn servers_see_the_clients_own_address() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    theatre.ask_v1()?;
    theatre.outcomes(&[("answered", 1)])?;
    for (who, actor) in [("v1", &theatre.v1), ("v2", &theatre.v2)] {
        let peer = actor.recorder.requests()[0].peer;
        ensure!(peer.ip() == IpAddr::V4(theatre.client.v4()), "{who} sees {peer}");
    }
    Ok(())
}

/// Fails if anything of v2's answer (status, 1xx, a close, megabytes) finds its way to the client or to its connection.
fn what_v2_says_reaches_nobody() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    let mut wire = theatre.dial()?;
    let huge = [b"HTTP/1.1 200 OK\r\nContent-Length: 8388608\r\n\r\n".to_vec(), noise(8 << 20)].concat();
    let said: [(&[u8], &str); 6] = [
        (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "answered"),
        (b"HTTP/1.1 302 Else\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n", "answered"),
        (b"HTTP/1.1 103 Early\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "answered"),
        (&huge, "answered"),
        (b"\0\x01\x02 this is not HTTP at all\r\n\r\n", "reset"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "answered"),
    ];
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for (bytes, outcome) in said {
        theatre.v2.recorder.behave(Behaviour::RawThenClose(bytes.to_vec()));
        from_v1(&wire.exchange(GET)?)?;
        *counts.entry(outcome).or_default() += 1;
        let total: usize = counts.values().sum();
        theatre.agent.metrics_when("one more shadow has ended", |view| {
            whole(view.sum("understudy_shadow_requests_total", &[])) == total
        })?;
    }
    theatre.outcomes(&counts.into_iter().collect::<Vec<_>>())?;
    Ok(())
}
