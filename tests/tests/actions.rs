//! What a rule does to its requests on the way, on the wire: what v1 and v2 get of them, what the client gets back, and what we answer ourselves.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use integration::{
    Behaviour, Theatre, case, harness,
    http::Answer,
    manifests,
    theatre::{ANSWER, GET, NEEDS, Setting, from_v1},
    wire::Wire,
};

fn main() -> ExitCode {
    harness::main(&[
        case!(a_rewritten_prefix_keeps_the_rest_and_the_query).needs(NEEDS),
        case!(a_pattern_rewrites_the_path_and_never_the_query).needs(NEEDS),
        case!(a_rewritten_host_is_the_shadows_too).needs(NEEDS),
        case!(request_fields_are_removed_set_and_added_once).needs(NEEDS),
        case!(answer_fields_are_changed_for_the_client).needs(NEEDS),
        case!(a_redirected_request_is_not_sent_on).needs(NEEDS),
        case!(a_direct_answer_leaves_its_connection_open).needs(NEEDS),
        case!(a_long_upload_to_a_direct_answer_is_read_to_its_end).needs(NEEDS),
        case!(a_timeout_ends_the_primary_alone).needs(NEEDS),
        case!(a_timeout_waits_for_the_request_and_not_for_the_answers_end).needs(NEEDS),
        case!(without_further_tries_a_refused_request_fails).needs(NEEDS),
        case!(rules_look_at_who_asks).needs(NEEDS),
    ])
}

/// v1 and the shadow at v2, less what a rule says besides.
const MIRRORED: &str =
    "    route: [{destination: {host: httpbin, subset: v1}}]\n    mirror: {host: httpbin, subset: v2}\n";

/// Rules of which `special` is the first, for paths below `/special`; everything else goes to v1 and is mirrored.
fn special(rule: &str) -> Setting {
    Setting::new(&format!("  - match: [{{uri: {{prefix: /special}}}}]\n{rule}  - name: rest\n{}", MIRRORED))
}

/// What a shadow of this head looks like at v2, once its Host is `host`.
fn shadow_of(head: &str, primary_host: &str, host: &str) -> String {
    let head = head.replace(&format!(": {primary_host}\r\n"), &format!(": {host}\r\n"));
    format!("{}\r\nx-understudy-shadow: true\r\n\r\n", head.trim_end_matches("\r\n"))
}

/// Sends a request; v1 must get exactly `head`, v2 the same with its suffix and marker, both the body, and both once.
fn arrives(theatre: &Theatre, wire: &mut Wire, request: &str, head: &str, hosts: (&str, &str)) -> Result<()> {
    let seen = theatre.v1.recorder.count();
    let body = request.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    from_v1(&wire.exchange(request.as_bytes())?)?;
    let v1 = theatre.v1.recorder.wait_for(seen + 1)?;
    let v2 = theatre.v2.recorder.wait_for(seen + 1)?;
    ensure!((v1.len(), v2.len()) == (seen + 1, seen + 1), "{} at v1, {} at v2", v1.len(), v2.len());
    let (v1, v2) = (&v1[seen], &v2[seen]);
    ensure!(v1.head_text() == head, "v1 got\n{:?}, not\n{head:?}", v1.head_text());
    let shadow = shadow_of(head, hosts.0, hosts.1);
    ensure!(v2.head_text() == shadow, "v2 got\n{:?}, not\n{shadow:?}", v2.head_text());
    ensure!(v1.body == body.as_bytes() && v2.body == body.as_bytes(), "{request:?}: another body");
    Ok(())
}

const HOSTS: (&str, &str) = ("httpbin:8000", "httpbin-shadow:8000");

