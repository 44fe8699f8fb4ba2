//! `e2e`: the DaemonSet on a real cluster: our image, kind's nodes or somebody's cluster, and the scenarios of `tests/cluster`.

use std::{
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

use anyhow::{Result, anyhow, bail};
use integration::cluster::{Options, kind};

use crate::{cargo, image, setup};

pub(crate) fn e2e(options: &Options) -> Result<ExitCode> {
    // Said before minutes of building.
    let missing = kind::missing(options.is_kind());
    if !missing.is_empty() && !options.list {
        bail!("the scenarios need more than there is:\n  {}", missing.join("\n  "));
    }
    cargo::must(&mut cargo::cargo(&["build", "--bins"]))?;
    setup::istio_definitions();
    let mut options = options.clone();
    if options.image.is_none() && !options.list {
        options.image = Some(image::own()?);
    }
    let program = cargo::target().join("debug/cluster");
    // It takes our place: signals and exit code are its own.
    let error = Command::new(&program).args(options.words()).exec();
    Err(anyhow!("cannot run {}: {error}", program.display()))
}
