//! YAML as a tree whose every value and key knows its line. No message shows more of a value than a
//! short piece without control characters.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, NonFiniteFloatPolicy, Spanned};

use super::fault::{Fault, Source};

/// Characters of a text that a message shows, at most.
const SHOWN_MAX: usize = 64;

/// A YAML value with its line.
pub(super) type Node = Spanned<Content>;

/// A value as it was given, in YAML or as plain text.
#[derive(Debug)]
pub(super) enum Content {
    /// Nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as it prints: not as it was written.
    Number(String),
    /// A text, and everything from the environment and the command line.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// Keys and their values, repeated ones included.
    Mapping(Vec<(Spanned<String>, Node)>),
}

/// The line on which a value stands, counted from 1.
pub(super) fn line<T>(spanned: &Spanned<T>) -> u64 {
    spanned.referenced.line()
}

/// Reads YAML; `place` says where it stands.
pub(super) fn parse(yaml: &str, place: impl Fn(Option<u64>) -> Source) -> Result<Node, Fault> {
    // What the parser would refuse at once is let through, to be named beside the other faults.
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        strict_booleans: true,
    };
    serde_saphyr::from_str_with_options(yaml, options).map_err(|error| Fault {
        source: Some(place(error.location().map(|location| location.line()))),
        key: String::new(),
        // The parser's own words may quote what stands there, which may be a secret.
        problem: "cannot be read as YAML; look for indentation, quotes and brackets that do not \
                  match, and for tags"
            .to_owned(),
    })
}

impl Content {
    /// A scalar's text.
    pub(super) fn word(&self) -> Option<&str> {
        match self {
            Self::Bool(true) => Some("true"),
            Self::Bool(false) => Some("false"),
            Self::Number(text) | Self::Text(text) => Some(text),
            Self::Null | Self::List(_) | Self::Mapping(_) => None,
        }
    }

    /// What kind of value this is.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a switch",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Mapping(_) => "a section",
        }
    }

    /// What this is, for a message that wanted something else.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Bool(value) => format!("`{value}`"),
            Self::Number(text) => format!("`{text}`"),
            Self::Text(text) => quoted(text),
            Self::Null | Self::List(_) | Self::Mapping(_) => self.kind().to_owned(),
        }
    }
}

/// A text between backticks when it is short, its control characters escaped.
pub(super) fn quoted(text: &str) -> String {
    // A misplaced URL may hold a password.
    if text.contains("://") && text.contains('@') {
        return "a URL".to_owned();
    }
    if text.chars().count() > SHOWN_MAX {
        return "a long text".to_owned();
    }
    format!("`{}`", crate::telemetry::escaped(text))
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyContent)
    }
}

struct AnyContent;

impl<'de> Visitor<'de> for AnyContent {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_none<E>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Content, E> {
        Ok(Content::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Content, E> {
        Ok(Content::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Content, E> {
        Ok(Content::Number(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Content, E> {
        Ok(Content::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Content, E> {
        // With its point, so that `5.0` is told from `5`.
        Ok(Content::Number(format!("{value:?}")))
    }

    fn visit_str<E>(self, value: &str) -> Result<Content, E> {
        Ok(Content::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Content, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            list.push(element);
        }
        Ok(Content::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Content, A::Error> {
        let mut mapping = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            mapping.push(entry);
        }
        Ok(Content::Mapping(mapping))
    }
}
