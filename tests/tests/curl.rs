//! curl as client, Go's net/http as server.

use std::{fs, process::ExitCode};

use anyhow::{Result, ensure};
use integration::{
    case, curl,
    golang::Peers,
    harness,
    needs::Need,
    parity::{Said, Twice, pairs, setting},
    theatre::{MIRROR, Theatre, VIP, noise},
};

const NEEDS: &[Need] =
    &[Need::Root, Need::NetTools, Need::Curl, Need::Cgroup2, Need::Btf, Need::Agent, Need::GolangPeer];

fn main() -> ExitCode {
    harness::main(&[
        case!(requests_of_all_sorts).needs(NEEDS),
        case!(uploads).needs(NEEDS),
        case!(trailers_and_raw_chunks).needs(NEEDS),
        case!(http_1_0).needs(NEEDS),
        case!(http2_by_prior_knowledge).needs(NEEDS),
        case!(http2_by_upgrade).needs(NEEDS),
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

/// Fails if trailers are lost, which curl prints after the body, or if curl, told to leave the framing alone, does not get well-formed chunks.
fn trailers_and_raw_chunks() -> Result<()> {
    let (theatre, peers) = stage()?;
    // Known: the names of trailers, unlike those of a head, arrive in small letters.
    let small =
        |said: Said| Said { out: said.out.replace("X-Digest", "x-digest").replace("X-Unann", "x-unann"), ..said };
    let run = |more: &[&str]| -> Result<Said> {
        let both = Twice::run(&theatre.client, VIP, peers.v1.address, |to| curl::words(to, more))?;
        both.map(|said| small(said.without(&["Date"]))).same()
    };
    let said = run(&["/trailers"])?;
    ensure!(
        said.out.contains("a body with trailers\nx-digest: ") && said.out.contains("x-unannounced: too"),
        "{}",
        said.out
    );
    // One short chunk comes as one: the raw answer is the same to the byte.
    let said = run(&["--raw", "/trailers"])?;
    ensure!(said.out.contains("\r\n15\r\na body with trailers\n\r\n0\r\n"), "{}", said.out);
    peers.agree(2, as_it_is)?;
    theatre.outcomes(&[("answered", 2)])?;
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

/// Fails if the preface is not understood on a port that is declared `http`, or if the request goes on in another version.
fn http2_by_prior_knowledge() -> Result<()> {
    let (theatre, peers) = stage()?;
    let file = theatre.node.dir().join("upload");
    fs::write(&file, noise(3 << 20))?;
    let upload = format!("/{}", file.display());
    let cases: [&[&str]; 7] = [
        &["/"],
        &["-I", "/bytes/1000"],
        &["/cookies"],
        &["/status/304"],
        &["/trailers"],
        &["-T", &upload, "/echo"],
        &["-X", "DELETE", "-H", "X-Twice: 1", "-H", "X-Twice: 2", "-b", "a=1; b=2", "-d", "x", "/echo?y=%2F"],
    ];
    for words in cases {
        let said = curl::same(&theatre, peers.v1.address, &[&["--http2-prior-knowledge"], words].concat(), &[])?;
        ensure!(said.out.contains(" 2 sent "), "{}", said.out.chars().take(400).collect::<String>());
    }
    peers.agree(cases.len(), as_it_is)?;
    theatre.outcomes(&[("answered", cases.len())])?;
    Ok(())
}

/// Fails if an upgrade to h2c is answered by anybody but v1, or counted as what could be mirrored.
fn http2_by_upgrade() -> Result<()> {
    let (theatre, peers) = stage()?;
    let said = curl::same(&theatre, peers.v1.address, &["--http2", "/cookies"], &[])?;
    ensure!(said.out.contains("HTTP/1.1 101 ") && said.out.contains("[200 2 "), "{}", said.out);
    pairs(&peers.v1.lines(2)?)?;
    theatre.outcomes(&[("not_mirrorable", 1)])?;
    ensure!(peers.v2.lines(0)?.is_empty(), "v2 heard of it: {}", peers.v2.log());
    Ok(())
}
