//! Every way for a shadow to end, each counted exactly once and under its own name; the client has v1's answer each time.

use std::{fs, process::ExitCode, thread, time::Instant};

use anyhow::{Context as _, Result, ensure};
use integration::{
    Behaviour, Theatre, case, harness,
    theatre::{GET, MIRROR, NEEDS, ROUTE, Setting, from_v1, noise, whole},
};
use understudy::shadow::connections::REST;

fn main() -> ExitCode {
    harness::main_both_ways(&[
        case!(answered_is_counted_by_class_of_code).needs(NEEDS),
        case!(connect_failed).needs(NEEDS),
        case!(a_v2_that_refuses_rests).needs(NEEDS),
        case!(timeout).needs(NEEDS),
        case!(reset).needs(NEEDS),
        case!(a_cut_answer_is_a_reset).needs(NEEDS),
        case!(no_endpoint_and_unknown_destination).needs(NEEDS),
        case!(too_slow).needs(NEEDS),
        case!(shed_memory).needs(NEEDS),
        case!(shed_concurrency).needs(NEEDS),
        case!(cancelled).needs(NEEDS),
        case!(a_request_that_is_a_shadow_is_a_loop).needs(NEEDS),
        case!(a_rule_without_mirror_counts_nothing).needs(NEEDS),
    ])
}

/// v2 gave shadows so many connections; v1 so many requests.
fn reached(theatre: &Theatre, v1: usize, v2: usize) -> Result<()> {
    let (one, two) = (theatre.v1.recorder.count(), theatre.v2.recorder.count());
    ensure!((one, two) == (v1, v2), "v1 got {one} requests and v2 {two} instead of {v1} and {v2}");
    Ok(())
}

/// Fails if the class is not taken from v2's own status.
fn answered_is_counted_by_class_of_code() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    let statuses = [200, 204, 302, 404, 429, 500, 503];
    for (i, status) in statuses.iter().enumerate() {
        let answer =
            format!("HTTP/1.1 {status} X\r\n{}\r\n", if *status == 204 { "" } else { "Content-Length: 0\r\n" });
        theatre.v2.recorder.behave(Behaviour::Raw(answer.into()));
        theatre.ask_v1()?;
        theatre.v2.recorder.wait_for(i + 1)?;
        theatre.agent.settled()?;
    }
    let view = theatre.outcomes(&[("answered", statuses.len())])?;
    for (code, count) in [("2xx", 2), ("3xx", 1), ("4xx", 2), ("5xx", 2)] {
        let labels = [("outcome", "answered"), ("code", code), ("namespace", "mirror"), ("service", "httpbin")];
        let counted = whole(view.sum("understudy_shadow_requests_total", &labels));
        ensure!(counted == count, "{counted} answered with {code}, not {count}");
    }
    reached(&theatre, statuses.len(), statuses.len())
}

/// Fails if a refused connection is counted as a reset, or tried again.
fn connect_failed() -> Result<()> {
    let theatre = Setting::new(MIRROR).v2_port_free().start()?;
    theatre.ask_v1()?;
    from_v1(&theatre.ask(b"POST / HTTP/1.1\r\nHost: httpbin\r\nContent-Length: 2\r\n\r\nhi")?)?;
    theatre.outcomes(&[("connect_failed", 2)])?;
    reached(&theatre, 2, 0)
}

/// Fails if every shadow asks an endpoint that refuses: primaries would pay for that.
fn a_v2_that_refuses_rests() -> Result<()> {
    let theatre = Setting::new(MIRROR).v2_port_free().start()?;
    let refused = || theatre.v2.pod.netns().run(resets_sent);
    // One connection has one worker. Until the first is refused nothing is known, and all that come meanwhile try.
    let mut wire = theatre.dial()?;
    from_v1(&wire.exchange(GET)?)?;
    theatre.outcomes(&[("connect_failed", 1)])?;
    let (before, begun) = (refused()?, Instant::now());
    for _ in 0..1_000 {
        from_v1(&wire.exchange(GET)?)?;
    }
    theatre.outcomes(&[("connect_failed", 1_001)])?;
    let attempts = refused()? - before;
    let most = begun.elapsed().as_millis() / REST.as_millis() + 1;
    ensure!(u128::from(attempts) <= most, "{attempts} attempts, where {most} are enough");
    // After a rest somebody asks again.
    thread::sleep(REST);
    from_v1(&wire.exchange(GET)?)?;
    theatre.outcomes(&[("connect_failed", 1_002)])?;
    ensure!(refused()? > before + attempts, "nobody has tried again");
    Ok(())
}

