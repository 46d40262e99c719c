//! Serde's errors, kept as what they are instead of as text, and what people read of them.

use std::fmt;

use serde::de::{Expected, Unexpected};

use crate::diagnostic::{Diagnostic, closest, codes, suggest};
use crate::document::{Document, Kind, NodeId};

/// Why a value cannot be decoded.
#[derive(Debug, Clone)]
pub(super) enum Reason {
    /// The value has another type than the one expected.
    WrongType { expected: String, help: Option<String> },
    /// A key is not there.
    MissingKey(&'static str),
    /// A key is not known.
    UnknownKey {
        key: String,
        known: &'static [&'static str],
    },
    /// A word is none of the known ones.
    UnknownVariant {
        word: String,
        known: &'static [&'static str],
    },
    /// Too large or too small.
    OutOfRange(String),
    /// A secret in plain text.
    LiteralSecret,
    /// Anything else, with a second line as help.
    Custom(String),
}

#[derive(Debug)]
pub(super) struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    reason: Reason,
    node: Option<NodeId>,
    on_key: bool,
    follows: bool,
}

impl Error {
    pub(super) fn new(reason: Reason) -> Self {
        Self(Box::new(Inner {
            reason,
            node: None,
            on_key: false,
            follows: false,
        }))
    }

    pub(super) fn wrong_type(expected: impl Into<String>) -> Self {
        Self::new(Reason::WrongType {
            expected: expected.into(),
            help: None,
        })
    }

    /// Says which node is at fault, unless a node further inside was named already.
    pub(super) fn on(mut self, node: NodeId) -> Self {
        self.0.node.get_or_insert(node);
        self
    }

    /// The key is at fault and not its value.
    pub(super) fn on_key(mut self, node: NodeId) -> Self {
        if self.0.node.is_none() {
            self.0.node = Some(node);
            self.0.on_key = true;
        }
        self
    }

    /// It only follows from an error that was reported.
    pub(super) fn into_consequence(mut self) -> Self {
        self.0.follows = true;
        self
    }

    pub(super) fn node(&self) -> Option<NodeId> {
        self.0.node
    }

    pub(super) fn follows(&self) -> bool {
        self.0.follows
    }

    pub(super) fn reason(&self) -> &Reason {
        &self.0.reason
    }

    pub(super) fn diagnostic(&self, document: &Document, node: NodeId) -> Diagnostic {
        let nothing = matches!(document.kind(node), Kind::Null);
        let on_key = nothing || self.0.on_key || matches!(self.0.reason, Reason::MissingKey(_));
        let diagnostic = match &self.0.reason {
            Reason::WrongType { expected, help } => {
                let message = format!("expected {expected}, found {}", document.describe(node));
                let diagnostic = Diagnostic::new(codes::WRONG_TYPE, message);
                match help.clone().or_else(|| help_for_null(document, node)) {
                    Some(help) => diagnostic.help(help),
                    None => diagnostic,
                }
            }
            Reason::MissingKey(key) => Diagnostic::new(codes::MISSING_KEY, format!("the key `{key}` is missing")),
            Reason::UnknownKey { key, known } => {
                Diagnostic::new(codes::UNKNOWN_KEY, format!("unknown key `{key}`")).help(suggest_static(key, known))
            }
            Reason::UnknownVariant { word, known } => {
                Diagnostic::new(codes::UNKNOWN_VARIANT, format!("unknown value `{word}`")).help(variants(word, known))
            }
            Reason::OutOfRange(message) => Diagnostic::new(codes::OUT_OF_RANGE, message),
            Reason::LiteralSecret => Diagnostic::new(
                codes::LITERAL_SECRET,
                "a secret must not be written into the configuration",
            )
            .help("write `env:NAME` for an environment variable or `file:PATH` for a file"),
            Reason::Custom(text) => match text.split_once('\n') {
                Some((message, help)) => Diagnostic::new(codes::INVALID_VALUE, message).help(help),
                None => Diagnostic::new(codes::INVALID_VALUE, text.as_str()),
            },
        };
        if let Reason::UnknownKey { key, .. } = &self.0.reason
            && let Some(value) = document.get(node, key)
        {
            return diagnostic.on_key(document, value);
        }
        if on_key {
            diagnostic.on_key(document, node)
        } else {
            diagnostic.on(document, node)
        }
    }
}

fn suggest_static(word: &str, known: &'static [&'static str]) -> String {
    suggest(word, known.iter().copied())
}

/// There are few, so all of them are shown.
fn variants(word: &str, known: &'static [&'static str]) -> String {
    let all: Vec<_> = known.iter().map(|name| format!("`{name}`")).collect();
    match closest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? known here: {}", all.join(", ")),
        None => format!("known here: {}", all.join(", ")),
    }
}

fn help_for_null(document: &Document, node: NodeId) -> Option<String> {
    let empty = matches!(document.kind(node), Kind::Null) && document.node(node).key_span.is_some();
    empty.then(|| "give the key a value, or remove it".to_owned())
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0.reason)
    }
}

impl std::error::Error for Error {}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let text = message.to_string();
        if text == crate::secret::LITERAL {
            return Self::new(Reason::LiteralSecret);
        }
        Self::new(Reason::Custom(text))
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::wrong_type(expected.to_string())
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Reason::Custom(format!("expected {expected}")))
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::new(Reason::OutOfRange(format!("there are {length}, expected {expected}")))
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        Self::new(Reason::UnknownVariant {
            word: word.to_owned(),
            known,
        })
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::new(Reason::UnknownKey {
            key: key.to_owned(),
            known,
        })
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(Reason::MissingKey(key))
    }

    fn duplicate_field(key: &'static str) -> Self {
        Self::new(Reason::Custom(format!("the key `{key}` stands here twice")))
    }
}
