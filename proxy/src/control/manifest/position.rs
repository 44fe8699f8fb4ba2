//! Line and column of every field of a text.
//!
//! `serde_yaml` knows the place of a syntax error but forgets the places of values. A second, much simpler pass over the parser's
//! events remembers them, of one document at a time: all documents of a large file would weigh many times what the file does.

use std::{collections::HashSet, fmt, sync::Arc};

use saphyr_parser::{Event, Parser, Span, StrInput};

use super::path::{FieldPath, Step};
use crate::control::diagnostic::Location;

/// Deeper values are found by their nearest indexed ancestor (`serde_yaml` itself stops at 128).
const MAX_DEPTH: usize = 128;

type Position = (u32, u32);

/// Positions of a text's documents, asked for in the order of the documents. A document that the parser gives up on is indexed as far as it came.
pub struct Positions<'a> {
    text: &'a str,
    /// Behind the document that is at hand; `None` after the last one.
    parser: Option<Parser<'a, StrInput<'a>>>,
    /// Documents that were indexed; the last of them is at hand.
    indexed: usize,
    at_hand: Option<Node>,
}

#[derive(Debug)]
struct Node {
    /// Of the key for a field of a mapping, else of the value.
    key: Position,
    value: Position,
    parts: Parts,
}

#[derive(Debug)]
enum Parts {
    None,
    Map(Vec<(Box<str>, Node)>),
    Seq(Vec<Node>),
}

/// A mapping or sequence that is not yet closed, with what its parent knows of it.
struct Open {
    node: Node,
    /// Key of the next value, when a mapping has just seen one.
    pending: Option<(Box<str>, Position)>,
}

impl fmt::Debug for Positions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Positions")
            .field("indexed", &self.indexed)
            .field("at_hand", &self.at_hand)
            .finish_non_exhaustive()
    }
}

impl<'a> Positions<'a> {
    /// Of a text, of which nothing is indexed yet.
    #[must_use]
    pub fn of(text: &'a str) -> Self {
        Self { text, parser: Some(Parser::new_from_str(text)), indexed: 0, at_hand: None }
    }

    /// Indexes a document, and those before it. Going back begins at the top again.
    fn document(&mut self, number: usize) -> Option<&Node> {
        if number + 1 < self.indexed {
            *self = Self::of(self.text);
        }
        while self.indexed <= number {
            let (node, has_more) = next_document(self.parser.as_mut()?);
            if !has_more {
                self.parser = None;
            }
            self.at_hand = Some(node?);
            self.indexed += 1;
        }
        self.at_hand.as_ref()
    }

    /// Where a field begins: its key. Falls back to the nearest ancestor that is known, and to the top of the file.
    #[must_use]
    pub fn key(&mut self, file: &Arc<str>, document: usize, path: &FieldPath) -> Location {
        self.locate(file, document, path, |node| node.key)
    }

    /// Where a field's value begins.
    #[must_use]
    pub fn value(&mut self, file: &Arc<str>, document: usize, path: &FieldPath) -> Location {
        self.locate(file, document, path, |node| node.value)
    }

    /// The field of the first document whose name or value begins there, the outermost of several.
    #[must_use]
    pub fn field_at(&mut self, line: u32, column: u32) -> Option<FieldPath> {
        let root = self.document(0)?;
        root.field_at((line, column), &FieldPath::default()).filter(|path| !path.0.is_empty())
    }

    /// Line and column of the second of two equal fields, anywhere in a document.
    #[must_use]
    pub fn duplicate_key(&mut self, document: usize) -> Option<(u32, u32)> {
        self.document(document).and_then(Node::duplicate_key)
    }

    fn locate(&mut self, file: &Arc<str>, document: usize, path: &FieldPath, side: fn(&Node) -> Position) -> Location {
        let (line, column) = self.document(document).map_or((1, 1), |root| {
            let mut node = root;
            for step in &path.0 {
                let Some(part) = node.part(step) else { return node.key };
                node = part;
            }
            side(node)
        });
        Location { path: Arc::clone(file), line, column }
    }
}

impl Node {
    fn part(&self, step: &Step) -> Option<&Self> {
        match (&self.parts, step) {
            (Parts::Map(fields), Step::Key(key)) => fields.iter().find(|(name, _)| name == key).map(|(_, node)| node),
            (Parts::Seq(items), Step::Index(index)) => items.get(*index),
            _ => None,
        }
    }
}

impl Node {
    fn field_at(&self, at: Position, path: &FieldPath) -> Option<FieldPath> {
        if self.key == at || self.value == at {
            return Some(path.clone());
        }
        match &self.parts {
            Parts::None => None,
            Parts::Map(fields) => fields.iter().find_map(|(name, node)| node.field_at(at, &path.key(name))),
            Parts::Seq(items) => {
                items.iter().enumerate().find_map(|(index, node)| node.field_at(at, &path.index(index)))
            }
        }
    }

    fn duplicate_key(&self) -> Option<Position> {
        match &self.parts {
            Parts::None => None,
            Parts::Seq(items) => items.iter().find_map(Self::duplicate_key),
            Parts::Map(fields) => {
                let mut seen = HashSet::new();
                fields
                    .iter()
                    .find_map(|(name, node)| if seen.insert(name) { node.duplicate_key() } else { Some(node.key) })
            }
        }
    }
}

