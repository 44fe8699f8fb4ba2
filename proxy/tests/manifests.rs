//! The corpus of manifests in `tests/fixtures/manifests`: what is accepted, and what is said about the rest, with line and column.
#![expect(clippy::unwrap_used, reason = "in tests, also in their helpers")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use understudy::control::{Controller, ManifestText, Settings, diagnostic::Diagnostic};

/// Files of each folder: a file that is not found would be a test that is not run.
const VALID: usize = 22;
const INVALID: usize = 92;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/manifests")
}

fn cases(folder: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(corpus().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|end| end == "yaml" || end == "json")).collect();
    cases.sort();
    cases
}

fn load(path: &Path) -> ManifestText {
    let name = path.file_name().unwrap().to_string_lossy();
    ManifestText { path: name.as_ref().into(), text: Ok(fs::read_to_string(path).unwrap().into()) }
}

/// What is said about a file beside the world, one finding a line, without the file's name.
fn findings(path: &Path) -> (Vec<Diagnostic>, String) {
    let texts = [load(&corpus().join("world.yaml")), load(path)];
    let found = Controller::check(&Settings::default(), &texts);
    let name = format!("{}:", texts[1].path);
    let lines: String = found.iter().map(|finding| format!("{finding}\n").replace(&name, "")).collect();
    (found, lines)
}

/// Compares with the file beside the case, or writes it.
fn differs(path: &Path, lines: &str) -> Option<String> {
    let expected_path = path.with_added_extension("expected");
    if std::env::var_os("UNDERSTUDY_BLESS").is_some() {
        if lines.is_empty() {
            let _ = fs::remove_file(expected_path);
        } else {
            fs::write(expected_path, lines).unwrap();
        }
        return None;
    }
    let expected = fs::read_to_string(&expected_path).unwrap_or_default();
    (expected != lines).then(|| format!("{}\n--- expected\n{expected}--- found\n{lines}", path.display()))
}

/// Breaks if the unsupported fields of `control::manifest::fields` are no longer reported, or Kubernetes' own fields are.
#[test]
fn valid_manifests_are_accepted_with_exactly_the_expected_remarks() {
    let cases = cases("valid");
    assert_eq!(cases.len(), VALID);
    let mut wrong = Vec::new();
    for path in &cases {
        let (found, lines) = findings(path);
        if found.iter().any(Diagnostic::is_error) {
            wrong.push(format!("{} is refused:\n{lines}", path.display()));
        }
        wrong.extend(differs(path, &lines));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Breaks if any rule of `control::validate` is left out: each has a file here.
#[test]
fn invalid_manifests_are_refused_at_the_expected_place_for_the_expected_reason() {
    let cases = cases("invalid");
    assert_eq!(cases.len(), INVALID);
    let mut wrong = Vec::new();
    for path in &cases {
        let (found, lines) = findings(path);
        if !found.iter().any(Diagnostic::is_error) {
            wrong.push(format!("{} is accepted", path.display()));
        }
        if let Some(nowhere) = found.iter().find(|finding| finding.location.line == 0) {
            wrong.push(format!("{}: a finding without a line: {nowhere}", path.display()));
        }
        wrong.extend(differs(path, &lines));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// An expectation whose case is gone would never be compared.
#[test]
fn every_expectation_belongs_to_a_case() {
    for folder in ["valid", "invalid"] {
        for entry in fs::read_dir(corpus().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|end| end == "expected") {
                assert!(path.with_extension("").exists(), "{}", path.display());
            }
        }
    }
}
