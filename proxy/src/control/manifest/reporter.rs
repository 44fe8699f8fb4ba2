//! Collects findings about one object and gives each its place in the text.

use std::{cell::OnceCell, sync::Arc};

use super::{path::FieldPath, position::Positions};
use crate::control::diagnostic::{Diagnostic, Location, Severity};

/// A text under its name. Positions are only worked out when something asks for one.
#[derive(Debug)]
pub struct Source<'a> {
    /// The name that diagnostics show.
    pub path: &'a Arc<str>,
    /// The text.
    pub text: &'a str,
    positions: OnceCell<Positions>,
}

impl<'a> Source<'a> {
    /// A text under its name.
    #[must_use]
    pub fn new(path: &'a Arc<str>, text: &'a str) -> Self {
        Self { path, text, positions: OnceCell::new() }
    }

    /// Positions of the text.
    pub fn positions(&self) -> &Positions {
        self.positions.get_or_init(|| Positions::of(self.text))
    }
}

/// Where findings about one object go.
#[derive(Debug)]
pub struct Reporter<'a> {
    source: &'a Source<'a>,
    document: usize,
    /// Path of the object in its document: not empty for an item of a list.
    base: FieldPath,
    object: Option<Arc<str>>,
    findings: &'a mut Vec<Diagnostic>,
    broken: bool,
}

impl<'a> Reporter<'a> {
    /// For the object at `base` of a document.
    #[must_use]
    pub fn new(
        source: &'a Source<'a>,
        document: usize,
        base: FieldPath,
        object: Option<Arc<str>>,
        findings: &'a mut Vec<Diagnostic>,
    ) -> Self {
        Self { source, document, base, object, findings, broken: false }
    }

    /// Whether an error was reported: the object must not be applied.
    #[must_use]
    pub fn broken(&self) -> bool {
        self.broken
    }

    /// Where a field begins.
    #[must_use]
    pub fn key(&self, path: &FieldPath) -> Location {
        self.source.positions().key(self.source.path, self.document, &self.base.join(path))
    }

    /// Where a field's value begins.
    #[must_use]
    pub fn value(&self, path: &FieldPath) -> Location {
        self.source.positions().value(self.source.path, self.document, &self.base.join(path))
    }

    /// Reports an error at a field's name.
    pub fn error_at_key(&mut self, path: &FieldPath, message: impl Into<String>, remedy: &str) {
        self.report(Severity::Error, self.key(path), message, remedy);
    }

    /// Reports an error at a field's value.
    pub fn error(&mut self, path: &FieldPath, message: impl Into<String>, remedy: &str) {
        self.report(Severity::Error, self.value(path), message, remedy);
    }

    /// Reports a warning at a field's name.
    pub fn warning(&mut self, path: &FieldPath, message: impl Into<String>, remedy: &str) {
        self.report(Severity::Warning, self.key(path), message, remedy);
    }

    /// Reports a note at a field's name.
    pub fn note(&mut self, path: &FieldPath, message: impl Into<String>, remedy: &str) {
        self.report(Severity::Note, self.key(path), message, remedy);
    }

    /// Reports anything; an empty remedy is none.
    pub fn report(&mut self, severity: Severity, location: Location, message: impl Into<String>, remedy: &str) {
        self.broken |= severity == Severity::Error;
        let finding = Diagnostic::new(severity, location, message).remedy(remedy);
        self.findings.push(Diagnostic { object: self.object.clone(), ..finding });
    }
}
