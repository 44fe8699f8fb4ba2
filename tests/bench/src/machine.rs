//! What the figures were measured on: without it they mean nothing to anybody else.

use std::{fs, process::Command, thread};

use integration::paths;

use crate::programs::{Found, Programs, with_libraries};

/// A line for each thing that matters.
pub(crate) fn describe(programs: &Programs) -> Vec<String> {
    let cpus = thread::available_parallelism().map_or(0, usize::from);
    let model = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("unknown").to_owned();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut lines = vec![
        format!("{cpus} CPUs, shared by client, proxy and servers: {model}; Linux {}", kernel.trim()),
        format!("load average at the start (what else ran): {}", load.split(' ').take(3).collect::<Vec<_>>().join(" ")),
    ];
    lines.extend(version(&Ok(paths::binary()), "--version"));
    lines.extend(version(&programs.envoy, "--version"));
    lines.extend(version(&programs.haproxy, "-v"));
    lines.extend(version(&programs.nginx, "-v"));
    lines.extend(version(&programs.wrk, "-v"));
    lines.extend(version(&programs.h2load, "--version"));
    lines
}

/// The first line that a program says of itself.
fn version(found: &Found, flag: &str) -> Option<String> {
    let [env, libraries] = with_libraries();
    let output = Command::new(env).arg(libraries).arg(found.as_ref().ok()?).arg(flag).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    // Envoy's begins with its own path.
    Some(line.rsplit_once("/envoy  ").map_or(line.to_owned(), |(_, rest)| format!("envoy {rest}")))
}
