//! TLS on a captured port: passed through untouched, and reported once for each host.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use integration::{
    Script, case, harness,
    theatre::{MIRROR, NEEDS, PLAIN, Setting, rules, whole},
    wire::Wire,
};

fn main() -> ExitCode {
    harness::main(&[case!(each_host_is_reported_once).needs(NEEDS)])
}

fn block(width: usize, bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u64).to_be_bytes()[8 - width..], bytes].concat()
}

/// A ClientHello (RFC 8446, 4.1.2) with or without a server name (RFC 6066, 3).
fn hello(name: Option<&str>) -> Vec<u8> {
    let versions = [&[0, 43][..], &block(2, &[2, 3, 4])].concat();
    let name = name.map(|name| {
        let list = block(2, &[&[0][..], &block(2, name.as_bytes())].concat());
        [&[0, 0][..], &block(2, &list)].concat()
    });
    let extensions = [versions, name.unwrap_or_default()].concat();
    let parts =
        [&[3, 3][..], &[7; 32], &block(1, &[9; 32]), &block(2, &[19, 1]), &block(1, &[0]), &block(2, &extensions)];
    let message = [&[1][..], &block(3, &parts.concat())].concat();
    [&[22, 3, 1][..], &block(2, &message)].concat()
}

const REST: &[u8] = b"\x17\x03\x03\x00\x05\x00\xff\x80\x0a\x0d";
const REPLY: &[u8] = b"\x16\x03\x03\x00\x02\x02\x00";

/// Fails if a byte of it is changed or lost, if a host is reported for each of its connections, if one without a name is not, or if any of it counts
/// as a request.
fn each_host_is_reported_once() -> Result<()> {
    let theatre =
        Setting::new(MIRROR).objects(rules("plain", &MIRROR.replace("host: httpbin", "host: plain"))).start()?;
    let length = |name| hello(name).len() + REST.len();
    let lengths = [length(Some("a.example")), length(None)];
    let server = Script::start(theatre.native.pod.netns(), theatre.native.address(PLAIN.port()), move |mut wire| {
        // The length of the record says whose hello it is.
        let mut came = wire.take(5)?;
        let record = 5 + usize::from(came[3]) * 256 + usize::from(came[4]);
        ensure!(lengths.contains(&(record + REST.len())), "a record of {record} bytes");
        came.extend(wire.take(record - 5 + REST.len())?);
        wire.send(REPLY)?;
        wire.send(&came)
    })?;
    let names = [Some("a.example"), Some("b.example"), Some("A.example"), Some("a.example"), None, None];
    for name in names {
        let mut wire = Wire::connect(&theatre.client, PLAIN)?;
        wire.send(&hello(name))?;
        wire.send(REST)?;
        let echo = wire.rest()?;
        ensure!(echo == [REPLY, &hello(name), REST].concat(), "{name:?}: {}", echo.escape_ascii());
    }
    ensure!(server.accepted() == names.len());
    let view = theatre.agent.metrics()?;
    let of_kind = |kind| whole(view.sum("understudy_connections_total", &[("kind", kind)]));
    ensure!((of_kind("tls"), of_kind("http"), of_kind("opaque")) == (names.len(), 0, 0), "{:?}", view.lines("underst"));
    ensure!(whole(view.candidates()) == 0, "TLS counts as a request");
    let log = theatre.agent.log();
    let reports: Vec<_> = log.lines().filter(|line| line.contains("TLS cannot be mirrored")).collect();
    ensure!(reports.len() == 3, "{reports:#?}");
    for host in ["a.example", "b.example", &PLAIN.to_string()] {
        let of_host = reports.iter().filter(|line| line.contains(&format!("host={host} "))).count();
        ensure!(of_host == 1, "{host} is reported {of_host} times:\n{reports:#?}");
    }
    Ok(())
}
