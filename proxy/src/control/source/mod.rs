//! Where manifests come from.
//!
//! Comes in: paths, or a cluster. Goes out: texts under their names, all of them, whenever one has changed. Never: what a
//! text means.

pub mod file;
pub mod kube;

use std::sync::Arc;

use self::{file::FileSource, kube::KubeSource};

/// Where the objects of this process come from.
#[derive(Debug)]
pub enum Source {
    /// Files and folders.
    Files(Box<FileSource>),
    /// A cluster.
    Cluster(Box<KubeSource>),
}

impl Source {
    /// What was delivered last.
    #[must_use]
    pub fn texts(&self) -> &[ManifestText] {
        match self {
            Self::Files(files) => files.texts(),
            Self::Cluster(cluster) => cluster.texts(),
        }
    }

    /// Waits until something has changed, and delivers all texts. If the future is dropped, the next one goes on where it was.
    pub async fn changed(&mut self) -> &[ManifestText] {
        match self {
            Self::Files(files) => files.changed().await,
            Self::Cluster(cluster) => cluster.changed().await,
        }
    }

    /// Whether what was delivered is a configuration to go by. A cluster's is once all of it was heard.
    #[must_use]
    pub fn has_configuration(&self) -> bool {
        match self {
            Self::Files(_) => true,
            Self::Cluster(cluster) => cluster.has_configuration(),
        }
    }

    /// What keeps the source from hearing of changes.
    #[must_use]
    pub fn problems(&self) -> Vec<&str> {
        match self {
            Self::Files(_) => Vec::new(),
            Self::Cluster(cluster) => cluster.problems(),
        }
    }
}

/// A file and its content, or why it could not be read although it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestText {
    /// The file as the user named it, or folder and name; `-` for standard input. For a folder that cannot be listed, the folder.
    pub path: Arc<str>,
    /// The content, or the reason in one line. A file that is gone has no `ManifestText`.
    pub text: Result<Arc<str>, Arc<str>>,
}
