//! Line and column of every field of a text.
//!
//! `serde_yaml` knows the place of a syntax error but forgets the places of values. A second, much simpler pass over the parser's
//! events remembers them. It runs only for texts about which there is something to say.

use std::{collections::HashSet, sync::Arc};

use saphyr_parser::{Event, Parser, Span};

use super::path::{FieldPath, Step};
use crate::control::diagnostic::Location;

/// Deeper values are found by their nearest indexed ancestor (`serde_yaml` itself stops at 128).
const MAX_DEPTH: usize = 128;

type Position = (u32, u32);

/// Positions of all documents of a text. A text that the parser gives up on is indexed as far as it came.
#[derive(Debug, Default)]
pub struct Positions {
    documents: Vec<Node>,
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

impl Positions {
    /// Indexes a text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut documents = Vec::new();
        let mut stack: Vec<Open> = Vec::new();
        let mut skipped = 0_usize;
        for event in Parser::new_from_str(text) {
            let Ok((event, span)) = event else { break };
            let at = position(span);
            match event {
                Event::MappingStart(..) | Event::SequenceStart(..) if skipped > 0 || stack.len() >= MAX_DEPTH => {
                    if skipped == 0 {
                        attach(&mut stack, &mut documents, leaf(at), "");
                    }
                    skipped += 1;
                }
                Event::MappingEnd | Event::SequenceEnd if skipped > 0 => skipped -= 1,
                _ if skipped > 0 => {}
                Event::MappingStart(..) => {
                    stack.push(Open { node: Node { parts: Parts::Map(Vec::new()), ..leaf(at) }, pending: None })
                }
                Event::SequenceStart(..) => {
                    stack.push(Open { node: Node { parts: Parts::Seq(Vec::new()), ..leaf(at) }, pending: None })
                }
                Event::MappingEnd | Event::SequenceEnd => {
                    let Some(open) = stack.pop() else { break };
                    attach(&mut stack, &mut documents, open.node, "");
                }
                Event::Scalar(text, ..) => attach(&mut stack, &mut documents, leaf(at), &text),
                Event::Alias(_) => attach(&mut stack, &mut documents, leaf(at), ""),
                _ => {}
            }
        }
        // What is still open was cut off by an error: keep what is known.
        while let Some(open) = stack.pop() {
            attach(&mut stack, &mut documents, open.node, "");
        }
        Self { documents }
    }

    /// Where a field begins: its key. Falls back to the nearest ancestor that is known, and to the top of the file.
    #[must_use]
    pub fn key(&self, file: &Arc<str>, document: usize, path: &FieldPath) -> Location {
        self.locate(file, document, path, |node| node.key)
    }

    /// Where a field's value begins.
    #[must_use]
    pub fn value(&self, file: &Arc<str>, document: usize, path: &FieldPath) -> Location {
        self.locate(file, document, path, |node| node.value)
    }

    /// The field of the first document whose name or value begins there, the outermost of several.
    #[must_use]
    pub fn field_at(&self, line: u32, column: u32) -> Option<FieldPath> {
        let root = self.documents.first()?;
        root.field_at((line, column), &FieldPath::default()).filter(|path| !path.0.is_empty())
    }

    /// Line and column of the second of two equal fields, anywhere in a document.
    #[must_use]
    pub fn duplicate_key(&self, document: usize) -> Option<(u32, u32)> {
        self.documents.get(document).and_then(Node::duplicate_key)
    }

    fn locate(&self, file: &Arc<str>, document: usize, path: &FieldPath, side: fn(&Node) -> Position) -> Location {
        let (line, column) = self.documents.get(document).map_or((1, 1), |root| {
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

/// Puts a finished value (whose text is `scalar` if it is one) where it belongs.
fn attach(stack: &mut [Open], documents: &mut Vec<Node>, node: Node, scalar: &str) {
    let Some(parent) = stack.last_mut() else {
        documents.push(node);
        return;
    };
    match &mut parent.node.parts {
        Parts::Seq(items) => items.push(node),
        Parts::Map(fields) => match parent.pending.take() {
            None => parent.pending = Some((scalar.into(), node.value)),
            Some((name, key)) => fields.push((name, Node { key, ..node })),
        },
        Parts::None => {}
    }
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
        let positions = Positions::of(text);
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