/// What this network namespace has refused or reset so far.
fn resets_sent() -> Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/net/snmp")?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = lines.next().zip(lines.next()).context("no counters of TCP")?;
    let mut counters = names.split(' ').zip(values.split(' '));
    let (_, value) = counters.find(|(name, _)| *name == "OutRsts").context("no counter of resets")?;
    Ok(value.parse()?)
}

/// Fails if a shadow has no timeout of its own, or if it is the client that waits for it.
fn timeout() -> Result<()> {
    let theatre = Setting::new(MIRROR).v2(Behaviour::Hang).args(&["--shadow-timeout", "1s"]).start()?;
    let mut wire = theatre.dial()?;
    for _ in 0..3 {
        from_v1(&wire.exchange(GET)?)?;
    }
    theatre.outcomes(&[("timeout", 3)])?;
    reached(&theatre, 3, 3)
}

/// Fails if a shadow is sent again after a reset.
fn reset() -> Result<()> {
    let theatre = Setting::new(MIRROR).v2(Behaviour::Reset).start()?;
    theatre.ask_v1()?;
    from_v1(&theatre.ask(b"POST / HTTP/1.1\r\nHost: httpbin\r\nContent-Length: 2\r\n\r\nhi")?)?;
    theatre.outcomes(&[("reset", 2)])?;
    reached(&theatre, 2, 2)
}

/// Fails if an answer counts as soon as its head has come.
fn a_cut_answer_is_a_reset() -> Result<()> {
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf".to_vec();
    let theatre = Setting::new(MIRROR).v2(Behaviour::RawThenClose(cut)).start()?;
    theatre.ask_v1()?;
    theatre.outcomes(&[("reset", 1)])?;
    reached(&theatre, 1, 1)
}

/// Fails if a mirror that leads nowhere is silently left out of the table.
fn no_endpoint_and_unknown_destination() -> Result<()> {
    let mirror = |subset: &str| MIRROR.replace("subset: v2", &format!("subset: {subset}"));
    let theatre = Setting::new(&mirror("empty")).start()?;
    theatre.ask_v1()?;
    theatre.outcomes(&[("no_endpoint", 1)])?;
    theatre.rule(&mirror("unheard-of"))?;
    theatre.ask_v1()?;
    theatre.outcomes(&[("no_endpoint", 1), ("unknown_destination", 1)])?;
    theatre.rule(&(ROUTE.to_owned() + "    mirror: {host: nobody}\n"))?;
    theatre.ask_v1()?;
    theatre.outcomes(&[("no_endpoint", 1), ("unknown_destination", 2)])?;
    reached(&theatre, 3, 0)
}

/// More than the buffers of two kernels and the shadow's own together.
const BIG: usize = 16 << 20;

fn upload(theatre: &Theatre) -> Result<()> {
    let body = noise(BIG);
    let mut wire = theatre.dial()?;
    wire.send(format!("POST /up HTTP/1.1\r\nHost: httpbin\r\nContent-Length: {BIG}\r\n\r\n").as_bytes())?;
    wire.send(&body)?;
    from_v1(&wire.answer()?)?;
    ensure!(theatre.v1.recorder.requests()[0].body == body, "v1 got another body");
    Ok(())
}

/// Fails if the limit of a shadow is not kept, or is felt by the primary.
fn too_slow() -> Result<()> {
    let theatre = Setting::new(MIRROR).v2(Behaviour::Deaf).args(&["--shadow-buffer-bytes", "64Ki"]).start()?;
    upload(&theatre)?;
    theatre.outcomes(&[("too_slow", 1)])?;
    Ok(())
}

