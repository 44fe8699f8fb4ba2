//! The Host of a shadow, beyond names (`policies`): addresses of IPv6 in brackets, empty ports, HTTP/1.0, hosts that the rule has rewritten; with
//! the suffix and without.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use integration::{
    Theatre, Wire, case, harness,
    theatre::{MIRROR, NEEDS, PORT, Setting, from_v1, rules, service},
};

fn main() -> ExitCode {
    harness::main(&[
        case!(an_address_keeps_its_brackets_and_its_port).needs(NEEDS),
        case!(a_rewritten_host_is_the_one_that_gets_the_suffix).needs(NEEDS),
        case!(an_old_client_has_its_host).needs(NEEDS),
    ])
}

/// A second service, of both families; the pods have IPv4 alone.
const VIPS: (&str, &str) = ("10.96.0.40", "fd00:10:96::40");

fn stage(suffix: &str, http: &str) -> Result<Theatre> {
    let both = service("both", format!("{}:8000", VIPS.0).parse()?, Some("http"), PORT)
        .replace(&format!("clusterIPs: [{}]", VIPS.0), &format!("clusterIPs: [{}, \"{}\"]", VIPS.0, VIPS.1));
    ensure!(both.contains(VIPS.1), "the manifest is written otherwise");
    Setting::new(MIRROR).args(&["--shadow-host-suffix", suffix]).objects(both).objects(rules("both", http)).start()
}

/// Sends requests with these Hosts; v1 and v2 must get these.
fn arrive(suffix: &str, http: &str, rows: &[(&str, &str, &str)]) -> Result<()> {
    let theatre = stage(suffix, http)?;
    let mut wire = Wire::connect(&theatre.client, format!("{}:8000", VIPS.0).parse()?)?;
    let mut number = 0;
    for (sent, at_v1, at_v2) in rows {
        for rest in ["GET / HTTP/1.1", "POST / HTTP/1.1\r\nContent-Length: 0", "BREW / HTTP/1.1"] {
            from_v1(&wire.exchange(format!("{rest}\r\nHost: {sent}\r\n\r\n").as_bytes())?)?;
            number += 1;
            let primary = theatre.v1.recorder.wait_for(number)?.remove(number - 1);
            let shadow = theatre.v2.recorder.wait_for(number)?.remove(number - 1);
            let hosts = [&primary, &shadow].map(|request| request.header("host").unwrap_or_default());
            ensure!(hosts == [*at_v1, *at_v2], "{sent} is {hosts:?} at v1 and v2");
        }
    }
    theatre.outcomes(&[("answered", number)])?;
    Ok(())
}

/// Envoy's table, the rows of the integration test for addresses among them. Fails if the last colon of an address is taken for that of a port, if
/// the suffix gets into the brackets, or if an address in brackets is not known for the service's own.
fn an_address_keeps_its_brackets_and_its_port() -> Result<()> {
    let mirror = MIRROR.replace("  - route", "  - name: both\n    route");
    for suffix in ["-shadow", ""] {
        let rows = ["[fd00:10:96::40]|:8000", "[fd00:10:96::40]|", "[fd00:10:96::40]|:", "10.96.0.40|:8000", "both|:"]
            .map(|row| row.split_once('|').unwrap_or_default())
            .map(|(host, port)| (format!("{host}{port}"), format!("{host}{suffix}{port}")));
        let rows = rows.each_ref().map(|(plain, shadow)| (plain.as_str(), plain.as_str(), shadow.as_str()));
        arrive(suffix, &mirror, &rows)?;
    }
    Ok(())
}

/// Fails if the suffix is put to the client's Host, or if a policy without a suffix restores it.
fn a_rewritten_host_is_the_one_that_gets_the_suffix() -> Result<()> {
    for (to, shadow) in [("inner.example:81", "inner.example-shadow:81"), ("[fd00::1]", "[fd00::1]-shadow")] {
        let rewriting = format!("{MIRROR}    rewrite: {{authority: \"{to}\"}}\n");
        arrive("-shadow", &rewriting, &[("both:8000", to, shadow), ("[fd00:10:96::40]", to, shadow)])?;
        arrive("", &rewriting, &[("both:8000", to, to)])?;
    }
    Ok(())
}

/// Fails if a request of HTTP/1.0 has no shadow, or one of its own version, to which some servers answer without keeping the connection.
fn an_old_client_has_its_host() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    let answer = theatre.ask(b"GET /old HTTP/1.0\r\nHost: httpbin:8000\r\nX-Old: 1\r\n\r\n")?;
    ensure!(answer.text() == "one", "{answer:?}");
    let shadow = theatre.v2.recorder.wait_for(1)?.remove(0);
    let head = "GET /old HTTP/1.1\r\nHost: httpbin-shadow:8000\r\nX-Old: 1\r\nx-understudy-shadow: true\r\n\r\n";
    ensure!(shadow.head_text() == head, "{}", shadow.head_text());
    theatre.outcomes(&[("answered", 1)])?;
    Ok(())
}
