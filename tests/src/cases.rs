//! Keeps `CASES.md` true: every test and every manifest that it names is there.

use std::{fs, path::Path};

/// What the page names between backticks.
fn named(page: &str) -> impl Iterator<Item = &str> {
    page.split('`').skip(1).step_by(2)
}

/// Why a test, as the page writes it, is none; it looks at the files from the root of the repository.
fn missing(root: &Path, file: &str, test: &str) -> Option<String> {
    let path = if file.contains('/') { root.join(file) } else { root.join(format!("tests/tests/{file}.rs")) };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => return Some(format!("{}: {error}", path.display())),
    };
    let is_there = text.contains(&format!("fn {test}("));
    // In the toy world a function that no case names would not run.
    let runs = if file.contains('/') { text.contains("#[test]") } else { text.contains(&format!("case!({test})")) };
    (!is_there || !runs).then(|| format!("{} has no test `{test}`", path.display()))
}

#[test]
fn every_test_and_manifest_of_the_page_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("tests/CASES.md")).unwrap();
    let (mut tests, mut manifests, mut wrong) = (0, 0, Vec::new());
    for name in named(&page) {
        if let Some((file, test)) = name.split_once("::").filter(|(file, test)| !file.is_empty() && !test.is_empty()) {
            tests += 1;
            wrong.extend(missing(&root, file, test));
        } else if name.starts_with("valid/") || name.starts_with("invalid/") {
            manifests += 1;
            let path = root.join("tests/fixtures/manifests").join(name);
            wrong
                .extend((name.ends_with(".yaml") && !path.exists()).then(|| format!("there is no {}", path.display())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // A page that is read otherwise than it is written would be in order.
    assert!(tests > 150 && manifests > 20, "{tests} tests and {manifests} manifests are named");
}

/// Every letter of the consolidated list, from its first number to its last. Fails if a row is lost.
#[test]
fn no_case_of_the_list_is_left_out() {
    let page = include_str!("../CASES.md");
    for (letter, last) in
        [('P', 11), ('H', 12), ('R', 6), ('B', 8), ('F', 13), ('M', 4), ('C', 6), ('U', 3), ('O', 4), ('S', 3)]
    {
        for number in 1..=last {
            let case = format!("{letter}{number} ");
            let is_there = page.lines().any(|line| line.starts_with("| ") && line.contains(&case));
            assert!(is_there, "{case} has no row");
        }
    }
}
