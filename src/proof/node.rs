//! A document as a tree of plain values, its leaves numbered.

use std::ops::Range;

use bson::RawBsonRef;
use bson::raw::{CStr, RawDocument};

/// Nesting that is read; MongoDB itself stops at 180.
const MAX_DEPTH: usize = 1000;

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Node<'a> {
    /// Field name; in an array the name that BSON gives to the position.
    pub(super) name: &'a str,
    pub(super) value: RawBsonRef<'a>,
    /// The fields of a document, the elements of an array.
    pub(super) children: Vec<Node<'a>>,
    /// Its leaves in the document: one of a scalar, and one of what is empty.
    pub(super) leaves: Range<usize>,
}

impl<'a> Node<'a> {
    /// Reads a document; says what is wrong with its bytes.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let document = RawDocument::from_bytes(bytes).map_err(|error| error.to_string())?;
        Self::grow("", RawBsonRef::Document(document), &mut 0, 0)
    }

    /// A value that stands in no document.
    pub(super) fn apart(value: RawBsonRef<'a>) -> Self {
        Self { name: "", value, children: Vec::new(), leaves: 0..0 }
    }

    fn grow(
        name: &'a str,
        value: RawBsonRef<'a>,
        leaves: &mut usize,
        depth: usize,
    ) -> Result<Self, String> {
        if depth > MAX_DEPTH {
            return Err("the document is nested too deeply".to_owned());
        }
        let first = *leaves;
        let mut children = Vec::new();
        let mut add = |element: Result<(&'a CStr, RawBsonRef<'a>), bson::error::Error>| {
            let (name, value) = element.map_err(|error| error.to_string())?;
            children.push(Self::grow(name.as_str(), value, leaves, depth + 1)?);
            Ok::<_, String>(())
        };
        match value {
            RawBsonRef::Document(document) => document.iter().try_for_each(&mut add)?,
            RawBsonRef::Array(array) => {
                let elements = RawDocument::from_bytes(array.as_bytes());
                elements.map_err(|error| error.to_string())?.iter().try_for_each(&mut add)?;
            }
            _ => {}
        }
        if *leaves == first {
            *leaves += 1;
        }
        Ok(Self { name, value, children, leaves: first..*leaves })
    }

    pub(super) fn is_document(&self) -> bool {
        matches!(self.value, RawBsonRef::Document(_))
    }

    pub(super) fn is_array(&self) -> bool {
        matches!(self.value, RawBsonRef::Array(_))
    }

    /// BSON's null and undefined.
    pub(super) fn is_null(&self) -> bool {
        matches!(self.value, RawBsonRef::Null | RawBsonRef::Undefined)
    }

    /// The first field of this name of a document.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        let fields = if self.is_document() { self.children.as_slice() } else { &[] };
        fields.iter().find(|field| field.name == name)
    }

    /// The value at the end of a path through documents.
    pub(super) fn at(&self, path: &[String]) -> Option<&Self> {
        path.iter().try_fold(self, |node, name| node.get(name))
    }

    /// The path of a leaf, as people write it.
    pub(super) fn path_of(&self, leaf: usize) -> String {
        let mut path = String::new();
        let mut node = self;
        while let Some(inner) = node.children.iter().find(|child| child.leaves.contains(&leaf)) {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(inner.name);
            node = inner;
        }
        path
    }
}
