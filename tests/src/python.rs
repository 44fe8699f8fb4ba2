//! Programs in Python (`tests/scripts`), under the lab's environment.

use crate::paths;

/// The command line of one of them.
#[must_use]
pub fn script(name: &str, arguments: &[&str]) -> Vec<String> {
    let python = paths::venv().join("bin/python").display().to_string();
    // Unbuffered: the tests read what a server writes while it runs.
    let mut words = vec![python, "-u".to_owned(), paths::script(name).display().to_string()];
    words.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    words
}
