//! The last good objects on the node's disk, for a restart while the Kubernetes API is away.
//!
//! Comes in: texts in force. Goes out: the same texts, after a restart. Never: a half file (it is written beside and renamed), or a
//! file that another version would misread.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::control::ManifestText;

const FILE: &str = "objects.json";
/// Of what stands in the file. Another one is not read.
const FORM: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Snapshot {
    form: u32,
    /// Whose pods they are.
    node: String,
    objects: Vec<(Arc<str>, Arc<str>)>,
}

/// From one writing to the next: it is all of the objects each time, and in a rollout they change many times a second.
const PAUSE: Duration = Duration::from_secs(5);

/// Writes texts when there are others, on a thread of its own: a slow disk delays nobody.
#[derive(Debug)]
pub(super) struct Keeper {
    texts: mpsc::Sender<Vec<ManifestText>>,
}

impl Keeper {
    /// Keeps them in a folder, which is made if it is missing.
    ///
    /// # Errors
    /// If it cannot be made, or the thread not started.
    pub(super) fn start(folder: &Path, node: &str) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let (texts, queue) = mpsc::channel::<Vec<ManifestText>>();
        let (folder, node) = (folder.to_owned(), node.to_owned());
        thread::Builder::new().name("snapshot".to_owned()).spawn(move || {
            let mut next = queue.recv().ok();
            while let Some(texts) = next {
                if let Err(error) = write(&folder, &node, texts) {
                    tracing::warn!(%error, folder = %folder.display(), "cannot keep the objects on disk: a restart without the Kubernetes API would begin without rules");
                }
                next = last_within(&queue, PAUSE).or_else(|| queue.recv().ok());
            }
        })?;
        Ok(Self { texts })
    }

    pub(super) fn keep(&self, texts: &[ManifestText]) {
        let _ = self.texts.send(texts.to_vec());
    }
}

/// The last that comes within a time: only that is worth its writing. At once if nobody sends any more.
fn last_within<T>(queue: &mpsc::Receiver<T>, time: Duration) -> Option<T> {
    let end = Instant::now() + time;
    let mut last = None;
    while let Ok(later) = queue.recv_timeout(end.saturating_duration_since(Instant::now())) {
        last = Some(later);
    }
    last
}

fn write(folder: &Path, node: &str, texts: Vec<ManifestText>) -> io::Result<()> {
    let objects = texts.into_iter().filter_map(|text| Some((text.path, text.text.ok()?))).collect();
    let bytes = serde_json::to_vec(&Snapshot { form: FORM, node: node.to_owned(), objects })?;
    let new = folder.join(format!("{FILE}.new"));
    let mut file = fs::File::create(&new)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(new, file_of(folder))
}

fn file_of(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

/// The objects of before, if there are any of this node. What cannot be read is as good as nothing, and said.
pub(super) fn load(folder: &Path, node: &str) -> Option<Vec<ManifestText>> {
    let path = file_of(folder);
    let unusable = |reason: String| {
        tracing::warn!(path = %path.display(), "the objects of before are not used: {reason}");
        None
    };
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return unusable(error.to_string()),
    };
    match serde_json::from_slice::<Snapshot>(&bytes) {
        Ok(snapshot) if snapshot.form != FORM => unusable("another version wrote them".to_owned()),
        Ok(snapshot) if snapshot.node != node => unusable(format!("they are of node {}", snapshot.node)),
        Ok(snapshot) => {
            let text = |(path, text)| ManifestText { path, text: Ok(text) };
            Some(snapshot.objects.into_iter().map(text).collect())
        }
        Err(error) => unusable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> Vec<ManifestText> {
        vec![ManifestText { path: "Service a/b".into(), text: Ok("{}".into()) }]
    }

    #[test]
    fn what_was_kept_comes_back_for_its_own_node() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "w1", texts()).unwrap();
        assert_eq!(load(folder.path(), "w1"), Some(texts()));
        assert_eq!(load(folder.path(), "w2"), None);
    }

    #[test]
    fn what_cannot_be_read_is_as_good_as_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load(folder.path(), "w1"), None);
        for content in ["", "{\"form\":1", "{\"form\":2,\"node\":\"w1\",\"objects\":[]}"] {
            fs::write(file_of(folder.path()), content).unwrap();
            assert_eq!(load(folder.path(), "w1"), None, "{content}");
        }
    }

    /// A node that loses its power in the middle finds the file of before. Mutation that breaks it: writing over it.
    #[test]
    fn a_file_that_is_being_written_is_not_the_one_that_is_read() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "w1", texts()).unwrap();
        let before = fs::read(file_of(folder.path())).unwrap();
        let linked = folder.path().join("linked");
        fs::hard_link(file_of(folder.path()), &linked).unwrap();
        write(folder.path(), "w1", Vec::new()).unwrap();
        assert_eq!(fs::read(linked).unwrap(), before);
        assert_eq!(load(folder.path(), "w1"), Some(Vec::new()));
        // What a write that was broken off has left is not read.
        fs::write(folder.path().join(format!("{FILE}.new")), "{").unwrap();
        assert_eq!(load(folder.path(), "w1"), Some(Vec::new()));
    }

    #[test]
    fn the_last_of_many_states_is_the_one_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let keeper = Keeper::start(&folder.path().join("sub"), "w1").unwrap();
        for _ in 0..50 {
            keeper.keep(&[]);
        }
        keeper.keep(&texts());
        drop(keeper);
        let written = (0..500).find_map(|_| {
            thread::sleep(Duration::from_millis(10));
            load(&folder.path().join("sub"), "w1").filter(|read| !read.is_empty())
        });
        assert_eq!(written, Some(texts()));
    }
}
