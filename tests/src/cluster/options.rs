//! What a run of the scenarios can be told; `cargo xtask e2e` hands it on as it got it.

use std::{ffi::OsString, path::PathBuf};

use clap::Args;

/// Flags of `cargo xtask e2e`.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// The cluster; without it kind's cluster of the name in KIND_CLUSTER_NAME (or `understudy`), made if it is not there
    #[arg(long, env = "KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Name of the kind cluster, into whose nodes our image is put; other clusters must have it
    #[arg(long, env = "KIND_CLUSTER_NAME", value_name = "NAME")]
    pub kind: Option<String>,
    /// Image of the nodes of a kind cluster that is made [default: that of kind's own version]
    #[arg(long, value_name = "NAME")]
    pub node_image: Option<String>,
    /// An archive of our image, instead of one that is built now
    #[arg(long, value_name = "ARCHIVE")]
    pub image: Option<PathBuf>,
    /// httpbin [default: httpbin:local if all nodes have it, else the public one]
    #[arg(long, value_name = "NAME")]
    pub httpbin_image: Option<String>,
    /// curl and a shell [default: client:local if all nodes have it, else a public one]
    #[arg(long, value_name = "NAME")]
    pub client_image: Option<String>,
    /// Upgrades in a row, of the scenario `upgrade`
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub cycles: usize,
    /// Play a scenario that failed so many times more; one that passes then is called flaky
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub retries: usize,
    /// Only say which scenarios there are
    #[arg(long)]
    pub list: bool,
    /// Only these, in the order of the list
    #[arg(value_name = "SCENARIO")]
    pub scenarios: Vec<String>,
}

impl Options {
    /// Whether it is kind's cluster, and needs kind and docker.
    #[must_use]
    pub fn is_kind(&self) -> bool {
        self.kubeconfig.is_none() || self.kind.is_some()
    }

    /// As one would type them.
    #[must_use]
    pub fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["--cycles".into(), self.cycles.to_string().into()];
        words.extend(["--retries".into(), self.retries.to_string().into()]);
        let mut add = |flag: &str, value: Option<OsString>| {
            if let Some(value) = value {
                words.extend([flag.into(), value]);
            }
        };
        add("--kubeconfig", self.kubeconfig.clone().map(Into::into));
        add("--kind", self.kind.clone().map(Into::into));
        add("--node-image", self.node_image.clone().map(Into::into));
        add("--image", self.image.clone().map(Into::into));
        add("--httpbin-image", self.httpbin_image.clone().map(Into::into));
        add("--client-image", self.client_image.clone().map(Into::into));
        words.extend(self.list.then(|| "--list".into()));
        words.extend(self.scenarios.iter().map(Into::into));
        words
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        options: Options,
    }

    /// Fails if a flag gets lost between the two programs.
    #[test]
    fn what_is_handed_on_says_the_same() {
        let typed = [
            "x",
            "--kubeconfig",
            "k",
            "--kind",
            "n",
            "--node-image",
            "k8s",
            "--image",
            "i",
            "--httpbin-image",
            "h",
            "--client-image",
            "c",
            "--cycles",
            "20",
            "--retries",
            "2",
            "--list",
            "task",
            "crash",
        ];
        let first = Program::parse_from(typed).options;
        let again = Program::parse_from([vec!["x".into()], first.words()].concat()).options;
        assert_eq!(format!("{first:?}"), format!("{again:?}"));
    }
}
