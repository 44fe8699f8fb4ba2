//! `understudy cleanup`: removes every pin of any version. Idempotent; the hooks of a running process go on by its own descriptors.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Name of our directory in bpffs.
pub(super) const TOP: &str = "understudy";

/// One thing that was removed, or why it was not.
pub type Removal = Result<PathBuf, (PathBuf, io::Error)>;

/// Removes everything of ours below a bpffs. An empty answer: there was nothing.
#[must_use]
pub fn cleanup(bpffs: &Path) -> Vec<Removal> {
    remove_tree(&bpffs.join(TOP))
}

/// Removes a tree, deepest first, in the order of names; a missing one is nothing. Symbolic links are not followed.
pub(super) fn remove_tree(path: &Path) -> Vec<Removal> {
    let kind = match fs::symlink_metadata(path) {
        Ok(meta) => meta.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => return vec![Err((path.to_owned(), error))],
    };
    let mut removals = Vec::new();
    let removed = if kind.is_dir() {
        let mut children: Vec<_> =
            fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        children.sort();
        removals.extend(children.iter().flat_map(|child| remove_tree(child)));
        fs::remove_dir(path)
    } else {
        fs::remove_file(path)
    };
    removals.push(removed.map(|()| path.to_owned()).map_err(|error| (path.to_owned(), error)));
    removals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_of_every_version_go_and_nothing_else() {
        let bpffs = tempfile::tempdir().unwrap();
        for path in ["understudy/abi-1/node/1", "understudy/abi-0/other/3", "cilium"] {
            fs::create_dir_all(bpffs.path().join(path)).unwrap();
            fs::write(bpffs.path().join(path).join("connect4"), "").unwrap();
        }
        let removed: Vec<_> = cleanup(bpffs.path()).into_iter().map(Result::unwrap).collect();
        assert_eq!(removed.len(), 9);
        assert_eq!(removed.last().unwrap(), &bpffs.path().join("understudy"));
        assert!(bpffs.path().join("cilium/connect4").exists());
        assert!(cleanup(bpffs.path()).is_empty(), "a second time there is nothing to do");
    }
}
