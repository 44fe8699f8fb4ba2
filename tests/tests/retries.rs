//! What a primary does when its endpoint fails, and that its shadows neither multiply nor survive it; what references do that come late and go.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use integration::{
    Script, case, harness,
    manifests::{self, documents},
    theatre::{ANSWER, GET, MIRROR, NEEDS, PORT, Setting, Theatre, from_v1, noise, rules, service, subsets},
    wire::Wire,
};

fn main() -> ExitCode {
    harness::main_both_ways(&[
        case!(a_request_that_met_a_dead_connection_has_one_shadow).needs(NEEDS),
        case!(a_primary_that_breaks_during_the_upload_takes_its_shadow_along).needs(NEEDS),
        case!(an_endpoint_that_refuses_is_passed_over).needs(NEEDS),
        case!(a_subset_may_be_defined_later_and_go_again).needs(NEEDS),
    ])
}

/// v1's answer as bytes.
fn one() -> Vec<u8> {
    [ANSWER.0, ANSWER.1].concat().into_bytes()
}

/// Fails if shadows start with each try of the primary, or if a GET that found its pooled connection dead is not sent again.
fn a_request_that_met_a_dead_connection_has_one_shadow() -> Result<()> {
    let theatre = Setting::new(MIRROR).v1_port_free().start()?;
    let v1 = Script::start(theatre.v1.pod.netns(), theatre.v1.address(PORT), |mut wire| {
        wire.head()?;
        wire.send(&one())?;
        // Closes on the next request without a word: it may have been closed while the request was on its way.
        wire.head()?;
        Ok(())
    })?;
    let mut wire = theatre.dial()?;
    for _ in 0..4 {
        from_v1(&wire.exchange(GET)?)?;
    }
    ensure!(v1.accepted() == 4, "{} connections: was any request sent again?", v1.accepted());
    theatre.outcomes(&[("answered", 4)])?;
    ensure!(theatre.v2.recorder.count() == 4, "{} shadows of four requests", theatre.v2.recorder.count());
    Ok(())
}

/// Fails if the shadow of a request that never became whole is counted as anything but cancelled, or reaches v2 as if it were whole.
fn a_primary_that_breaks_during_the_upload_takes_its_shadow_along() -> Result<()> {
    let theatre = Setting::new(MIRROR).v1_port_free().start()?;
    let _v1 = Script::start(theatre.v1.pod.netns(), theatre.v1.address(PORT), |mut wire| {
        wire.head()?;
        wire.take(1000)?;
        wire.reset()
    })?;
    let mut wire = theatre.dial()?;
    wire.send(b"POST /half HTTP/1.1\r\nHost: httpbin\r\nContent-Length: 1000000\r\n\r\n")?;
    wire.send(&noise(1000))?;
    let answer = wire.answer()?;
    ensure!(answer.status == 503, "{answer:?}");
    drop(wire);
    theatre.outcomes(&[("cancelled", 1)])?;
    ensure!(theatre.v2.recorder.count() == 0, "half a request counts as one at v2");
    Ok(())
}

/// Fails if a refused connection is not followed by another endpoint, or if the refused try has a shadow of its own.
fn an_endpoint_that_refuses_is_passed_over() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    let deaf = theatre.node.pod("httpbin-v1-down").label("app", "httpbin").label("version", "v1").start()?;
    theatre.agent.changed(|| theatre.manifests.apply("down.yaml", &manifests::pod(&deaf, "mirror", false)))?;
    const REQUESTS: usize = 40;
    for _ in 0..REQUESTS {
        theatre.ask_v1()?;
    }
    ensure!(theatre.v1.recorder.count() == REQUESTS);
    theatre.outcomes(&[("answered", REQUESTS)])?;
    ensure!(theatre.v2.recorder.count() == REQUESTS, "{} shadows", theatre.v2.recorder.count());
    Ok(())
}

/// Fails if a DestinationRule that is applied after its VirtualService, or deleted before it, is only seen when the VirtualService changes.
fn a_subset_may_be_defined_later_and_go_again() -> Result<()> {
    let late = "10.96.0.40:8000".parse()?;
    let theatre = Theatre::mirroring()?;
    theatre.node.cluster_ip(late, &[theatre.native.address(PORT)])?;
    let ruled = rules(
        "late",
        "  - route: [{destination: {host: httpbin, subset: v1}}]\n    mirror: {host: late, subset: v2}\n",
    );
    let objects = documents(&[service("late", late, Some("http"), PORT), ruled]);
    theatre.agent.changed(|| theatre.manifests.apply("late.yaml", &objects))?;
    let ask = || {
        from_v1(
            &Wire::connect(&theatre.client, late)?.exchange(b"GET / HTTP/1.1\r\nHost: late\r\nAccept: */*\r\n\r\n")?,
        )
    };
    ask()?;
    theatre.outcomes(&[("unknown_destination", 1)])?;
    theatre.agent.changed(|| theatre.manifests.apply("late-subsets.yaml", &subsets("late")))?;
    ask()?;
    theatre.outcomes(&[("unknown_destination", 1), ("answered", 1)])?;
    theatre.agent.changed(|| theatre.manifests.delete("late-subsets.yaml"))?;
    ask()?;
    theatre.outcomes(&[("unknown_destination", 2), ("answered", 1)])?;
    Ok(())
}
