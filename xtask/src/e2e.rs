//! `e2e`: the DaemonSet on a real cluster: our image, kind's nodes or somebody's cluster, and the scenarios of `tests/cluster`.

use std::{
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Result, anyhow, bail};
use clap::Args;
use integration::cluster::kind;

use crate::{cargo, image};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The cluster; without it kind's cluster of the name in KIND_CLUSTER_NAME (or `understudy`), made if it is not there
    #[arg(long, env = "KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// An archive of our image, instead of one that is built now
    #[arg(long, value_name = "ARCHIVE")]
    image: Option<PathBuf>,
    /// httpbin [default: httpbin:local if all nodes have it, else the public one]
    #[arg(long, value_name = "NAME")]
    httpbin_image: Option<String>,
    /// curl and a shell [default: client:local if all nodes have it, else a public one]
    #[arg(long, value_name = "NAME")]
    client_image: Option<String>,
    /// Only say which scenarios there are
    #[arg(long)]
    list: bool,
    /// Only these, in the order of the list
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<String>,
}

pub(crate) fn e2e(options: &Options) -> Result<ExitCode> {
    // Said before minutes of building.
    let missing = kind::missing(options.kubeconfig.is_none() || kind::is_named());
    if !missing.is_empty() && !options.list {
        bail!("the scenarios need more than there is:\n  {}", missing.join("\n  "));
    }
    cargo::must(&mut cargo::cargo(&["build", "--bins"]))?;
    let program = cargo::target().join("debug/cluster");
    let mut command = Command::new(&program);
    if options.list {
        command.arg("--list");
    } else {
        let image = match &options.image {
            Some(archive) => archive.clone(),
            None => image::own()?,
        };
        command.arg("--image").arg(image);
    }
    if let Some(kubeconfig) = &options.kubeconfig {
        command.arg("--kubeconfig").arg(kubeconfig);
    }
    for (flag, name) in [("--httpbin-image", &options.httpbin_image), ("--client-image", &options.client_image)] {
        if let Some(name) = name {
            command.args([flag, name]);
        }
    }
    // It takes our place: signals and exit code are its own.
    let error = command.args(&options.scenarios).exec();
    Err(anyhow!("cannot run {}: {error}", program.display()))
}
