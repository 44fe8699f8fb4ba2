//! `image`: a container image of the static binary and nothing else, as a file that engines and registries' tools take.
//!
//! Comes in: architectures, a name, a cargo profile. Goes out: for each architecture an archive under `target/image`. It speaks to no container
//! engine and to no registry; where everything is there already, it does not use the network at all.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};

use crate::cargo;

mod archive;
mod binary;
mod reference;

use reference::Reference;

/// What the manifests name.
const DEFAULT_TAG: &str = concat!("understudy:", env!("CARGO_PKG_VERSION"));

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Architecture of the nodes, more than once for more; this machine's if none is named
    #[arg(long, value_enum)]
    arch: Vec<Arch>,
    /// Name of the image
    #[arg(long, value_name = "NAME:TAG", default_value = DEFAULT_TAG)]
    tag: Reference,
    /// Where to write it, if there is one architecture; else target/image/understudy-ARCH.tar
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Cargo's profile; `dev` is built sooner, is slower and larger
    #[arg(long, default_value = "release")]
    profile: String,
}

/// An architecture that nodes have, by the name that images have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    /// The machine's own.
    fn own() -> Result<Self> {
        let own = Self::value_variants().iter().find(|arch| arch.rust() == env::consts::ARCH);
        own.copied().with_context(|| format!("there are no images for {}; name one by --arch", env::consts::ARCH))
    }

    /// Its name in images, and Debian's.
    fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Rust's and GNU's name for it.
    fn rust(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }
}

/// The image for this machine, built as it is shipped; returns its archive.
pub(crate) fn own() -> Result<PathBuf> {
    let tag = DEFAULT_TAG.parse().map_err(anyhow::Error::msg)?;
    make(Arch::own()?, &tag, "release", None)
}

pub(crate) fn image(options: &Options) -> Result<ExitCode> {
    let arches = if options.arch.is_empty() { vec![Arch::own()?] } else { options.arch.clone() };
    ensure!(
        options.output.is_none() || arches.len() == 1,
        "--output is one file, and there are {} images",
        arches.len()
    );
    for arch in arches {
        make(arch, &options.tag, &options.profile, options.output.clone())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn make(arch: Arch, tag: &Reference, profile: &str, output: Option<PathBuf>) -> Result<PathBuf> {
    let binary = binary::build(arch, profile)?;
    let bytes = fs::read(&binary).with_context(|| format!("cannot read {}", binary.display()))?;
    let archive = archive::archive(tag, arch.name(), &bytes)?;
    let default = || cargo::target().join("image").join(format!("understudy-{}.tar", arch.name()));
    let file = output.unwrap_or_else(default);
    write(&file, &archive)?;
    println!(
        "{}: {} for {}; binary {:.1} MB, archive {:.1} MB",
        file.display(),
        tag,
        arch.name(),
        megabytes(&bytes),
        megabytes(&archive)
    );
    Ok(file)
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
fn megabytes(bytes: &[u8]) -> f64 {
    bytes.len() as f64 / 1e6
}

/// Whole or not at all: what stands there is an image that can be loaded.
fn write(file: &Path, archive: &[u8]) -> Result<()> {
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let mut part = file.as_os_str().to_owned();
    part.push(".part");
    fs::write(&part, archive)
        .and_then(|()| fs::rename(&part, file))
        .with_context(|| format!("cannot write {}", file.display()))
}
