//! Protocols that are not HTTP, on a captured port of which nothing is declared: Redis, and mail, where the server speaks first.

use std::{fs, process::ExitCode};

use anyhow::{Result, ensure};
use integration::{
    Pod, Process, case, harness,
    needs::Need,
    parity::{Said, Server, Twice},
    python, redis,
    theatre::{MIRROR, PLAIN, Setting, Theatre, rules, whole},
    wait,
};

const REDIS: &[Need] = &[Need::Root, Need::NetTools, Need::Redis, Need::Cgroup2, Need::Btf, Need::Agent];
const MAIL: &[Need] = &[Need::Root, Need::NetTools, Need::PythonPeers, Need::Cgroup2, Need::Btf, Need::Agent];

fn main() -> ExitCode {
    harness::main(&[
        case!(redis_commands_and_pipelines).needs(REDIS),
        case!(redis_waits_and_pushes).needs(REDIS),
        case!(a_mail_server_speaks_first).needs(MAIL),
    ])
}

/// A rule that would mirror the service without a declared port, if it spoke HTTP.
fn stage() -> Result<Theatre> {
    Setting::new(MIRROR).objects(rules("plain", &MIRROR.replace("httpbin", "plain"))).start()
}

/// So many connections were passed through unread, and no shadow was thought of.
fn opaque(theatre: &Theatre, connections: usize) -> Result<()> {
    let counted =
        |view: &integration::MetricsView, kind| whole(view.sum("understudy_connections_total", &[("kind", kind)]));
    let view = theatre
        .agent
        .metrics_when(&format!("{connections} opaque connections"), |view| counted(view, "opaque") >= connections)?;
    ensure!(
        counted(&view, "opaque") == connections,
        "{} opaque connections, not {connections}",
        counted(&view, "opaque")
    );
    ensure!(counted(&view, "http") == 0 && whole(view.candidates()) == 0, "{:?}", view.lines("understudy_"));
    Ok(())
}

/// Fails if a byte of a request or an answer is lost, or if a command in text is taken for HTTP.
fn redis_commands_and_pipelines() -> Result<()> {
    let theatre = stage()?;
    let server = redis::serve(&theatre.node, &theatre.native.pod, PLAIN.port())?;
    let (file, commands) = (theatre.node.dir().join("value"), theatre.node.dir().join("commands"));
    fs::write(&file, integration::theatre::noise(1 << 20))?;
    fs::write(&commands, (0..3000).map(|n| format!("SET key:{n} value:{n}\r\nGET key:{n}\r\n")).collect::<String>())?;
    let cases: [&[&str]; 7] = [
        &["FLUSHALL"],
        &["SET", "greeting", "hello \u{e9}\r\n world"],
        &["GET", "greeting"],
        &["GET", "nothing"],
        &["INCR", "greeting"],
        // The text protocol that telnet users type looks most like HTTP.
        &["GET / HTTP/1.1"],
        &["DEBUG", "STRINGMATCH-LEN", "10", "*"],
    ];
    let mut connections = 0;
    for words in cases {
        Twice::run(&theatre.client, PLAIN, server.address, |to| redis::cli(to, words))?.same()?;
        connections += 1;
    }
    let from = |file: &std::path::Path, words: &[&str]| -> Result<Said> {
        Twice::run(&theatre.client, PLAIN, server.address, |to| redis::cli_from(file, to, words))?.same()
    };
    from(&file, &["-x", "SET", "noise"])?;
    let digest = Said::by(&theatre.client, &redis::cli(PLAIN, &["GETRANGE", "noise", "0", "-1"]))?;
    ensure!(digest.out.len() > 1 << 20, "{} bytes came back", digest.out.len());
    let piped = from(&commands, &["--pipe"])?;
    ensure!(piped.out.contains("errors: 0, replies: 6000"), "{}", piped.out);
    opaque(&theatre, connections + 3)
}

/// Fails if a connection on which only the server has something to say is given up, or its bytes wait for the client's.
fn redis_waits_and_pushes() -> Result<()> {
    let theatre = stage()?;
    let server = redis::serve(&theatre.node, &theatre.native.pod, PLAIN.port())?;
    let direct = |words: &[&str]| Said::by(&theatre.client, &redis::cli(server.address, words))?.well();
    let background = |name: &str, pod: &Pod, words: &[&str]| -> Result<Process> {
        let words = redis::cli(PLAIN, words);
        pod.start(&theatre.node, name, &words.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let blocked = |what: &str, line: &str| -> Result<()> {
        wait::until(what, || Ok(direct(&["CLIENT", "LIST"])?.out.contains(line).then_some(())))
    };
    let mut waiting = background("blpop", &theatre.client, &["BLPOP", "queue", "0"])?;
    blocked("BLPOP waits", "cmd=blpop")?;
    direct(&["RPUSH", "queue", "at last"])?;
    ensure!(waiting.wait()?.success() && waiting.log() == "queue\nat last\n", "{}", waiting.log());
    let subscribed = background("subscribe", &theatre.client, &["SUBSCRIBE", "news"])?;
    blocked("SUBSCRIBE is in force", "cmd=subscribe")?;
    for number in 0..3 {
        direct(&["PUBLISH", "news", &format!("number {number}")])?;
    }
    wait::until("three messages have come", || {
        Ok((subscribed.log().matches("message\nnews\n").count() == 3).then_some(()))
    })?;
    // The server ends a connection by itself.
    direct(&["CLIENT", "KILL", "TYPE", "pubsub"])?;
    opaque(&theatre, 2)
}

/// Fails if the proxy waits for the client's first byte, or parses what follows.
fn a_mail_server_speaks_first() -> Result<()> {
    let theatre = stage()?;
    let words = python::script("smtp_server.py", &["0.0.0.0", &PLAIN.port().to_string()]);
    let server = Server::start(&theatre.node, &theatre.native.pod, "mail", PLAIN.port(), &words)?;
    let said = Twice::run(&theatre.client, PLAIN, server.address, |to| {
        python::script("smtp_client.py", &[&to.ip().to_string(), &to.port().to_string()])
    })?
    .same()?;
    ensure!(said.out.contains(r#"["quit", 221,"#), "{}", said.out);
    let mails = server.lines(4)?;
    ensure!(mails[..2] == mails[2..] && mails.len() == 4, "{mails:?}");
    opaque(&theatre, 1)
}