/// Fails if the prefix that was matched is not the one that is replaced, if the query is lost, or if the shadow keeps the client's path.
fn a_rewritten_prefix_keeps_the_rest_and_the_query() -> Result<()> {
    let theatre = special(&format!("    rewrite: {{uri: /inner}}\n{MIRRORED}")).start()?;
    let mut wire = theatre.dial()?;
    for (target, wanted) in [
        ("/special/a?b=c&&d=%2F", "/inner/a?b=c&&d=%2F"),
        ("/special?x=/special", "/inner?x=/special"),
        ("/special", "/inner"),
        ("http://httpbin:8000/special/%20?q", "http://httpbin:8000/inner/%20?q"),
        ("/rest/special?x", "/rest/special?x"),
    ] {
        let request = |target| format!("GET {target} HTTP/1.1\r\nHoST: httpbin:8000\r\nX-CaSe: 1\r\n\r\n");
        if target.starts_with('/') {
            arrives(&theatre, &mut wire, &request(target), &request(wanted), HOSTS)?;
        } else {
            let seen = theatre.v1.recorder.count();
            from_v1(&wire.exchange(request(target).as_bytes())?)?;
            let v1 = theatre.v1.recorder.requests().split_off(seen);
            ensure!(v1.len() == 1 && v1[0].head_text() == request(wanted), "{v1:?}");
            theatre.v2.recorder.wait_for(seen + 1)?;
        }
    }
    theatre.outcomes(&[("answered", 5)])?;
    theatre.control(b"GET /special/a HTTP/1.1\r\nHost: httpbin:8000\r\n\r\n")?;
    Ok(())
}

/// Fails if groups are lost or misplaced, if only the first match is replaced, if the query is looked at, or if the shadow keeps the client's path.
fn a_pattern_rewrites_the_path_and_never_the_query() -> Result<()> {
    let rule = r"    rewrite: {uriRegexRewrite: {match: '/([a-z]+)-([0-9]+)', rewrite: '/\2/\1'}}";
    let theatre = special(&format!("{rule}\n{MIRRORED}")).start()?;
    let mut wire = theatre.dial()?;
    for (target, wanted) in [
        ("/special/user-17?x=/user-18", "/special/17/user?x=/user-18"),
        ("/special/a-1/b-2", "/special/1/a/2/b"),
        ("/special/none", "/special/none"),
        ("/rest/user-17", "/rest/user-17"),
    ] {
        let request = |target| format!("GET {target} HTTP/1.1\r\nHoST: httpbin:8000\r\nX-CaSe: 1\r\n\r\n");
        arrives(&theatre, &mut wire, &request(target), &request(wanted), HOSTS)?;
    }
    theatre.outcomes(&[("answered", 4)])?;
    Ok(())
}

/// Fails if the shadow's Host is made of the client's instead of the rewritten one.
fn a_rewritten_host_is_the_shadows_too() -> Result<()> {
    let theatre = special(&format!("    rewrite: {{authority: \"inner.example:81\"}}\n{MIRRORED}")).start()?;
    let mut wire = theatre.dial()?;
    let (to, rewritten) = ("httpbin:8000", "inner.example:81");
    for body in ["", "Content-Length: 5\r\nX-After: 1\r\n\r\nhello"] {
        let request = |host| {
            let method = if body.is_empty() { "GET" } else { "POST" };
            let rest = if body.is_empty() { "\r\n" } else { body };
            format!("{method} /special?q HTTP/1.1\r\nX-First: 1\r\nHoST: {host}\r\n{rest}")
        };
        let wanted = request(rewritten).trim_end_matches("hello").to_owned();
        arrives(&theatre, &mut wire, &request(to), &wanted, (rewritten, "inner.example-shadow:81"))?;
    }
    theatre.outcomes(&[("answered", 2)])?;
    Ok(())
}

