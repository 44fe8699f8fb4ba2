//! A file's text as a sequence of documents.
//!
//! Comes in: YAML or JSON. Goes out: untyped values, in order, up to the first that is not well formed. Never: types, kinds.

use serde::Deserialize;
use serde_yaml::Value;

use super::reporter::Source;
use crate::control::diagnostic::{Diagnostic, Location, Severity};

/// The documents before the first syntax error, by their number, and that error.
#[derive(Debug)]
pub struct Documents {
    /// Number of the document in its file, and its content. Empty documents are left out.
    pub values: Vec<(usize, Value)>,
    /// What is wrong behind them.
    pub error: Option<Diagnostic>,
}

/// Splits a text into documents. JSON is read by its own parser: YAML's does not know `\ud83d\ude00`.
#[must_use]
pub fn documents(source: &Source<'_>) -> Documents {
    let is_json = source.path.ends_with(".json");
    if is_json || source.text.trim_start().starts_with('{') {
        let json = from_json(source);
        // A YAML file may begin with a flow mapping.
        if is_json || json.error.is_none() {
            return json;
        }
    }
    from_yaml(source)
}

fn from_yaml(source: &Source<'_>) -> Documents {
    let mut values = Vec::new();
    for (number, document) in serde_yaml::Deserializer::from_str(source.text).enumerate() {
        let merged = Value::deserialize(document).and_then(|mut value| value.apply_merge().map(|()| value));
        match merged {
            Ok(Value::Null) => {}
            Ok(value) => values.push((number, value)),
            Err(error) => {
                let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
                let message = error.to_string();
                // The place stands in front of the line already.
                let message = message.split(" at line ").next().unwrap_or_default();
                return Documents { values, error: Some(syntax_error(source, number, "YAML", message, line, column)) };
            }
        }
    }
    Documents { values, error: None }
}

fn from_json(source: &Source<'_>) -> Documents {
    let mut values = Vec::new();
    for (number, document) in serde_json::Deserializer::from_str(source.text).into_iter::<Value>().enumerate() {
        match document {
            Ok(Value::Null) => {}
            Ok(value) => values.push((number, value)),
            Err(error) => {
                let message = error.to_string();
                let message = message.split(" at line ").next().unwrap_or_default();
                return Documents {
                    values,
                    error: Some(syntax_error(source, number, "JSON", message, error.line(), error.column())),
                };
            }
        }
    }
    Documents { values, error: None }
}

fn syntax_error(
    source: &Source<'_>,
    document: usize,
    language: &str,
    message: &str,
    line: usize,
    column: usize,
) -> Diagnostic {
    let number = |value: usize| u32::try_from(value.max(1)).unwrap_or(u32::MAX);
    // Neither parser says where it is.
    let duplicate = message.contains("duplicate entry").then(|| source.positions().duplicate_key(document)).flatten();
    let (line, column) = duplicate.unwrap_or((number(line), number(column)));
    let location = Location { path: source.path.clone(), line, column };
    Diagnostic::new(Severity::Error, location, format!("not well-formed {language}: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> (Vec<usize>, Option<String>) {
        let documents = documents(&Source::new(&name.into(), text));
        (documents.values.iter().map(|(number, _)| *number).collect(), documents.error.map(|error| error.to_string()))
    }

    #[test]
    fn empty_documents_are_skipped_but_keep_their_number() {
        assert_eq!(read("a.yaml", "# only a comment\n---\n---\na: 1\n---\nb: 1\n").0.len(), 2);
        assert_eq!(read("a.yaml", ""), (vec![], None));
        assert_eq!(read("a.yaml", "# nothing\n"), (vec![], None));
    }

    #[test]
    fn documents_before_a_syntax_error_are_kept() {
        let (good, error) = read("a.yaml", "a: 1\n---\nb: [\n---\nc: 1\n");
        assert_eq!(good, [0]);
        assert!(
            error.unwrap().starts_with("a.yaml:4:1: error: not well-formed YAML"),
            "the break is seen where the next document begins"
        );
    }

    #[test]
    fn json_is_read_as_json_even_without_the_suffix() {
        assert_eq!(read("a", r#"{"a": "\ud83d\ude00"} {"b": 1}"#), (vec![0, 1], None));
        let (_, error) = read("a.json", "{\n  \"a\": 1,\n}");
        assert_eq!(
            error.unwrap().split(" (").next().unwrap(),
            "a.json:3:1: error: not well-formed JSON: trailing comma"
        );
    }

    #[test]
    fn a_yaml_file_may_begin_with_a_flow_mapping() {
        assert_eq!(read("a.yaml", "{a: 1}\n---\nb: 2\n"), (vec![0, 1], None));
    }

    #[test]
    fn aliases_cannot_blow_up_memory() {
        let bomb = (0..30).fold("a0: &a0 [x]\n".to_owned(), |text, n| {
            format!("{text}a{}: &a{} [*a{n}, *a{n}, *a{n}, *a{n}]\n", n + 1, n + 1)
        });
        assert!(read("a.yaml", &bomb).1.unwrap().contains("repetition limit"));
    }
}
