//! Several weighted destinations with operations of their own: each request has those of the one that was chosen, and so have its shadow and its
//! answer.

use std::{collections::HashMap, process::ExitCode};

use anyhow::{Context as _, Result, ensure};
use integration::{
    Recorder, case, harness,
    theatre::{NEEDS, Setting},
};

fn main() -> ExitCode {
    harness::main(&[case!(a_shadow_shows_which_destination_was_chosen).needs(NEEDS)])
}

const REQUESTS: usize = 60;

/// What stands in a field of each request, by path.
fn by_path(recorder: &Recorder, name: &str) -> HashMap<String, Option<String>> {
    let requests = recorder.requests();
    requests.iter().map(|request| (request.request_line(), request.header(name))).collect()
}

/// R5. Fails if a shadow has the operations of the rule alone, of the first destination, or of another one than was chosen; if they are done to other
/// destinations' requests or answers; or if a destination without weight is chosen.
fn a_shadow_shows_which_destination_was_chosen() -> Result<()> {
    let theatre = Setting::new(
        "  - route:\n\
         \x20   - {destination: {host: httpbin, subset: v1}, weight: 50,\n\
         \x20      headers: {request: {set: {x-who: one, x-same: one}, remove: [x-for-three]}, response: {add: {x-by: one}}}}\n\
         \x20   - {destination: {host: httpbin, subset: v3}, weight: 50,\n\
         \x20      headers: {request: {set: {x-who: three, x-same: three}, remove: [x-for-one]}, response: {add: {x-by: three}}}}\n\
         \x20   - {destination: {host: httpbin, subset: v2}, weight: 0, headers: {request: {set: {x-who: none}}}}\n\
         \x20   headers: {request: {set: {x-same: rule}}}\n\
         \x20   mirror: {host: httpbin, subset: v2}\n",
    )
    .start()?;
    let mut wire = theatre.dial()?;
    for i in 0..REQUESTS {
        let request = format!("GET /{i} HTTP/1.1\r\nHost: httpbin\r\nX-For-One: 1\r\nX-For-Three: 1\r\n\r\n");
        let answer = wire.exchange(request.as_bytes())?;
        let by = match answer.text().as_str() {
            "one" => "x-by: one\r\n",
            "native" => "x-by: three\r\n",
            other => anyhow::bail!("{other} has answered"),
        };
        ensure!(answer.head.contains(by) && answer.head.matches("x-by").count() == 1, "{}", answer.head);
    }
    theatre.outcomes(&[("answered", REQUESTS)])?;
    let shadows = theatre.v2.recorder.wait_for(REQUESTS)?;
    ensure!(shadows.len() == REQUESTS, "{} requests at v2", shadows.len());
    for (name, one, three) in [
        ("x-who", Some("one"), Some("three")),
        // The rule has the last word, as in Envoy.
        ("x-same", Some("rule"), Some("rule")),
        ("x-for-one", Some("1"), None),
        ("x-for-three", None, Some("1")),
    ] {
        let shadows = by_path(&theatre.v2.recorder, name);
        for (recorder, wanted) in [(&theatre.v1.recorder, one), (&theatre.native.recorder, three)] {
            let primaries = by_path(recorder, name);
            ensure!(primaries.len() > REQUESTS / 6, "only {} of {REQUESTS} came", primaries.len());
            for (path, value) in primaries {
                ensure!(value.as_deref() == wanted, "{path}: {name} is {value:?}");
                let shadow = shadows.get(&path).with_context(|| format!("{path} has no shadow"))?;
                ensure!(shadow.as_deref() == wanted, "the shadow of {path}: {name} is {shadow:?}");
            }
        }
    }
    Ok(())
}
