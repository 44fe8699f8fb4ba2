//! Load at saturation, by wrk and h2load: as many requests as there is room for, of a fixed number of connections.

use anyhow::{Context as _, Result, bail};
use integration::Pod;

use crate::{variant, world::Service};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// A small body, on connections that stay.
    Small,
    /// The same, and each request has a connection of its own.
    Close,
    /// 10 KiB and 1 MiB.
    Body10K,
    Body1M,
    /// An upload of 1 MiB.
    Upload,
    /// The small body over HTTP/2, 16 streams on each connection.
    Http2,
}

/// A stretch of load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) ask: Ask,
    pub(crate) connections: usize,
    pub(crate) seconds: u64,
}

/// Requests a second of each connection where a few are enough.
pub(crate) const GENTLE: f64 = 200.0;

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    pub(crate) requests: u64,
    pub(crate) seconds: f64,
    /// Other statuses than 2xx, and sockets that broke.
    pub(crate) failed: u64,
}

const UPLOAD: &str = "wrk.method = 'POST'\nwrk.body = string.rep('x', 1048576)\n";

impl Load {
    /// Applies it.
    ///
    /// # Errors
    /// When the generator is not there, or says something else than it should.
    pub(crate) fn run(self, client: &Pod, service: Service) -> Result<Done> {
        self.apply(client, service, false)
    }

    /// The same over HTTP/2, at [`GENTLE`].
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(crate) fn gently(self, client: &Pod, service: Service) -> Result<Done> {
        Self { ask: Ask::Http2, ..self }.apply(client, service, true)
    }

    fn apply(self, client: &Pod, service: Service, gently: bool) -> Result<Done> {
        let Self { ask, connections, seconds } = self;
        let (count, time) = (connections.to_string(), seconds.to_string());
        if ask == Ask::Http2 {
            let h2load = variant::program("h2load/usr/bin/h2load", "h2load")?.display().to_string();
            let url = service.url("/small");
            let mut words = vec![&*h2load, "-t1", "-c", &count, "-m16", "-D", &time];
            let rate = GENTLE.to_string();
            words.extend(["--rps", &rate].into_iter().filter(|_| gently));
            words.push(&url);
            return h2(&run(client, &words)?);
        }
        let path = match ask {
            Ask::Small | Ask::Close | Ask::Http2 => "/small",
            Ask::Body10K => "/10k",
            Ask::Body1M => "/1m",
            Ask::Upload => "/upload",
        };
        let wrk = variant::program("wrk/usr/bin/wrk", "wrk")?.display().to_string();
        let (time, url) = (format!("{seconds}s"), service.url(path));
        let mut words = vec![&*wrk, "-t1", "-c", &count, "-d", &time, "--timeout", "10s"];
        let script = integration::paths::lab().join("upload.lua");
        let script_path = script.display().to_string();
        match ask {
            Ask::Close => words.extend(["-H", "Connection: close"]),
            Ask::Upload => {
                std::fs::write(&script, UPLOAD).with_context(|| format!("cannot write {script_path}"))?;
                words.extend(["-s", &script_path]);
            }
            _ => {}
        }
        words.push(&url);
        wrk_said(&run(client, &words)?)
    }
}

fn run(client: &Pod, words: &[&str]) -> Result<String> {
    let output = client.exec(words)?;
    let (said, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        bail!("`{}` failed ({}): {said}{complaint}", words.join(" "), output.status);
    }
    Ok(said.into_owned())
}

/// `  12345 requests in 3.00s, 1.2MB read`, and lines of what went wrong, if anything did.
fn wrk_said(text: &str) -> Result<Done> {
    let mut done = Done::default();
    for line in text.lines().map(str::trim) {
        if let Some((requests, rest)) = line.split_once(" requests in ") {
            done.requests = requests.parse().with_context(|| format!("wrk said `{line}`"))?;
            done.seconds = time(rest.split(',').next().unwrap_or_default())?;
        } else if let Some(count) = line.strip_prefix("Non-2xx or 3xx responses: ") {
            done.failed += count.parse::<u64>().unwrap_or(1);
        } else if let Some(kinds) = line.strip_prefix("Socket errors: ") {
            done.failed +=
                kinds.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse::<u64>().ok()).sum::<u64>();
        }
    }
    if done.seconds <= 0.0 {
        bail!("wrk said nothing of its requests: {text}");
    }
    Ok(done)
}

/// `finished in 3.00s, 12345.67 req/s, …` and `requests: 37037 total, 37037 started, 37037 done, 37037 succeeded, 0 failed, …`.
fn h2(text: &str) -> Result<Done> {
    let mut done = Done::default();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("finished in ") {
            done.seconds = time(rest.split(',').next().unwrap_or_default())?;
        } else if let Some(rest) = line.strip_prefix("requests: ") {
            for part in rest.split(", ") {
                match part.split_once(' ') {
                    Some((count, "succeeded")) => done.requests = count.parse()?,
                    Some((count, "failed")) => done.failed = count.parse()?,
                    _ => {}
                }
            }
        }
    }
    if done.seconds <= 0.0 {
        bail!("h2load said nothing of its requests: {text}");
    }
    Ok(done)
}

/// `3.00s`, `1.01m`, `950.12ms`.
fn time(word: &str) -> Result<f64> {
    let word = word.trim();
    let unit = word.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number: f64 = word[..word.len() - unit.len()].parse().with_context(|| format!("`{word}` is no time"))?;
    Ok(match unit {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        _ => bail!("`{word}` is no time"),
    })
}
