//! What rules do to requests over HTTP/2: the same as over HTTP/1.

use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use h2::Reason;
use integration::{
    Theatre, case, harness,
    http2::{Client, Server, fields, request, run, send},
    theatre::{NEEDS, PORT, Setting, VIP},
};

fn main() -> ExitCode {
    harness::main(&[
        case!(rewrites_and_fields_reach_v1_and_the_shadow).needs(NEEDS),
        case!(our_own_answers).needs(NEEDS),
        case!(a_timeout_resets_the_primary_alone).needs(NEEDS),
        case!(as_many_further_tries_as_the_rule_says).needs(NEEDS),
    ])
}

const URI: &str = "http://httpbin:8000/special/a?q=1";
const MIRRORED: &str =
    "    route: [{destination: {host: httpbin, subset: v1}}]\n    mirror: {host: httpbin, subset: v2}\n";

/// v1 and v2 over HTTP/2, and a rule for `/special`; everything else goes to v1 without a shadow.
fn stage(rule: &str) -> Result<Theatre> {
    Setting::new(&format!(
        "  - match: [{{uri: {{prefix: /special}}}}]\n{rule}  - route: [{{destination: {{host: httpbin, subset: v1}}}}]\n"
    ))
    .v1_port_free()
    .v2_port_free()
    .start()
}

fn v2(theatre: &Theatre) -> Result<Server> {
    Server::answering(theatre.v2.pod.netns(), theatre.v2.address(PORT), "two")
}

/// Fails if the path, the authority or a field is changed for one of the two alone, or twice, or if other requests are changed as well.
fn rewrites_and_fields_reach_v1_and_the_shadow() -> Result<()> {
    let theatre = stage(&format!(
        "    rewrite: {{uri: /inner, authority: \"inner.example:81\"}}\n\
         \x20   headers: {{request: {{set: {{x-set: new}}, add: {{x-added: \"1\"}}, remove: [x-gone]}},\n\
         \x20             response: {{set: {{x-answer: ours}}, remove: [server]}}}}\n{MIRRORED}"
    ))?;
    let v1 = Server::start(theatre.v1.pod.netns(), theatre.v1.address(PORT), |mut call, body| async move {
        let _ = call.read(body).await;
        let mut answer = call.begin(fields(&[("server", "v1"), ("x-answer", "theirs"), ("x-kept", "1")]))?;
        send(&mut answer, "one".into(), true).await
    })?;
    let v2 = v2(&theatre)?;
    run(async {
        let client = Client::connect(&theatre.client, VIP).await?;
        for (i, body) in ["", "hello"].into_iter().enumerate() {
            let mut special = request("POST", URI);
            *special.headers_mut() = fields(&[("x-gone", "1"), ("x-set", "old"), ("x-last", "1")]);
            let (head, _) = client.ask(special, body).await?;
            ensure!(head.headers == fields(&[("x-answer", "ours"), ("x-kept", "1")]), "{head:?}");
            let seen = v1.wait_for(i + 1).await?.remove(i);
            let changed = fields(&[("x-set", "new"), ("x-last", "1"), ("x-added", "1")]);
            ensure!(seen.head.uri == "http://inner.example:81/inner/a?q=1", "{:?}", seen.head.uri);
            let but_host = |head: &http::request::Parts| {
                let mut headers = head.headers.clone();
                let host = headers.remove(http::header::HOST);
                (headers, host)
            };
            let (got, host) = but_host(&seen.head);
            ensure!(got == changed && host.is_none_or(|host| host == "inner.example:81"), "{:?}", seen.head.headers);
            let shadow = v2.wait_for(i + 1).await?.remove(i);
            ensure!(shadow.head.uri == "http://inner.example-shadow:81/inner/a?q=1", "{:?}", shadow.head.uri);
            let (mut got, host) = but_host(&shadow.head);
            ensure!(got.remove("x-understudy-shadow").is_some_and(|marker| marker == "true"));
            ensure!(got == changed && host.is_none_or(|host| host == "inner.example-shadow:81"), "{:?}", shadow.head);
            ensure!(seen.message.body == body.as_bytes() && shadow.message.body == body.as_bytes());
        }
        let (head, _) = client.ask(request("GET", "http://httpbin:8000/other"), "").await?;
        ensure!(head.headers["server"] == "v1" && head.headers["x-answer"] == "theirs");
        let seen = v1.wait_for(3).await?.remove(2);
        ensure!(seen.head.uri == "http://httpbin:8000/other" && seen.head.headers.is_empty(), "{seen:?}");
        Ok(())
    })?;
    theatre.outcomes(&[("answered", 2)])?;
    Ok(())
}

