use std::os::unix::fs::symlink;

use tokio::time::timeout;

use super::*;

/// File names and contents of what was delivered.
fn contents(texts: &[ManifestText]) -> Vec<(String, String)> {
    let name = |text: &ManifestText| text.path.rsplit('/').next().unwrap_or_default().to_owned();
    texts
        .iter()
        .map(|text| (name(text), text.text.clone().map_or_else(|e| format!("!{e}"), |t| t.to_string())))
        .collect()
}

fn one(name: &str, content: &str) -> Vec<(String, String)> {
    vec![(name.to_owned(), content.to_owned())]
}

fn open(path: &Path) -> FileSource {
    FileSource::open(&[path.to_owned()]).unwrap()
}

#[tokio::test]
async fn a_folder_delivers_its_manifests_in_the_order_of_their_names() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["b.yml", "a.json", "c.yaml", "readme.txt", ".hidden.yaml"] {
        fs::write(folder.path().join(name), name).unwrap();
    }
    fs::create_dir(folder.path().join("sub.yaml")).unwrap();
    let names: Vec<_> = contents(open(folder.path()).texts()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a.json", "b.yml", "c.yaml"]);
}

#[tokio::test]
async fn a_file_that_is_replaced_by_rename_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.yaml");
    fs::write(&file, "old").unwrap();
    let mut source = open(&file);
    assert_eq!(contents(source.texts()), one("a.yaml", "old"));
    fs::write(folder.path().join("tmp"), "new").unwrap();
    fs::rename(folder.path().join("tmp"), &file).unwrap();
    assert_eq!(contents(source.changed().await), one("a.yaml", "new"));
}

/// As the kubelet updates a ConfigMap: the files are links through `..data`, which is replaced.
#[tokio::test]
async fn a_link_that_is_replaced_beside_the_file_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (version, content) in [("..1", "old"), ("..2", "new")] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("a.yaml"), content).unwrap();
    }
    symlink("..1", at("..data")).unwrap();
    symlink("..data/a.yaml", at("a.yaml")).unwrap();
    let mut source = open(folder.path());
    assert_eq!(contents(source.texts()), one("a.yaml", "old"));
    symlink("..2", at("..tmp")).unwrap();
    fs::rename(at("..tmp"), at("..data")).unwrap();
    assert_eq!(contents(source.changed().await), one("a.yaml", "new"));
}

#[tokio::test]
async fn files_and_folders_come_and_go_without_an_error() {
    let top = tempfile::tempdir().unwrap();
    let folder = top.path().join("config");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a.yaml"), "a").unwrap();
    let mut source = open(&folder);
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(contents(source.changed().await), []);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("b.yaml"), "b").unwrap();
    assert_eq!(contents(source.changed().await), one("b.yaml", "b"));
    // The new folder is watched, not only its parent.
    fs::write(folder.join("b.yaml"), "c").unwrap();
    assert_eq!(contents(source.changed().await), one("b.yaml", "c"));
}

#[tokio::test]
async fn a_text_that_is_not_utf8_is_delivered_as_unreadable() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), b"a: 1\nb: \xff\n").unwrap();
    assert_eq!(contents(open(folder.path()).texts()), one("a.yaml", "!line 2 is not UTF-8"));
}

#[test]
fn a_path_that_is_not_there_at_the_start_is_an_error() {
    let error = FileSource::open(&["/no/such/file.yaml".into()]).unwrap_err().to_string();
    assert!(error.starts_with("cannot read /no/such/file.yaml: No such file"), "{error}");
}

#[tokio::test]
async fn a_file_named_twice_is_delivered_once() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), "a").unwrap();
    let source = FileSource::open(&[folder.path().to_owned(), folder.path().join("a.yaml")]).unwrap();
    assert_eq!(contents(source.texts()), one("a.yaml", "a"));
}

/// The control loop has other things to do as well: it asks anew each time.
#[tokio::test(start_paused = true)]
async fn a_poll_comes_although_nobody_waits_for_it_without_a_break() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.yaml");
    fs::write(&file, "old").unwrap();
    let mut source = open(&file);
    source.watcher = None;
    fs::write(&file, "new").unwrap();
    for _ in 0..1000 {
        if let Ok(texts) = timeout(Duration::from_millis(100), source.changed()).await {
            return assert_eq!(contents(texts), one("a.yaml", "new"));
        }
    }
    panic!("no poll in 100 seconds");
}

#[tokio::test(start_paused = true)]
async fn a_burst_without_an_end_is_read_in_between() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.yaml");
    fs::write(&file, "old").unwrap();
    let mut source = open(&file);
    source.watcher = None;
    let (hint, hints) = mpsc::channel(1);
    source.hints = hints;
    fs::write(&file, "new").unwrap();
    for _ in 0..1000 {
        let _ = hint.try_send(());
        if let Ok(texts) = timeout(Duration::from_millis(20), source.changed()).await {
            return assert_eq!(contents(texts), one("a.yaml", "new"));
        }
    }
    panic!("the burst was waited for");
}

/// The poll is put off, so that only a hint can bring it.
#[tokio::test]
async fn a_link_out_of_the_folder_is_followed() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let target = elsewhere.path().join("real.yaml");
    fs::write(&target, "old").unwrap();
    symlink(&target, folder.path().join("a.yaml")).unwrap();
    let mut source = open(folder.path());
    source.stage = Stage::Idle { poll: Instant::now() + Duration::from_secs(1_000_000) };
    fs::write(&target, "new").unwrap();
    assert_eq!(contents(source.changed().await), one("a.yaml", "new"));
}

/// Fails if a look makes the texts anew that have not changed (a large configuration would be in memory twice), or takes a changed one for the old one.
#[test]
fn only_what_has_changed_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.yaml");
    let long = "x".repeat(2 * PIECE);
    fs::write(folder.path().join("b.yaml"), &long).unwrap();
    for (before, after) in [("a", "a"), ("a", "b"), ("a", ""), ("", "a"), (&*long, &long[1..]), (&long[1..], &*long)] {
        fs::write(&file, before).unwrap();
        let roots = [root(folder.path()).unwrap()];
        let old = read_all(&roots, &[]);
        fs::write(&file, after).unwrap();
        let new = read_all(&roots, &old);
        assert_eq!(contents(&new), [one("a.yaml", after), one("b.yaml", &long)].concat());
        let same = |index: usize| Arc::ptr_eq(old[index].text.as_ref().unwrap(), new[index].text.as_ref().unwrap());
        assert_eq!((same(0), same(1)), (before == after, true));
    }
}
