//! Where manifests come from.
//!
//! Comes in: paths (later the Kubernetes API). Goes out: texts under their names, all of them, whenever one has changed. Never: what a
//! text means.

pub mod file;

use std::sync::Arc;

/// A file and its content, or why it could not be read although it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestText {
    /// The file as the user named it, or folder and name; `-` for standard input. For a folder that cannot be listed, the folder.
    pub path: Arc<str>,
    /// The content, or the reason in one line. A file that is gone has no `ManifestText`.
    pub text: Result<Arc<str>, Arc<str>>,
}