/// Fails if the node's limit is not kept, or is felt by the primary.
fn shed_memory() -> Result<()> {
    let limits = ["--shadow-buffer-bytes", "16Mi", "--shadow-node-buffer-bytes", "16Mi"];
    let theatre = Setting::new(MIRROR).v2(Behaviour::Deaf).args(&limits).start()?;
    // One upload that stops short of its end. Of 16 MiB at most the kernels' buffers (4 MiB to send, little to receive) have left the node.
    let mut first = theatre.dial()?;
    first.send(format!("POST /first HTTP/1.1\r\nHost: httpbin\r\nContent-Length: {}\r\n\r\n", BIG + 1).as_bytes())?;
    first.send(&noise(BIG))?;
    theatre.agent.metrics_when("most of the budget is taken", |view| {
        whole(view.sum("understudy_shadow_buffered_bytes", &[])) > BIG / 2
    })?;
    // So the next finds too little left for itself, though it keeps within its own limit.
    upload(&theatre)?;
    theatre.agent.metrics_when("the second shadow is shed", |view| whole(view.outcome("shed_memory")) == 1)?;
    first.reset()?;
    theatre.outcomes(&[("shed_memory", 1), ("cancelled", 1)])?;
    theatre.agent.gave_back()?;
    Ok(())
}

/// Fails if the limit counts each worker for itself, or if a place is not given back.
fn shed_concurrency() -> Result<()> {
    let limits = ["--shadow-max-concurrent", "2", "--shadow-timeout", "3s"];
    let theatre = Setting::new(MIRROR).v2(Behaviour::Hang).args(&limits).start()?;
    for _ in 0..2 {
        theatre.ask_v1()?;
    }
    theatre.v2.recorder.wait_for(2)?;
    for _ in 0..5 {
        theatre.ask_v1()?;
    }
    theatre.outcomes(&[("shed_concurrency", 5), ("timeout", 2)])?;
    theatre.v2.recorder.behave(Behaviour::Ok(b"two".to_vec()));
    theatre.ask_v1()?;
    theatre.outcomes(&[("shed_concurrency", 5), ("timeout", 2), ("answered", 1)])?;
    reached(&theatre, 8, 3)
}

/// Fails if half a request is ended at v2 as if it were whole.
fn cancelled() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    for head in ["Content-Length: 1000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"] {
        let mut wire = theatre.dial()?;
        wire.send(format!("POST / HTTP/1.1\r\nHost: httpbin\r\n{head}").as_bytes())?;
        theatre.agent.metrics_when("a shadow is under way", |m| whole(m.sum("understudy_shadows_active", &[])) == 1)?;
        wire.reset()?;
        theatre.agent.settled()?;
    }
    theatre.outcomes(&[("cancelled", 2)])?;
    reached(&theatre, 0, 0)?;
    theatre.ask_v1()?;
    theatre.outcomes(&[("cancelled", 2), ("answered", 1)])?;
    reached(&theatre, 1, 1)
}

/// Fails if the marker does not stop a mirror of a mirror; v1 gets the request as it is.
fn a_request_that_is_a_shadow_is_a_loop() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    let request = b"GET / HTTP/1.1\r\nHost: httpbin\r\nX-Understudy-Shadow: true\r\n\r\n";
    from_v1(&theatre.ask(request)?)?;
    ensure!(theatre.v1.recorder.requests()[0].head == request);
    theatre.outcomes(&[("loop", 1)])?;
    reached(&theatre, 1, 0)
}

/// Fails if a rule without mirror has candidates.
fn a_rule_without_mirror_counts_nothing() -> Result<()> {
    let theatre = Setting::new(ROUTE).start()?;
    for _ in 0..5 {
        theatre.ask_v1()?;
    }
    let view = theatre.outcomes(&[])?;
    ensure!(whole(view.sum("understudy_requests_total", &[("code", "2xx")])) == 5, "primaries are not counted");
    reached(&theatre, 5, 0)
}
