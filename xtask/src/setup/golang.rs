//! The lab's Go programs in `target/golang`, and a Go that builds them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use integration::{needs::find, paths};

use crate::{cargo, setup::packages, task};

/// Debian 12's; older ones cannot send the informational answers that the tests look at.
const OLDEST: (u32, u32) = (1, 19);

/// Builds the client and server of the conformance tests.
pub(crate) fn peer() -> Result<()> {
    ensure(&Program {
        name: "Go client and server",
        source: "tests/golang",
        path: paths::golang_peer(),
        takes: "up to a minute",
    })
}

/// Builds what renders `deploy/` as kustomize and Helm do.
pub(crate) fn renderer() -> Result<()> {
    ensure(&Program {
        name: "kustomize and Helm",
        source: "tests/render",
        path: paths::renderer(),
        takes: "the first time about two minutes",
    })
}

/// A Go module of ours.
struct Program {
    name: &'static str,
    source: &'static str,
    path: PathBuf,
    takes: &'static str,
}

/// Builds the program unless it is there and its source is the same.
fn ensure(program: &Program) -> Result<()> {
    let source = cargo::root().join(program.source);
    let stamp = program.path.with_extension("source");
    let text = text_of(&source)?;
    if program.path.exists() && fs::read_to_string(&stamp).is_ok_and(|built| built == text) {
        return Ok(());
    }
    let mut build = Command::new(ensure_go()?);
    // The Go that is here is good enough: it is not to fetch another.
    build
        .current_dir(&source)
        .env("GOTOOLCHAIN", "local")
        .args(["build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o"])
        .arg(&program.path);
    task::run(program.name, program.takes, &mut build)?;
    fs::write(&stamp, text).with_context(|| format!("cannot write {}", stamp.display()))
}

/// A Go that is new enough, installed if there is none.
pub(super) fn ensure_go() -> Result<PathBuf> {
    if let Some(go) = go() {
        return Ok(go);
    }
    packages::ensure(&["golang-go".to_owned()], "the lab's Go programs")?;
    go().context("Debian's golang-go brought no Go that is new enough")
}

/// All that the program is made of.
fn text_of(source: &Path) -> Result<String> {
    let entries = fs::read_dir(source).with_context(|| format!("cannot read {}", source.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let texts: Result<Vec<_>, _> = files.iter().map(fs::read_to_string).collect();
    Ok(texts.with_context(|| format!("cannot read {}", source.display()))?.concat())
}

/// A Go that is new enough: on PATH, or where its own installer and Debian put it.
fn go() -> Option<PathBuf> {
    let places = ["/usr/local/go/bin/go", "/usr/lib/go/bin/go"].map(PathBuf::from);
    find("go").into_iter().chain(places).find(|go| version(go).is_ok_and(|version| version >= OLDEST))
}

fn version(go: &Path) -> Result<(u32, u32)> {
    let output = Command::new(go).args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local").output()?;
    let text = String::from_utf8(output.stdout)?;
    match parse(&text) {
        Some(version) => Ok(version),
        None => bail!("{} says its version is {text:?}", go.display()),
    }
}

/// `go1.26.8` or `go1.22rc1`.
fn parse(text: &str) -> Option<(u32, u32)> {
    let (major, rest) = text.trim().strip_prefix("go")?.split_once('.')?;
    let minor = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(parse("go1.26.8\n"), Some((1, 26)));
        assert_eq!(parse("go1.22rc1"), Some((1, 22)));
        assert_eq!(parse("devel"), None);
    }
}
