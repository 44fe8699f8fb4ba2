//! curl, as a client whose every byte of answer is seen: heads (informational ones and trailers too), body, and what it counts itself.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};

use crate::{
    parity::{Said, Twice},
    theatre::{HOST, Theatre, VIP},
};

/// What curl says of a transfer after it: status, version, bytes sent and received, redirects.
const SUMS: &str =
    "\\n[%{http_code} %{http_version} sent %{size_upload} got %{size_download} redirects %{num_redirects}]\\n";

/// A command line of curl that connects to `to`, whatever the URLs say; `more` is options and paths of the service.
#[must_use]
pub fn words(to: SocketAddr, more: &[&str]) -> Vec<String> {
    let connect = format!("{HOST}:{to}");
    let mut words: Vec<_> = ["curl", "-sS", "-i", "-w", SUMS, "--connect-to", &connect].map(str::to_owned).to_vec();
    words.extend(more.iter().map(|word| match word.strip_prefix('/') {
        // A lone slash begins a path of the service; two, one of this machine.
        Some(path) if !path.starts_with('/') => format!("http://{HOST}/{path}"),
        Some(file) => file.to_owned(),
        None => (*word).to_owned(),
    }));
    words
}

/// Runs curl at the service and straight at v1's server. Both must have ended well and said the same but for the fields of `but`.
///
/// # Errors
/// With what differs.
pub fn same(theatre: &Theatre, server: SocketAddr, more: &[&str], but: &[&str]) -> Result<Said> {
    let both = Twice::run(&theatre.client, VIP, server, |to| words(to, more))?;
    // What two neighbours on a connection settle between them, and the time of day.
    let but = [but, &["Date", "Connection", "Keep-Alive"]].concat();
    both.map(|said| said.without(&but)).same().with_context(|| format!("curl {}", more.join(" ")))
}
