//! Manifests in files and folders, watched.
//!
//! Comes in: paths of `--config`. Goes out: the texts of all files, first at the start and then whenever one has changed. Never: what a
//! text means; an error after the start (a file that vanishes is a change, one that cannot be read is delivered as such).
//!
//! Any event in a folder that matters is only a hint to read everything again, and a slow poll makes up for hints that never come (a full
//! inotify queue, a network file system). Editors and the kubelet replace files by renaming a file or a symbolic link beside them: that is
//! why folders are watched, not files.

use std::{
    collections::{BTreeSet, HashMap},
    ffi::OsStr,
    fs, io,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep_until, timeout_at},
};

use super::ManifestText;

/// Changes come in bursts: read when there was none for so long.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// A burst that does not end is read in between.
const LONGEST_BURST: Duration = Duration::from_secs(1);
/// Read again even without a hint.
const POLL: Duration = Duration::from_secs(5);

/// What is read of a file at once to see whether it has changed.
const PIECE: usize = 64 << 10;

/// Standard input as a path.
const STDIN: &str = "-";

/// Why files cannot be a source.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A path of the command line cannot be read at the start.
    #[error("cannot read {path}: {reason}: give --config a file, a folder or `-`")]
    Unreadable {
        /// As given.
        path: String,
        /// Why. (Not a `source`: the line has it already.)
        reason: io::Error,
    },
}

/// What one `--config` names.
#[derive(Clone, Debug)]
enum Root {
    /// A file or a folder, which may come, go and change.
    Watched(PathBuf),
    /// Standard input, a pipe: read once.
    Once(ManifestText),
}

/// What a source waits for. It lives in the source and not in the future that waits, so that nothing begins anew when that is dropped.
#[derive(Debug)]
enum Stage {
    /// For a hint, at most until the next poll.
    Idle { poll: Instant },
    /// For the end of a burst, at most until `latest`.
    Settling { quiet: Instant, latest: Instant },
    /// For the texts.
    Reading(JoinHandle<Vec<ManifestText>>),
}

/// Files and folders as a source of manifests.
#[derive(Debug)]
pub struct FileSource {
    roots: Arc<[Root]>,
    /// What was delivered last.
    last: Vec<ManifestText>,
    stage: Stage,
    hints: mpsc::Receiver<()>,
    watcher: Option<RecommendedWatcher>,
}

impl FileSource {
    /// Reads everything once and begins to watch. The texts are there at once: [`Self::texts`].
    ///
    /// # Errors
    /// If a path cannot be read.
    pub fn open(paths: &[PathBuf]) -> Result<Self, FileError> {
        let roots = paths.iter().map(|path| root(path)).collect::<Result<Arc<[_]>, _>>()?;
        // One hint is as good as many.
        let (hint, hints) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.map_or(true, |event| is_change(event.kind)) {
                let _ = hint.try_send(());
            }
        });
        let watcher = watcher
            .inspect_err(|error| tracing::warn!(%error, "cannot watch files; they are read every {POLL:?}"))
            .ok();
        let mut source =
            Self { roots, last: Vec::new(), stage: Stage::Idle { poll: Instant::now() + POLL }, hints, watcher };
        source.watch();
        source.last = read_all(&source.roots, &[]);
        Ok(source)
    }

    /// What was delivered last.
    #[must_use]
    pub fn texts(&self) -> &[ManifestText] {
        &self.last
    }

    /// Waits until something has changed, and delivers all texts. If the future is dropped, the next one goes on where it was.
    pub async fn changed(&mut self) -> &[ManifestText] {
        loop {
            match &mut self.stage {
                Stage::Idle { poll } => {
                    let poll = *poll;
                    // The watcher is gone with its channel: only polling is left.
                    if let Ok(None) = timeout_at(poll, self.hints.recv()).await {
                        sleep_until(poll).await;
                    }
                    let now = Instant::now();
                    self.stage = Stage::Settling { quiet: now + DEBOUNCE, latest: now + LONGEST_BURST };
                }
                Stage::Settling { quiet, latest } => {
                    let end = (*quiet).min(*latest);
                    if Instant::now() < end
                        && let Ok(Some(())) = timeout_at(end, self.hints.recv()).await
                    {
                        *quiet = Instant::now() + DEBOUNCE;
                        continue;
                    }
                    // A folder that was replaced has to be watched anew.
                    self.watch();
                    let (roots, known) = (Arc::clone(&self.roots), self.last.clone());
                    self.stage = Stage::Reading(tokio::task::spawn_blocking(move || read_all(&roots, &known)));
                }
                Stage::Reading(reading) => {
                    let read = reading.await;
                    self.stage = Stage::Idle { poll: Instant::now() + POLL };
                    match read {
                        Ok(texts) if texts != self.last => {
                            self.last = texts;
                            return &self.last;
                        }
                        Ok(_) => {}
                        Err(error) => tracing::error!(%error, "reading the configuration failed; it is tried again"),
                    }
                }
            }
        }
    }

    /// Watches the folder of every root, the root if it is a folder, and where symbolic links lead, those of a folder's files as well.
    fn watch(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let mut folders = BTreeSet::new();
        for root in &*self.roots {
            let Root::Watched(path) = root else { continue };
            let real = path.canonicalize().ok();
            for path in [Some(path), real.as_ref()].into_iter().flatten() {
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
                folders.insert(parent.to_owned());
                if path.is_dir() {
                    folders.insert(path.clone());
                }
            }
            let files = list(path).unwrap_or_default();
            let real = files.iter().filter_map(|file| file.canonicalize().ok());
            folders.extend(real.filter_map(|file| file.parent().map(Path::to_owned)));
        }
        for folder in folders {
            // One that is missing shows when its parent changes, or at the next poll.
            let _ = watcher.watch(&folder, RecursiveMode::NonRecursive);
        }
    }
}

