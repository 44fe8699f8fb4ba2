//! curl as client, Go's net/http as server.

use std::{fs, process::ExitCode};

use anyhow::{Result, ensure};
use integration::{
    case, curl,
    golang::Peers,
    harness,
    needs::Need,
    parity::{Twice, setting},
    theatre::{MIRROR, Theatre, VIP, noise},
};

const NEEDS: &[Need] =
    &[Need::Root, Need::NetTools, Need::Curl, Need::Cgroup2, Need::Btf, Need::Agent, Need::GolangPeer];

fn main() -> ExitCode {
    harness::main(&[
        case!(requests_of_all_sorts).needs(NEEDS),
        case!(uploads).needs(NEEDS),
        case!(http_1_0).needs(NEEDS),
    ])
}

fn stage() -> Result<(Theatre, Peers)> {
    let theatre = setting(MIRROR).start()?;
    let peers = Peers::start(&theatre)?;
    Ok((theatre, peers))
}

fn as_it_is(line: &str) -> String {
    line.to_owned()
}

/// Fails if a target is tidied up, a field added, dropped or rewritten in either direction, or HEAD, 204 and 304 taken for what has a body.
fn requests_of_all_sorts() -> Result<()> {
    let (theatre, peers) = stage()?;
    let cases: [&[&str]; 20] = [
        &["/"],
        &["-I", "/bytes/1000"],
        &["/cookies"],
        &["/status/204"],
        &["/status/304"],
        &["/status/500"],
        &["/stream/5"],
        &["/bytes/300000"],
        &["-X", "BREW", "/status/418"],
        &["-X", "OPTIONS", "/"],
        &["-X", "DELETE", "-d", "with a body", "/echo"],
        &["-X", "GET", "-d", "with a body", "/echo"],
        &["--path-as-is", "/a/../b/./c//d?x=%2F&&y"],
        &["-H", "X-Empty;", "-H", "X-Odd: \u{e9} \"quoted\"; a,b", "-H", "X-Twice: 1", "-H", "X-Twice: 2", "/"],
        &["-A", "", "/no-agent"],
        &["-u", "name:word", "-b", "a=1; b=2", "-e", "http://elsewhere/", "/"],
        &["--compressed", "/bytes/100"],
        &["-r", "0-9", "/bytes/100"],
        &["-H", "TE: trailers", "-H", "Connection: TE", "/"],
        &["-H", "Connection: close", "/close"],
    ];
    for words in cases {
        curl::same(&theatre, peers.v1.address, words, &[])?;
    }
    // Three on one connection.
    curl::same(&theatre, peers.v1.address, &["/", "/cookies", "/bytes/1000"], &[])?;
    let requests = cases.len() + 3;
    // What the client settles with its neighbour.
    let hop = |line: &str| {
        ["TE", "close"]
            .iter()
            .fold(line.to_owned(), |line, value| line.replace(&format!(r#""Connection":["{value}"],"#), ""))
    };
    peers.agree(requests, hop)?;
    theatre.outcomes(&[("answered", requests)])?;
    Ok(())
}

/// Fails if an `Expect` is answered by the proxy itself, if a body changes its framing, or if a byte of it is lost.
fn uploads() -> Result<()> {
    let (theatre, peers) = stage()?;
    let file = theatre.node.dir().join("upload");
    fs::write(&file, noise(3 << 20))?;
    let (upload, data) = (format!("/{}", file.display()), format!("@{}", file.display()));
    let cases: [&[&str]; 6] = [
        &["-T", &upload, "/echo"],
        &["-H", "Expect: 100-continue", "-T", &upload, "/echo"],
        &["-H", "Expect:", "-T", &upload, "/echo"],
        &["--data-binary", &data, "/echo"],
        &["-H", "Transfer-Encoding: chunked", "-H", "Expect:", "--data-binary", &data, "/echo"],
        &["-d", "a=1&b=2", "/echo"],
    ];
    for words in cases {
        curl::same(&theatre, peers.v1.address, words, &[])?;
    }
    // From its standard input curl sends chunks, as they come.
    let both = Twice::run(&theatre.client, VIP, peers.v1.address, |to| {
        let script = format!("(echo one; echo two; cat {}) | \"$@\"", file.display());
        let words = curl::words(to, &["-w", "", "-T", "-", "/echo"]);
        ["sh", "-c", &script, "sh"].map(str::to_owned).into_iter().chain(words).collect()
    })?;
    let said = both.map(|said| said.without(&["Date"])).same()?;
    ensure!(said.out.contains("one\ntwo\n"), "{}", said.out.chars().take(400).collect::<String>());
    let requests = cases.len() + 1;
    peers.agree(requests, as_it_is)?;
    theatre.outcomes(&[("answered", requests)])?;
    Ok(())
}

/// Fails if a client of HTTP/1.0 gets chunks, or a connection that it did not ask to keep.
fn http_1_0() -> Result<()> {
    let (theatre, peers) = stage()?;
    let cases: [&[&str]; 5] = [
        &["--http1.0", "/"],
        &["--http1.0", "-I", "/bytes/1000"],
        &["--http1.0", "/stream/5"],
        &["--http1.0", "-d", "a body", "/echo"],
        &["--http1.0", "-H", "Connection: keep-alive", "/cookies"],
    ];
    for words in cases {
        curl::same(&theatre, peers.v1.address, words, &[])?;
    }
    // The proxy asks in its own version (RFC 9110, 2.5), in which connections are kept unless somebody says otherwise.
    let version = |line: &str| line.replace("HTTP/1.0", "HTTP/1.1").replace(r#""Connection":["keep-alive"],"#, "");
    peers.agree(cases.len(), version)?;
    theatre.outcomes(&[("answered", cases.len())])?;
    Ok(())
}
