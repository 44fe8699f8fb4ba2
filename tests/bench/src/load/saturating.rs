//! As much as goes through: wrk for HTTP/1.1, h2load for HTTP/2.

use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use integration::{Pod, paths};

use crate::{
    load::{Kind, Outcome},
    programs::{Programs, with_libraries},
    variant::Flavour,
};

/// A body of 1 MiB for wrk, which takes bodies from a script alone.
const UPLOAD: &str = "wrk.method = 'POST'\nwrk.body = string.rep('x', 1048576)\n";

pub(super) fn play(
    kind: Kind,
    connections: u32,
    programs: &Programs,
    pod: &Pod,
    flavour: Flavour,
    seconds: f64,
) -> Result<Outcome> {
    // Neither program takes parts of a second, and the report is to say what was played.
    ensure!(seconds >= 1.0 && seconds.fract() == 0.0, "a load of {seconds} s: wrk and h2load play whole seconds");
    let protocol = kind.protocol();
    let url = format!("http://{}:{}{}", flavour.host(), protocol.port(), kind.path());
    let mut words: Vec<String> = with_libraries().to_vec();
    let (found, parse): (_, fn(&str) -> Option<Outcome>) = match kind {
        Kind::Http2 { streams } | Kind::Grpc { streams } => {
            let program = program(&programs.h2load)?;
            let options = format!("-t1 -c{connections} -m{streams} --duration={} --warm-up-time=0", seconds);
            words.push(program.clone());
            words.extend(options.split(' ').map(str::to_owned));
            if matches!(kind, Kind::Grpc { .. }) {
                let message = scratch("message", "\0\0\0\0\u{5}\n\u{3}abc")?;
                words.extend(["-d".to_owned(), message]);
                words.extend(["-H", "content-type: application/grpc", "-H", "te: trailers"].map(str::to_owned));
            }
            (program, of_h2load)
        }
        _ => {
            let program = program(&programs.wrk)?;
            words.extend([program.clone(), "-t1".to_owned(), format!("-c{connections}"), format!("-d{seconds:.0}s")]);
            words.extend(["--timeout", "10s"].map(str::to_owned));
            match kind {
                Kind::Close => words.extend(["-H", "Connection: close"].map(str::to_owned)),
                Kind::Upload1M => words.extend(["-s".to_owned(), scratch("upload.lua", UPLOAD)?]),
                _ => {}
            }
            (program, of_wrk)
        }
    };
    words.push(url);
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let output = pod.exec(&words)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{found}: {}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    parse(&text).with_context(|| format!("{found} said\n{text}"))
}

fn program(found: &std::result::Result<PathBuf, String>) -> Result<String> {
    found.as_ref().map(|path| path.display().to_string()).map_err(|why| anyhow!("{why}"))
}

/// A file for a load generator.
fn scratch(name: &str, text: &str) -> Result<String> {
    let dir = paths::workspace().join("target/bench");
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let file = dir.join(name);
    std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file.display().to_string())
}

fn of_wrk(text: &str) -> Option<Outcome> {
    let line = text.lines().find(|line| line.contains(" requests in "))?;
    let mut words = line.split_whitespace();
    let requests: u64 = words.next()?.parse().ok()?;
    let seconds = duration(words.nth(2)?.trim_end_matches(','))?;
    let bad = number_after(text, "Non-2xx or 3xx responses: ");
    let errors = text.lines().find(|line| line.contains("Socket errors"));
    let sockets: u64 =
        errors.into_iter().flat_map(|line| line.split([' ', ','])).filter_map(|word| word.parse::<u64>().ok()).sum();
    Some(Outcome { requests: requests.saturating_sub(bad), errors: bad + sockets, seconds, ..Outcome::default() })
}

fn of_h2load(text: &str) -> Option<Outcome> {
    let finished = text.lines().find(|line| line.starts_with("finished in "))?;
    let seconds = duration(finished.split_whitespace().nth(2)?.trim_end_matches(','))?;
    let line = text.lines().find(|line| line.starts_with("requests: "))?;
    let count = |what: &str| -> u64 {
        let before = line.split(&format!(" {what}")).next().unwrap_or_default();
        before.split_whitespace().next_back().and_then(|word| word.parse().ok()).unwrap_or_default()
    };
    let codes = text.lines().find(|line| line.starts_with("status codes: "))?;
    let good: u64 = codes.split_whitespace().nth(2)?.parse().ok()?;
    // What is under way at the end is neither.
    let errors = count("failed") + count("errored") + count("timeout");
    Some(Outcome { requests: good.min(count("succeeded")), errors, seconds, ..Outcome::default() })
}

fn number_after(text: &str, words: &str) -> u64 {
    let rest = text.split_once(words).map(|(_, rest)| rest).unwrap_or_default();
    rest.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_default()
}

/// `4.01s`, `250.00ms`, `1.00m`.
fn duration(text: &str) -> Option<f64> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let factor = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_says_is_read() {
        let text = "Running 3s test\n  1234 requests in 3.02s, 1.00MB read\n  Socket errors: connect 1, read 2, write 0, timeout 3\n  \
                    Non-2xx or 3xx responses: 34\nRequests/sec: 400\n";
        let outcome = of_wrk(text).unwrap();
        assert_eq!((outcome.requests, outcome.errors), (1200, 40));
        assert!((outcome.seconds - 3.02).abs() < 1e-9);
    }

    #[test]
    fn what_h2load_says_is_read() {
        let text = "finished in 3.00s, 26020.67 req/s, 1.02MB/s\nrequests: 78062 total, 78126 started, 78062 done, 78062 succeeded, 1 failed, 2 errored, 0 timeout\n\
                    status codes: 78062 2xx, 0 3xx, 0 4xx, 0 5xx\n";
        let outcome = of_h2load(text).unwrap();
        assert_eq!((outcome.requests, outcome.errors), (78062, 3));
    }
}