/// Our own reading is no change.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

fn root(path: &Path) -> Result<Root, FileError> {
    let name = path.to_string_lossy();
    let unreadable = |reason| FileError::Unreadable { path: name.to_string(), reason };
    if *path == *STDIN {
        let mut bytes = Vec::new();
        io::stdin().read_to_end(&mut bytes).map_err(unreadable)?;
        return Ok(Root::Once(manifest(&name, text(bytes))));
    }
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if metadata.is_dir() {
        fs::read_dir(path).map_err(unreadable)?;
    } else if metadata.is_file() {
        fs::File::open(path).map_err(unreadable)?;
    } else {
        // A pipe gives its content only once.
        let bytes = fs::read(path).map_err(unreadable)?;
        return Ok(Root::Once(manifest(&name, text(bytes))));
    }
    Ok(Root::Watched(path.to_owned()))
}

/// Every text that is there now, in the order of the command line and, in a folder, of the names; each file once. What is as it was is not made anew.
fn read_all(roots: &[Root], known: &[ManifestText]) -> Vec<ManifestText> {
    let known: HashMap<&str, &ManifestText> = known.iter().map(|text| (&*text.path, text)).collect();
    let mut texts: Vec<ManifestText> = Vec::new();
    let mut seen = BTreeSet::new();
    for root in roots {
        match root {
            Root::Once(text) => texts.push(text.clone()),
            Root::Watched(path) => {
                let mut read = Vec::new();
                read_path(path, &known, &mut read);
                texts.extend(read.into_iter().filter(|text| seen.insert(Arc::clone(&text.path))));
            }
        }
    }
    texts
}

fn read_path(path: &Path, known: &HashMap<&str, &ManifestText>, texts: &mut Vec<ManifestText>) {
    let name = path.to_string_lossy();
    let listed = match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => list(path),
        Ok(_) => return texts.extend(read_file(path, known)),
        Err(error) => Err(error),
    };
    match listed {
        Ok(files) => texts.extend(files.iter().filter_map(|file| read_file(file, known))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => texts.push(manifest(&name, Err(error.to_string()))),
    }
}

/// Manifests of a folder, not of the folders in it. Hidden files are other programs' (`..data` of the kubelet, swap files).
fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let is_manifest =
            path.extension().and_then(OsStr::to_str).is_some_and(|end| matches!(end, "yaml" | "yml" | "json"));
        if is_manifest && !hidden {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// `None` if it is gone, or is not a file at all.
fn read_file(path: &Path, known: &HashMap<&str, &ManifestText>) -> Option<ManifestText> {
    let known = known.get(&*path.to_string_lossy());
    if let Some(known) = known
        && let Ok(text) = &known.text
        && is_still(path, text).unwrap_or(false)
    {
        return Some((*known).clone());
    }
    let content = match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => return None,
        Ok(_) => fs::read(path),
        Err(error) => Err(error),
    };
    let content = match content {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => Err(error.to_string()),
        Ok(bytes) => text(bytes),
    };
    Some(manifest(&path.to_string_lossy(), content))
}

/// Whether a file has this content. It is compared piece by piece: a large one would otherwise be in memory twice at every look.
fn is_still(path: &Path, content: &str) -> io::Result<bool> {
    if !fs::metadata(path)?.is_file() {
        return Ok(false);
    }
    let mut file = fs::File::open(path)?;
    let (mut piece, mut rest) = (vec![0; PIECE], content.as_bytes());
    loop {
        let length = file.read(&mut piece)?;
        match rest.strip_prefix(&piece[..length]) {
            _ if length == 0 => return Ok(rest.is_empty()),
            Some(behind) => rest = behind,
            None => return Ok(false),
        }
    }
}

fn text(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} is not UTF-8")
    })
}

fn manifest(path: &str, text: Result<String, String>) -> ManifestText {
    ManifestText { path: path.into(), text: text.map(Into::into).map_err(Into::into) }
}

#[cfg(test)]
mod tests;