/// Fails if an operation reaches v1 alone or twice, if it runs again on the shadow, or if it disturbs the fields that it does not name.
fn request_fields_are_removed_set_and_added_once() -> Result<()> {
    let theatre = Setting::new(
        "  - route:\n    - destination: {host: httpbin, subset: v1}\n\
         \x20     headers: {request: {add: {x-added: there, x-there: \"1\"}, remove: [x-gone-there]}}\n\
         \x20   headers: {request: {set: {x-set: new, x-fresh: \"2\"}, add: {x-added: here}, remove: [X-Gone]}}\n\
         \x20   mirror: {host: httpbin, subset: v2}\n",
    )
    .start()?;
    let mut wire = theatre.dial()?;
    let fields =
        "X-First: 1\r\nX-GoNe: a\r\nX-SeT: old\r\nx-GONE: b\r\nX-Gone-There: c\r\nACCEPT: */*\r\nX-Last: 1\r\n";
    let kept = "X-First: 1\r\nX-SeT: new\r\nACCEPT: */*\r\nX-Last: 1\r\n";
    let added = "x-fresh: 2\r\nx-added: here\r\nx-added: there\r\nx-there: 1\r\n";
    for (method, length, body) in [("GET", "", ""), ("POST", "Content-Length: 5\r\n", "hello")] {
        let request = format!("{method} /a?b HTTP/1.1\r\nHoST: httpbin:8000\r\n{length}{fields}\r\n{body}");
        let wanted = format!("{method} /a?b HTTP/1.1\r\nHoST: httpbin:8000\r\n{length}{kept}{added}\r\n");
        arrives(&theatre, &mut wire, &request, &wanted, HOSTS)?;
    }
    theatre.outcomes(&[("answered", 2)])?;
    Ok(())
}

/// Fails if operations on answers are left out, are done to the request, or lose other fields' letter case and order.
fn answer_fields_are_changed_for_the_client() -> Result<()> {
    let answer =
        "HTTP/1.1 201 Made\r\nX-OnE: 1\r\nSeRvEr: v1\r\nX-SeT: old\r\nContent-LENGTH: 3\r\nX-Two: 2\r\n\r\none";
    let theatre = Setting::new(
        "  - route:\n    - destination: {host: httpbin, subset: v1}\n\
         \x20     headers: {response: {add: {x-from: v1}}}\n\
         \x20   headers: {response: {remove: [server], set: {x-set: new}}}\n    mirror: {host: httpbin, subset: v2}\n",
    )
    .v1(Behaviour::Raw(answer.into()))
    .start()?;
    let got = theatre.ask(GET)?;
    let wanted = "HTTP/1.1 201 Made\r\nX-OnE: 1\r\nX-SeT: new\r\nContent-LENGTH: 3\r\nX-Two: 2\r\nx-from: v1\r\n\r\n";
    ensure!((got.head.as_str(), got.text().as_str()) == (wanted, "one"), "{got:?}");
    ensure!(theatre.v1.recorder.requests()[0].head == GET);
    theatre.outcomes(&[("answered", 1)])?;
    Ok(())
}

/// Is this the rule's answer, byte for byte? Its date alone is as it likes.
fn ours(answer: &Answer, head: &str, body: &str) -> Result<()> {
    let mut lines: Vec<_> = answer.head.split_inclusive("\r\n").collect();
    lines.retain(|line| !line.to_ascii_lowercase().starts_with("date: "));
    ensure!((lines.concat().as_str(), answer.text().as_str()) == (head, body), "{answer:?}");
    Ok(())
}

/// Fails if a redirected request reaches a version, is counted as anything but not mirrorable, or loses its query.
fn a_redirected_request_is_not_sent_on() -> Result<()> {
    let theatre = special(
        "    redirect: {uri: /new, authority: example.org, redirectCode: 308}\n    mirror: {host: httpbin, subset: v2}\n",
    )
    .start()?;
    let mut wire = theatre.dial()?;
    let head = "HTTP/1.1 308 Permanent Redirect\r\nlocation: http://example.org/new?q=1\r\ncontent-length: 0\r\n\r\n";
    for request in [
        "GET /special?q=1 HTTP/1.1\r\nHost: httpbin:8000\r\n\r\n",
        "POST /special?q=1 HTTP/1.1\r\nHost: httpbin:8000\r\nContent-Length: 5\r\n\r\nhello",
    ] {
        ours(&wire.exchange(request.as_bytes())?, head, "")?;
    }
    from_v1(&wire.exchange(GET)?)?;
    ensure!(theatre.v1.recorder.count() == 1, "a redirected request was sent on");
    theatre.outcomes(&[("not_mirrorable", 2), ("answered", 1)])?;
    ensure!(theatre.v2.recorder.count() == 1, "a redirected request was mirrored");
    Ok(())
}

