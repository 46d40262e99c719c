//! What a compiled condition is made of, and which keys it reads. How it is made is [`super::check`]'s, what comes of it
//! [`super::eval`]'s.

use portcullis_config::key::Key;
use regex::Regex;

/// What is evaluated.
#[derive(Debug)]
pub(super) enum Expr {
    Bool(bool),
    Null,
    Int(i64),
    Double(f64),
    Text(Box<str>),
    Method,
    Path,
    Host,
    /// The value of a key, or a part of a claim.
    Read(Access),
    /// Whether it is there.
    Has(Access),
    Not(Box<Expr>),
    And(Box<[Expr]>),
    Or(Box<[Expr]>),
    If(Box<[Expr; 3]>),
    Compare(Sign, Box<[Expr; 2]>),
    /// Whether one of a list's.
    OneOf(Box<Expr>, Box<[Expr]>),
    /// Whether in a list of a claim, or a name of a map of a claim.
    Within(Box<[Expr; 2]>),
    Call(Function, Box<[Expr; 2]>),
    Matches(Box<Expr>, Regex),
    Size(Box<Expr>),
}

/// A key, and where in its value.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) key: Key,
    /// Of claims only.
    pub(super) steps: Box<[Step]>,
}

/// From a value to a part of it.
#[derive(Debug)]
pub(super) enum Step {
    Name(Box<str>),
    Index(usize),
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Is,
    IsNot,
    Below,
    AtMost,
    Above,
    AtLeast,
}

/// A question about two texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    StartsWith,
    EndsWith,
    Contains,
}

impl Expr {
    /// Every expression within it, itself included.
    fn each<'e>(&'e self, look: &mut dyn FnMut(&'e Expr)) {
        look(self);
        match self {
            Self::Not(inner) | Self::Size(inner) | Self::Matches(inner, _) => inner.each(look),
            Self::And(all) | Self::Or(all) => all.iter().for_each(|one| one.each(look)),
            Self::If(parts) => parts.iter().for_each(|one| one.each(look)),
            Self::Compare(_, sides) | Self::Within(sides) | Self::Call(_, sides) => {
                sides.iter().for_each(|one| one.each(look));
            }
            Self::OneOf(left, items) => {
                left.each(look);
                items.iter().for_each(|one| one.each(look));
            }
            _ => {}
        }
    }

    pub(super) fn is_constant(&self) -> bool {
        let mut constant = true;
        self.each(&mut |one| {
            constant &= !matches!(
                one,
                Self::Method | Self::Path | Self::Host | Self::Read(_) | Self::Has(_)
            );
        });
        constant
    }

    /// The keys that it reads.
    pub(super) fn reads(&self) -> Vec<&Key> {
        let mut keys = Vec::new();
        self.each(&mut |one| {
            if let Self::Read(access) | Self::Has(access) = one {
                keys.push(&access.key);
            }
        });
        keys
    }

    /// The texts that it compares keys with.
    pub(super) fn compared(&self) -> Vec<(&Key, &str)> {
        let mut pairs = Vec::new();
        self.each(&mut |one| match one {
            Self::Compare(Sign::Is | Sign::IsNot, sides) => match &**sides {
                [Self::Read(access), Self::Text(text)] | [Self::Text(text), Self::Read(access)] => {
                    pairs.push((&access.key, &**text));
                }
                _ => {}
            },
            Self::OneOf(left, items) => {
                if let Self::Read(access) = &**left {
                    pairs.extend(items.iter().filter_map(|item| match item {
                        Self::Text(text) => Some((&access.key, &**text)),
                        _ => None,
                    }));
                }
            }
            _ => {}
        });
        pairs
    }
}
