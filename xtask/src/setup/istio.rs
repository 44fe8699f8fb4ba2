//! Istio's own definitions of its kinds, from the Go module that Istio publishes them in.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, bail};
use integration::paths;
use serde_json::Value;

use super::golang;

/// Pinned, so that a scenario means the same each time; `paths::istio_definitions` has it in its name.
const MODULE: &str = "istio.io/api";
const FILE: &str = "kubernetes/customresourcedefinitions.gen.yaml";

/// Puts them where the scenarios look, unless they are there. Where they cannot be had, the scenario that needs them says so in its place, and
/// everything else goes on.
pub(crate) fn definitions() {
    if let Err(error) = fetch() {
        println!("Istio's definitions cannot be had: {error:#}");
    }
}

fn fetch() -> Result<()> {
    let target = paths::istio_definitions();
    if target.exists() {
        return Ok(());
    }
    let module = format!("{MODULE}@{}", paths::ISTIO_API);
    println!("  Istio's definitions: go mod download {module}");
    let output = Command::new(golang::ensure_go()?)
        .args(["mod", "download", "-json", &module])
        .env("GOTOOLCHAIN", "local")
        // A module of somebody's around this folder does not matter.
        .current_dir("/")
        .output()
        .context("cannot run go")?;
    if !output.status.success() {
        bail!("no {module}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }
    let about: Value = serde_json::from_slice(&output.stdout).context("`go mod download -json` printed no JSON")?;
    let folder = about["Dir"].as_str().with_context(|| format!("no folder in {about}"))?;
    let source = format!("{folder}/{FILE}");
    let text = fs::read(&source).with_context(|| format!("cannot read {source}"))?;
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    fs::write(&target, text).with_context(|| format!("cannot write {}", target.display()))
}