const TEAPOT: &str = "    directResponse: {status: 418, body: {string: short and stout}}\n\
                      \x20   headers: {response: {set: {x-pot: \"1\"}}}\n    mirror: {host: httpbin, subset: v2}\n";
const STOUT: (&str, &str) = (
    "HTTP/1.1 418 I'm a teapot\r\ncontent-type: text/plain\r\nx-pot: 1\r\ncontent-length: 15\r\n\r\n",
    "short and stout",
);

/// Fails if the connection is closed after an answer of our own, or if a body that nobody reads is taken for the next request.
fn a_direct_answer_leaves_its_connection_open() -> Result<()> {
    let theatre = special(TEAPOT).start()?;
    let mut wire = theatre.dial()?;
    for request in [
        "GET /special HTTP/1.1\r\nHost: httpbin:8000\r\n\r\n",
        "POST /special HTTP/1.1\r\nHost: httpbin:8000\r\nContent-Length: 5\r\n\r\nhello",
        "PUT /special HTTP/1.1\r\nHost: httpbin:8000\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ] {
        ours(&wire.exchange(request.as_bytes())?, STOUT.0, STOUT.1)?;
        from_v1(&wire.exchange(GET)?)?;
    }
    theatre.outcomes(&[("not_mirrorable", 3), ("answered", 3)])?;
    ensure!((theatre.v1.recorder.count(), theatre.v2.recorder.count()) == (3, 3));
    Ok(())
}

/// Fails if the body of a request that we answer is left unread: its client would be reset in the middle of it and never see the answer.
fn a_long_upload_to_a_direct_answer_is_read_to_its_end() -> Result<()> {
    let theatre = special(TEAPOT).start()?;
    let mut wire = theatre.dial()?;
    let body = "x".repeat(4 << 20);
    let head = format!("POST /special HTTP/1.1\r\nHost: httpbin:8000\r\nContent-Length: {}\r\n\r\n", body.len());
    wire.send(head.as_bytes())?;
    wire.send(body.as_bytes())?;
    ours(&wire.answer()?, STOUT.0, STOUT.1)?;
    from_v1(&wire.exchange(GET)?)?;
    // A client that asks first is told at once, and keeps its body.
    let waits = b"POST /special HTTP/1.1\r\nHost: httpbin:8000\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    ours(&theatre.ask(waits)?, STOUT.0, STOUT.1)?;
    theatre.outcomes(&[("not_mirrorable", 2), ("answered", 1)])?;
    Ok(())
}

/// Fails if the end of the primary's time is the end of the shadow, or if it is answered as another fault.
fn a_timeout_ends_the_primary_alone() -> Result<()> {
    let theatre = special(&format!("    timeout: 1s\n{MIRRORED}")).v1(Behaviour::Hang).start()?;
    let mut wire = theatre.dial()?;
    for request in [
        "GET /special HTTP/1.1\r\nHost: httpbin:8000\r\n\r\n",
        "POST /special HTTP/1.1\r\nHost: httpbin:8000\r\nContent-Length: 5\r\n\r\nhello",
    ] {
        let answer = wire.exchange(request.as_bytes())?;
        ensure!(answer.status == 504, "{answer:?}");
        ensure!(answer.text().starts_with("upstream request timeout"), "{answer:?}");
    }
    theatre.outcomes(&[("answered", 2)])?;
    ensure!((theatre.v1.recorder.count(), theatre.v2.recorder.count()) == (2, 2));
    theatre.v1.recorder.behave(Behaviour::Ok(ANSWER.1.into()));
    from_v1(&wire.exchange(GET)?)?;
    theatre.outcomes(&[("answered", 3)])?;
    Ok(())
}