/// Fails if what a rule answers by itself reaches a version, or looks otherwise than over HTTP/1.
fn our_own_answers() -> Result<()> {
    for (rule, status, location, text) in [
        ("redirect: {uri: /new, authority: example.org, redirectCode: 308}", 308, "http://example.org/new?q=1", ""),
        ("directResponse: {status: 418, body: {string: short and stout}}", 418, "", "short and stout"),
    ] {
        let theatre = stage(&format!("    {rule}\n    mirror: {{host: httpbin, subset: v2}}\n"))?;
        let (v1, v2) = (Server::answering(theatre.v1.pod.netns(), theatre.v1.address(PORT), "one")?, v2(&theatre)?);
        run(async {
            let client = Client::connect(&theatre.client, VIP).await?;
            for body in ["", "hello"] {
                let (head, answer) = client.ask(request("POST", URI), body).await?;
                ensure!(head.status == status && answer.body == text.as_bytes(), "{head:?} {answer:?}");
                let got = head.headers.get("location").map_or(&b""[..], |value| value.as_bytes());
                ensure!(got == location.as_bytes(), "{head:?}");
            }
            ensure!(client.ask(request("GET", "http://httpbin:8000/other"), "").await?.1.body == b"one");
            ensure!((v1.heads(), v2.heads()) == (1, 0));
            Ok(())
        })?;
        theatre.outcomes(&[("not_mirrorable", 2)])?;
    }
    Ok(())
}

/// Fails if the primary's stream lives on after its time, if it is no 504, or if the shadow ends with it.
fn a_timeout_resets_the_primary_alone() -> Result<()> {
    let theatre = stage(&format!("    timeout: 300ms\n{MIRRORED}"))?;
    let v1 = Server::start(theatre.v1.pod.netns(), theatre.v1.address(PORT), |mut call, _body| async move {
        if call.head.uri.path() == "/other" {
            return call.answer("one").await;
        }
        let code = std::future::poll_fn(|cx| call.respond.poll_reset(cx)).await?;
        call.reset_by(code);
        Ok(())
    })?;
    let go_on = std::sync::Arc::new(tokio::sync::Notify::new());
    let v2 = Server::start(theatre.v2.pod.netns(), theatre.v2.address(PORT), {
        let go_on = std::sync::Arc::clone(&go_on);
        move |mut call, body| {
            let go_on = std::sync::Arc::clone(&go_on);
            async move {
                let _ = call.read(body).await;
                go_on.notified().await;
                call.answer("two").await
            }
        }
    })?;
    run(async {
        let client = Client::connect(&theatre.client, VIP).await?;
        let (head, _) = client.ask(request("GET", URI), "").await?;
        ensure!(head.status == 504, "{head:?}");
        ensure!(v1.wait_for(1).await?[0].reset == Some(Reason::CANCEL));
        v2.wait_for(1).await?;
        go_on.notify_one();
        ensure!(client.ask(request("GET", "http://httpbin:8000/other"), "").await?.1.body == b"one");
        Ok(())
    })?;
    theatre.outcomes(&[("answered", 1)])?;
    Ok(())
}

/// Fails if `retries.attempts` counts for connections alone, or if a stream that is refused to the end has a shadow for each try.
fn as_many_further_tries_as_the_rule_says() -> Result<()> {
    for attempts in [0, 1, 4] {
        let theatre = stage(&format!("    retries: {{attempts: {attempts}}}\n{MIRRORED}"))?;
        let v1 = Server::start(theatre.v1.pod.netns(), theatre.v1.address(PORT), |mut call, _body| async move {
            call.respond.send_reset(Reason::REFUSED_STREAM);
            Ok(())
        })?;
        let v2 = v2(&theatre)?;
        run(async {
            let client = Client::connect(&theatre.client, VIP).await?;
            let (response, _) = client.open(request("GET", URI), true).await?;
            let error = response.await.err().context("an answer")?;
            ensure!(error.reason() == Some(Reason::REFUSED_STREAM), "{error:?}");
            ensure!(v1.heads() == attempts + 1, "{} tries", v1.heads());
            v2.wait_for(1).await?;
            Ok(())
        })?;
        theatre.outcomes(&[("answered", 1)])?;
        ensure!(v2.heads() == 1, "{} shadows", v2.heads());
    }
    Ok(())
}
