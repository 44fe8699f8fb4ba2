//! Collects findings about one object and gives each its place in the text.

use std::{cell::RefCell, fmt, sync::Arc};

use super::{path::FieldPath, position::Positions};
use crate::control::diagnostic::{Diagnostic, Location, Severity};

/// A text under its name. Positions are worked out document by document, when something asks for one.
#[derive(Debug)]
pub struct Source<'a> {
    /// The name that diagnostics show.
    pub path: &'a Arc<str>,
    /// The text.
    pub text: &'a str,
    positions: RefCell<Positions<'a>>,
}

impl<'a> Source<'a> {
    /// A text under its name.
    #[must_use]
    pub fn new(path: &'a Arc<str>, text: &'a str) -> Self {
        Self { path, text, positions: RefCell::new(Positions::of(text)) }
    }

    /// Line and column of the second of two equal fields, anywhere in a document.
    #[must_use]
    pub fn duplicate_key(&self, document: usize) -> Option<(u32, u32)> {
        self.positions.borrow_mut().duplicate_key(document)
    }
}

/// Where the fields of documents are. (A reporter sees a [`Source`] through this: the text lives longer than the reporter, which need not say
/// how long.)
pub trait Places: fmt::Debug {
    /// Where a field begins.
    fn key(&self, document: usize, path: &FieldPath) -> Location;
    /// Where a field's value begins.
    fn value(&self, document: usize, path: &FieldPath) -> Location;
}

impl Places for Source<'_> {
    fn key(&self, document: usize, path: &FieldPath) -> Location {
        self.positions.borrow_mut().key(self.path, document, path)
    }

    fn value(&self, document: usize, path: &FieldPath) -> Location {
        self.positions.borrow_mut().value(self.path, document, path)
    }
}

/// Where findings about one object go.
#[derive(Debug)]
pub struct Reporter<'a> {
    places: &'a dyn Places,
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
        places: &'a dyn Places,
        document: usize,
        base: FieldPath,
        object: Option<Arc<str>>,
        findings: &'a mut Vec<Diagnostic>,
    ) -> Self {
        Self { places, document, base, object, findings, broken: false }
    }

    /// Whether an error was reported: the object must not be applied.
    #[must_use]
    pub fn broken(&self) -> bool {
        self.broken
    }

    /// Where a field begins.
    #[must_use]
    pub fn key(&self, path: &FieldPath) -> Location {
        self.places.key(self.document, &self.base.join(path))
    }

    /// Where a field's value begins.
    #[must_use]
    pub fn value(&self, path: &FieldPath) -> Location {
        self.places.value(self.document, &self.base.join(path))
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