/// Fails if a rule's time runs while the client still uploads, or if an answer that has begun may take as long as it likes: then the client waits for ever.
fn a_timeout_waits_for_the_request_and_not_for_the_answers_end() -> Result<()> {
    let theatre = special(&format!("    timeout: 1s\n{MIRRORED}")).start()?;
    let mut wire = theatre.dial()?;
    wire.send(b"POST /special HTTP/1.1\r\nHost: httpbin:8000\r\nContent-Length: 2\r\n\r\na")?;
    // As long as it takes the other connection's request to run out of time.
    theatre.v1.recorder.behave(Behaviour::Hang);
    ensure!(theatre.ask(b"GET /special HTTP/1.1\r\nHost: httpbin:8000\r\n\r\n")?.status == 504);
    theatre.v1.recorder.behave(Behaviour::Ok(ANSWER.1.into()));
    wire.send(b"b")?;
    from_v1(&wire.answer()?)?;
    // Half of an answer is no answer: the client's connection breaks, as the endpoint's would.
    theatre.v1.recorder.behave(Behaviour::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhal".into()));
    wire.send(b"GET /special HTTP/1.1\r\nHost: httpbin:8000\r\n\r\n")?;
    ensure!(wire.head()?.starts_with("HTTP/1.1 200 OK\r\n"));
    ensure!(wire.rest().is_err(), "half of an answer, and then an orderly end");
    let view = theatre.outcomes(&[("answered", 3)])?;
    ensure!(view.sum("understudy_faults_total", &[("kind", "answer_timeout")]) == 2.0, "two faults are due");
    Ok(())
}

/// Fails if `attempts: 0` is taken for the default: half of the endpoints refuse, and each request that chose one of them would go to the other.
fn without_further_tries_a_refused_request_fails() -> Result<()> {
    let theatre = special(&format!("    retries: {{attempts: 0}}\n{MIRRORED}")).start()?;
    let deaf = theatre.node.pod("httpbin-v1-down").label("app", "httpbin").label("version", "v1").start()?;
    theatre.agent.changed(|| theatre.manifests.apply("down.yaml", &manifests::pod(&deaf, "mirror", false)))?;
    const REQUESTS: usize = 60;
    let (mut refused, mut wire) = (0, theatre.dial()?);
    for _ in 0..REQUESTS {
        let answer = wire.exchange(b"GET /special HTTP/1.1\r\nHost: httpbin:8000\r\n\r\n")?;
        if answer.status == 503 {
            ensure!(answer.text().starts_with("upstream connect error"), "{answer:?}");
            refused += 1;
        } else {
            from_v1(&answer)?;
        }
    }
    ensure!(refused > 0, "all of {REQUESTS} requests found the endpoint that accepts");
    ensure!(theatre.v1.recorder.count() == REQUESTS - refused);
    theatre.outcomes(&[("answered", REQUESTS - refused), ("not_mirrorable", refused)])?;
    Ok(())
}

/// Fails if a client's labels or namespace are not known where rules are chosen, or if they are not compared.
fn rules_look_at_who_asks() -> Result<()> {
    let rule = |condition: &str| {
        format!(
            "  - match: [{{{condition}}}]\n    directResponse: {{status: 200, body: {{string: known}}}}\n  - name: rest\n{MIRRORED}"
        )
    };
    let theatre = Setting::new(&rule("sourceLabels: {app: client}")).start()?;
    for (condition, fits) in [
        ("sourceLabels: {app: client}", true),
        ("sourceLabels: {app: other}", false),
        ("sourceLabels: {app: client, tier: web}", false),
        ("sourceNamespace: mirror", true),
        ("sourceNamespace: elsewhere", false),
        ("sourceNamespace: mirror, sourceLabels: {app: client}", true),
        ("sourceNamespace: elsewhere, sourceLabels: {app: client}", false),
    ] {
        if condition != "sourceLabels: {app: client}" {
            theatre.rule(&rule(condition))?;
        }
        let answer = theatre.ask(GET)?;
        if fits {
            ensure!(answer.text() == "known", "{condition}: {answer:?}");
        } else {
            from_v1(&answer)?;
        }
    }
    theatre.outcomes(&[("answered", 4)])?;
    ensure!(theatre.v1.recorder.count() == 4);
    Ok(())
}
