//! What is wrong with a manifest, where, and what to do about it.
//!
//! Comes in: findings of `manifest`, `validate`, `objects` and `compile`. Goes out: one line for a log, or several with the source for a
//! terminal. Never: a finding without a place.

use std::{
    fmt::{self, Write as _},
    sync::Arc,
};

use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The object is not applied; its last good state stays.
    Error,
    /// The object is applied, but does less (or something else) than its author may think.
    Warning,
    /// Good to know.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// Why an object does not do what its author wants, in the one word that conditions and Events of Kubernetes carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Reason {
    /// It does not parse, or says what cannot be.
    Invalid,
    /// It names a Service, or another object, that is not there.
    NotFound,
    /// It names a subset that no DestinationRule defines.
    UnknownSubset,
    /// It names a port that the Service does not have.
    UnknownPort,
    /// No pod is ready behind a destination.
    NoEndpoints,
    /// Its Service cannot be captured.
    NotCapturable,
    /// Another object says the same, and counts.
    Conflict,
    /// It is where it has no effect.
    NoEffect,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A place in a manifest. Line and column count from 1; 0 means "the file as a whole".
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Location {
    /// The file as the user named it, `-` for standard input.
    pub path: Arc<str>,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

impl Location {
    /// The file as a whole.
    #[must_use]
    pub fn file(path: &Arc<str>) -> Self {
        Self { path: Arc::clone(path), line: 0, column: 0 }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if self.line > 0 { write!(f, ":{}:{}", self.line, self.column) } else { Ok(()) }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Where it is.
    pub location: Location,
    /// `VirtualService mirror/httpbin`, if the object could be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<Arc<str>>,
    /// Why its object does not do what it says. Some findings are only good to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What to do, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Diagnostic {
    /// A finding about a whole file or object.
    #[must_use]
    pub fn new(severity: Severity, location: Location, message: impl Into<String>) -> Self {
        let reason = (severity == Severity::Error).then_some(Reason::Invalid);
        Self { severity, location, object: None, reason, message: message.into(), remedy: None }
    }

    /// The same with what keeps its object from doing what it says.
    #[must_use]
    pub fn because(self, reason: Reason) -> Self {
        Self { reason: Some(reason), ..self }
    }

    /// The same with a remedy; an empty one is none.
    #[must_use]
    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()).filter(|remedy| !remedy.is_empty()), ..self }
    }

    /// The same with the object it is about.
    #[must_use]
    pub fn about(self, object: &Arc<str>) -> Self {
        Self { object: Some(Arc::clone(object)), ..self }
    }

    /// Whether it keeps its object from being applied.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The finding with its line of the source and a caret, as `understudy check` shows it. `text` is the file's content, if it is at
    /// hand.
    #[must_use]
    pub fn render(&self, text: Option<&str>) -> String {
        let Self { severity, location, object, message, remedy, .. } = self;
        let mut out = match object {
            Some(object) => format!("{severity}: {object}: {message}\n"),
            None => format!("{severity}: {message}\n"),
        };
        let number = location.line.to_string();
        let margin = " ".repeat(number.len());
        let _ = writeln!(out, "{margin}--> {location}");
        let index = (location.line as usize).checked_sub(1);
        if let Some(source) = index.and_then(|index| text?.lines().nth(index)) {
            let (before, marked) = split_at_column(source, location.column);
            // Tabs stay tabs, so that the caret stands under the same place.
            let indent: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            let caret = "^".repeat(width_of_token(marked));
            let _ = writeln!(out, "{margin} |\n{number} | {source}\n{margin} | {indent}{caret}");
        }
        if let Some(remedy) = remedy {
            let _ = writeln!(out, "{margin} = help: {remedy}");
        }
        out
    }
}

/// `path:line:column: error: object: message (remedy)`.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: ", self.location, self.severity)?;
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        f.write_str(&self.message)?;
        self.remedy.as_ref().map_or(Ok(()), |remedy| write!(f, " ({remedy})"))
    }
}

fn split_at_column(line: &str, column: u32) -> (&str, &str) {
    let skip = (column as usize).saturating_sub(1);
    let at = line.char_indices().nth(skip).map_or(line.len(), |(at, _)| at);
    line.split_at(at)
}

fn width_of_token(rest: &str) -> usize {
    rest.chars().take_while(|c| !c.is_whitespace() && !":,]}".contains(*c)).count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding() -> Diagnostic {
        let location = Location { path: "a.yaml".into(), line: 2, column: 4 };
        Diagnostic::new(Severity::Error, location, "no such field").about(&"Service a/b".into()).remedy("remove it")
    }

    #[test]
    fn a_log_line_begins_with_the_place_and_ends_with_the_remedy() {
        assert_eq!(finding().to_string(), "a.yaml:2:4: error: Service a/b: no such field (remove it)");
    }

    #[test]
    fn the_caret_stands_under_the_field() {
        let expected = "error: Service a/b: no such field\n --> a.yaml:2:4\n  |\n2 | \tä hosst: x\n  | \t  ^^^^^\n  = help: remove it\n";
        assert_eq!(finding().render(Some("first\n\tä hosst: x")), expected);
    }

    #[test]
    fn a_place_behind_the_end_of_the_text_is_rendered_without_source() {
        assert_eq!(
            finding().render(Some("")),
            "error: Service a/b: no such field\n --> a.yaml:2:4\n  = help: remove it\n"
        );
    }
}
