//! Where manifests come from: files and folders, or a cluster.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::SettingsError;
use crate::{cli::ClusterArgs, route::ShadowSettings};

/// Where manifests come from and how they are read.
#[derive(Clone, Debug)]
pub struct ControlSettings {
    /// Where from.
    pub source: SourceSettings,
    /// Domain of the cluster's Services, lower case, without the final dot.
    pub cluster_domain: Arc<str>,
    /// For mirrors that no policy speaks of.
    pub shadow: ShadowSettings,
}

/// Where manifests come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceSettings {
    /// In the order given, never empty.
    Files(Vec<ConfigPath>),
    /// The Kubernetes API.
    Cluster(Box<ClusterSettings>),
}

/// Which node of which cluster this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// `spec.nodeName` of the pods to enrol.
    pub node: Arc<str>,
    /// Namespace of this pod.
    pub namespace: Arc<str>,
    /// Name of this pod.
    pub pod: Arc<str>,
    /// `None` = the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// Where the last good objects are kept.
    pub state_dir: Option<PathBuf>,
    /// Where network namespaces of pods appear.
    pub netns_dir: PathBuf,
}

/// A place with manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigPath {
    /// Standard input, read once.
    Stdin,
    /// A file or a folder.
    Path(PathBuf),
}

impl ControlSettings {
    /// The files and folders as paths; `-` is standard input. Empty for a cluster.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        let SourceSettings::Files(sources) = &self.source else { return Vec::new() };
        let path = |source: &ConfigPath| match source {
            ConfigPath::Stdin => PathBuf::from("-"),
            ConfigPath::Path(path) => path.clone(),
        };
        sources.iter().map(path).collect()
    }
}

impl ConfigPath {
    pub(super) fn all(paths: Vec<PathBuf>) -> Result<Vec<Self>, SettingsError> {
        let is_stdin = |path: &PathBuf| path == Path::new("-");
        if paths.iter().filter(|path| is_stdin(path)).count() > 1 {
            return Err(SettingsError::StdinTwice);
        }
        Ok(paths.into_iter().map(|path| if is_stdin(&path) { Self::Stdin } else { Self::Path(path) }).collect())
    }
}

impl fmt::Display for ConfigPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("standard input"),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

impl From<ClusterArgs> for ClusterSettings {
    fn from(arguments: ClusterArgs) -> Self {
        let ClusterArgs { node_name, namespace, pod_name, kubeconfig, netns_dir, state_dir } = arguments;
        let pod = pod_name.unwrap_or_else(|| node_name.clone()).into();
        Self { node: node_name.into(), namespace: namespace.into(), pod, kubeconfig, state_dir, netns_dir }
    }
}
