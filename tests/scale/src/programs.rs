//! The programs of a control plane, and where they come from.
//!
//! Comes in: flags, variables, PATH. Goes out: paths of programs that are there, or one error that names all that are not. Never: a download.

use std::path::PathBuf;

use anyhow::{Result, bail};
use integration::needs;

/// What the control plane is made of.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) apiserver: PathBuf,
    pub(crate) etcd: PathBuf,
    pub(crate) openssl: PathBuf,
}

/// Where somebody says that they are.
#[derive(Debug, clap::Args)]
pub(crate) struct Given {
    /// kube-apiserver [default: in the folder KUBEBUILDER_ASSETS, or on PATH]
    #[arg(long, value_name = "FILE", env = "TEST_ASSET_KUBE_APISERVER")]
    kube_apiserver: Option<PathBuf>,
    /// etcd [default: likewise]
    #[arg(long, value_name = "FILE", env = "TEST_ASSET_ETCD")]
    etcd: Option<PathBuf>,
    /// A folder with both
    #[arg(long, value_name = "FOLDER", env = "KUBEBUILDER_ASSETS")]
    assets: Option<PathBuf>,
}

impl Programs {
    /// Finds them.
    ///
    /// # Errors
    /// With everything that is missing, and how to get it.
    pub(crate) fn find(given: &Given) -> Result<Self> {
        let mut missing = Vec::new();
        let mut find = |name: &str, file: Option<&PathBuf>, remedy: &str| {
            let in_assets = given.assets.as_ref().map(|folder| folder.join(name));
            let found = match file {
                Some(file) => Some(file.clone()).filter(|file| file.is_file()),
                None => in_assets.filter(|file| file.is_file()).or_else(|| needs::find(name)),
            };
            found.unwrap_or_else(|| {
                let place = file.map_or_else(|| "on PATH".to_owned(), |file| format!("at {}", file.display()));
                missing.push(format!("no {name} {place}: {remedy}"));
                PathBuf::new()
            })
        };
        let released = "it is among the server binaries of a Kubernetes release, and `setup-envtest use` unpacks both (KUBEBUILDER_ASSETS is its folder)";
        let programs = Self {
            apiserver: find(
                "kube-apiserver",
                given.kube_apiserver.as_ref(),
                &format!("name it by --kube-apiserver; {released}"),
            ),
            etcd: find("etcd", given.etcd.as_ref(), "name it by --etcd; package etcd-server, or as kube-apiserver"),
            openssl: find("openssl", None, "package openssl; it makes the key that signs tokens"),
        };
        if !missing.is_empty() {
            bail!("a control plane needs more than there is:\n  {}", missing.join("\n  "));
        }
        Ok(programs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails if only the first of several missing programs is named, or a named file is not looked at.
    #[test]
    fn all_that_is_missing_is_said_at_once() {
        let no = || Some(PathBuf::from("/no/such/file"));
        let error = Programs::find(&Given { kube_apiserver: no(), etcd: no(), assets: None }).unwrap_err().to_string();
        assert!(error.contains("no kube-apiserver at /no/such/file: name it by --kube-apiserver"), "{error}");
        assert!(error.contains("no etcd at /no/such/file: name it by --etcd"), "{error}");
    }

    #[test]
    fn a_folder_of_assets_comes_before_the_path() {
        let folder = integration::paths::lab().join(format!("assets-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for name in ["etcd", "kube-apiserver"] {
            std::fs::write(folder.join(name), "").unwrap();
        }
        let given = Given { kube_apiserver: None, etcd: None, assets: Some(folder.clone()) };
        let found = Programs::find(&given);
        std::fs::remove_dir_all(&folder).unwrap();
        let found = found.unwrap();
        assert_eq!((found.etcd, found.apiserver), (folder.join("etcd"), folder.join("kube-apiserver")));
    }
}