fn leaf(at: Position) -> Node {
    Node { key: at, value: at, parts: Parts::None }
}

/// The next document, and whether there may be another one.
fn next_document<'a>(parser: &mut Parser<'a, StrInput<'a>>) -> (Option<Node>, bool) {
    let mut stack: Vec<Open> = Vec::new();
    let mut skipped = 0_usize;
    for event in parser.by_ref() {
        let Ok((event, span)) = event else { break };
        let at = position(span);
        let whole = match event {
            Event::MappingStart(..) | Event::SequenceStart(..) if skipped > 0 || stack.len() >= MAX_DEPTH => {
                skipped += 1;
                if skipped == 1 { attach(&mut stack, leaf(at), "") } else { None }
            }
            Event::MappingEnd | Event::SequenceEnd if skipped > 0 => {
                skipped -= 1;
                None
            }
            _ if skipped > 0 => None,
            Event::MappingStart(..) => {
                stack.push(Open { node: Node { parts: Parts::Map(Vec::new()), ..leaf(at) }, pending: None });
                None
            }
            Event::SequenceStart(..) => {
                stack.push(Open { node: Node { parts: Parts::Seq(Vec::new()), ..leaf(at) }, pending: None });
                None
            }
            Event::MappingEnd | Event::SequenceEnd => match stack.pop() {
                Some(open) => attach(&mut stack, open.node, ""),
                None => break,
            },
            Event::Scalar(text, ..) => attach(&mut stack, leaf(at), &text),
            Event::Alias(_) => attach(&mut stack, leaf(at), ""),
            _ => None,
        };
        if whole.is_some() {
            return (whole, true);
        }
    }
    // What is still open was cut off by an error: keep what is known.
    let mut cut = None;
    while let Some(open) = stack.pop() {
        cut = attach(&mut stack, open.node, "");
    }
    (cut, false)
}

/// Puts a finished value (whose text is `scalar` if it is one) where it belongs; gives it back if it is a whole document.
fn attach(stack: &mut [Open], node: Node, scalar: &str) -> Option<Node> {
    let Some(parent) = stack.last_mut() else { return Some(node) };
    match &mut parent.node.parts {
        Parts::Seq(items) => items.push(node),
        Parts::Map(fields) => match parent.pending.take() {
            None => parent.pending = Some((scalar.into(), node.value)),
            Some((name, key)) => fields.push((name, Node { key, ..node })),
        },
        Parts::None => {}
    }
    None
}

fn position(span: Span) -> Position {
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    (number(span.start.line()), number(span.start.col()).saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a: 1\n---\nspec:\n  http:\n  - {x: [1, two]}\n  - route:\n    - weight: 5\n";

    fn key(text: &str, document: usize, path: FieldPath) -> (u32, u32) {
        let found = Positions::of(text).key(&"f".into(), document, &path);
        (found.line, found.column)
    }

    #[test]
    fn keys_and_values_of_block_and_flow_style_are_found() {
        let http = FieldPath::from("spec.http");
        assert_eq!(key(TEXT, 0, "a".into()), (1, 1));
        assert_eq!(key(TEXT, 1, http.index(0).key("x").index(1)), (5, 13));
        let weight = http.index(1).key("route").index(0).key("weight");
        assert_eq!(key(TEXT, 1, weight.clone()), (7, 7));
        let value = Positions::of(TEXT).value(&"f".into(), 1, &weight);
        assert_eq!((value.line, value.column), (7, 15));
    }

    #[test]
    fn a_place_leads_back_to_its_field() {
        let text = r#"{"spec":{"http":[{"mirror":{"subset":"v9"}}]}}"#;
        let path = FieldPath::from("spec.http").index(0).key("mirror").key("subset");
        let mut positions = Positions::of(text);
        for place in [positions.key(&"f".into(), 0, &path), positions.value(&"f".into(), 0, &path)] {
            assert_eq!(positions.field_at(place.line, place.column), Some(path.clone()));
        }
        assert_eq!(positions.field_at(9, 9), None);
        assert_eq!(positions.field_at(1, 1), None);
    }

    #[test]
    fn a_field_that_is_not_there_is_placed_at_its_nearest_ancestor() {
        assert_eq!(key(TEXT, 1, FieldPath::from("spec.http").index(1).key("mirror").key("host")), (6, 5));
        assert_eq!(key(TEXT, 7, "spec".into()), (1, 1));
    }

    /// Fails if a document is found under another one's number once its text has been passed.
    #[test]
    fn documents_are_found_in_any_order() {
        let mut positions = Positions::of("a: 1\n---\n---\nb: 1\n---\nc: 1\n");
        let mut line = |document, field: &str| positions.key(&"f".into(), document, &field.into()).line;
        assert_eq!([line(0, "a"), line(2, "b"), line(2, "b"), line(3, "c"), line(9, "c")], [1, 4, 4, 6, 1]);
        assert_eq!([line(0, "a"), line(1, "a"), line(3, "c"), line(2, "b")], [1, 3, 6, 4]);
    }

    #[test]
    fn a_broken_text_is_indexed_up_to_the_break() {
        assert_eq!(key("a:\n  b: 1\n  c: [", 0, "a.b".into()), (2, 3));
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!("a: {}\nb: 1", "[".repeat(100_000));
        assert_eq!(key(&deep, 0, "a".into()), (1, 1));
    }
}
