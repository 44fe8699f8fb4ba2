//! A file's text as a sequence of documents.
//!
//! Comes in: YAML or JSON. Goes out: untyped values, one at a time and in order, up to the first that is not well formed. Never: types, kinds.

use std::iter::Enumerate;

use serde::Deserialize as _;
use serde_json::{StreamDeserializer, de::StrRead};
use serde_yaml::Value;

use super::reporter::Source;
use crate::control::diagnostic::{Diagnostic, Location, Severity};

/// The documents of a text, one after the other: number in the text, and content. Empty documents are left out. The first syntax error is
/// the last item.
///
/// Each is parsed when it is asked for: the values of a large file would weigh many times what the file does.
pub struct Documents<'s, 't> {
    source: &'s Source<'t>,
    /// `None` after the end.
    rest: Option<Rest<'t>>,
}

enum Rest<'t> {
    Yaml(Enumerate<serde_yaml::Deserializer<'t>>),
    Json(Enumerate<StreamDeserializer<'t, StrRead<'t>, Value>>),
}

/// Splits a text into documents. JSON is read by its own parser: YAML's does not know `\ud83d\ude00`.
#[must_use]
pub fn documents<'s, 't>(source: &'s Source<'t>) -> Documents<'s, 't> {
    // A YAML file may begin with a flow mapping.
    let is_json = source.path.ends_with(".json")
        || (source.text.trim_start().starts_with('{') && json(source).all(|value| value.is_ok()));
    let rest = if is_json {
        Rest::Json(json(source).enumerate())
    } else {
        Rest::Yaml(serde_yaml::Deserializer::from_str(source.text).enumerate())
    };
    Documents { source, rest: Some(rest) }
}

fn json<'t>(source: &Source<'t>) -> StreamDeserializer<'t, StrRead<'t>, Value> {
    serde_json::Deserializer::from_str(source.text).into_iter()
}

impl Iterator for Documents<'_, '_> {
    type Item = Result<(usize, Value), Diagnostic>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let next = match self.rest.as_mut()? {
                Rest::Yaml(documents) => documents.next().map(|(number, document)| (number, from_yaml(document))),
                Rest::Json(documents) => {
                    documents.next().map(|(number, document)| (number, document.map_err(Broken::from)))
                }
            };
            match next {
                Some((_, Ok(Value::Null))) => {}
                Some((number, Ok(value))) => return Some(Ok((number, value))),
                Some((number, Err(broken))) => {
                    self.rest = None;
                    return Some(Err(broken.at(self.source, number)));
                }
                None => {
                    self.rest = None;
                    return None;
                }
            }
        }
    }
}

fn from_yaml(document: serde_yaml::Deserializer<'_>) -> Result<Value, Broken> {
    let mut value = Value::deserialize(document)?;
    value.apply_merge()?;
    Ok(value)
}

/// What a parser says of a text that is not well formed.
struct Broken {
    language: &'static str,
    message: String,
    line: usize,
    column: usize,
}

impl From<serde_yaml::Error> for Broken {
    fn from(error: serde_yaml::Error) -> Self {
        let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
        Self { language: "YAML", message: error.to_string(), line, column }
    }
}

impl From<serde_json::Error> for Broken {
    fn from(error: serde_json::Error) -> Self {
        Self { language: "JSON", message: error.to_string(), line: error.line(), column: error.column() }
    }
}

impl Broken {
    fn at(self, source: &Source<'_>, document: usize) -> Diagnostic {
        let number = |value: usize| u32::try_from(value.max(1)).unwrap_or(u32::MAX);
        let Self { language, message, line, column } = self;
        // The place stands in front of the line already.
        let message = message.split(" at line ").next().unwrap_or_default();
        // Neither parser says where it is.
        let duplicate = message.contains("duplicate entry").then(|| source.duplicate_key(document)).flatten();
        let (line, column) = duplicate.unwrap_or((number(line), number(column)));
        let location = Location { path: source.path.clone(), line, column };
        Diagnostic::new(Severity::Error, location, format!("not well-formed {language}: {message}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> (Vec<usize>, Option<String>) {
        let (mut numbers, mut error) = (Vec::new(), None);
        for document in documents(&Source::new(&name.into(), text)) {
            assert_eq!(error, None, "nothing comes after an error");
            match document {
                Ok((number, _)) => numbers.push(number),
                Err(broken) => error = Some(broken.to_string()),
            }
        }
        (numbers, error)
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
