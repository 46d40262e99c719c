//! Conditions of policies and rules, `when:`, in a part of CEL: what they may say is checked when a bundle is loaded, and
//! what they cost is bounded. What of a request they ask is answered by whoever has one ([`Environment`]).
//!
//! The language has the literals, operators and functions of CEL that need no loop: `==`, `!=`, `<`, `<=`, `>`, `>=`, `&&`,
//! `||`, `!`, `in`, `?:`, `has`, `size`, `startsWith`, `endsWith`, `contains`, `matches`. No arithmetic, no macros, no
//! functions of an own. Expressions are short, flat and evaluated once from left to right; patterns are compiled before and
//! matched in linear time.

mod check;
mod eval;
mod expr;
mod parse;
#[cfg(test)]
mod tests;
mod token;

use std::borrow::Cow;
use std::sync::Arc;

use portcullis_config::key::Key;
use serde_json::Value;

pub use eval::Broken;
use expr::Expr;

/// Longest expression, in bytes.
pub const MAX_LENGTH: usize = 2048;
/// Brackets within brackets.
pub const MAX_DEPTH: usize = 24;
/// Most parts of an expression.
pub const MAX_NODES: usize = 256;
/// What an evaluation may cost: about a unit for each byte that is looked at, and [`NODE_COST`] for each part.
pub const MAX_COST: u32 = 1 << 20;
/// What a part costs by itself.
const NODE_COST: u32 = 16;
/// Most memory for a compiled pattern, in bytes.
const MAX_PATTERN: usize = 1 << 18;

/// A compiled condition.
#[derive(Debug, Clone)]
pub struct When {
    text: Arc<str>,
    expr: Arc<Expr>,
    keys: Arc<[Key]>,
}

/// What is wrong with an expression, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("character {character}: {message}")]
pub struct WhenError {
    /// Counted from 1.
    pub character: usize,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
    /// The byte.
    at: usize,
}

impl WhenError {
    fn at(at: usize, message: impl Into<String>) -> Self {
        Self {
            character: 1,
            message: message.into(),
            help: None,
            at,
        }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// What a condition asks of a request.
pub trait Environment {
    /// Why a key has neither a value nor none.
    type Error;

    /// The method.
    fn method(&self) -> &str;
    /// The normalised path.
    fn path(&self) -> &str;
    /// The host: lower-case, no port.
    fn host(&self) -> &str;

    /// The value of a key as text; `None` when it is missing or empty. Never asked for a claim.
    ///
    /// `whole`: the text itself is looked at. Else it is only compared with the texts that [`When::compared`] tells, so a
    /// stand-in is as good.
    fn text(&self, key: &Key, whole: bool) -> Result<Option<Cow<'_, str>>, Self::Error>;

    /// A claim of the verified token; `None` when it or the token is missing. `whole` as for [`Self::text`].
    fn claim(&self, name: &str, whole: bool) -> Option<Claim<'_>>;
}

/// A claim.
#[derive(Debug, Clone)]
pub enum Claim<'c> {
    /// As it is in the token.
    Json(&'c Value),
    /// A scalar as text.
    Text(Cow<'c, str>),
}

impl When {
    /// Reads an expression, and checks names and types as far as they can be known.
    pub fn compile(text: &str) -> Result<Self, WhenError> {
        let compiled = parse::parse(text).and_then(|node| check::condition(&node));
        let expr = compiled.map_err(|mut error| {
            let before = text.get(..error.at).unwrap_or_default();
            error.character = before.chars().count() + 1;
            error
        })?;
        // Claims may have names that keys cannot.
        let named = |key: &&Key| key.to_string().parse::<Key>().is_ok_and(|known| known == **key);
        let keys = expr.reads().into_iter().filter(named).cloned().collect();
        Ok(Self {
            text: text.into(),
            keys,
            expr: Arc::new(expr),
        })
    }

    /// As it was written.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Whether it holds. What cannot be told (a value that is missing or of the wrong type, or a cost that is too high) is
    /// an error, which it is for the caller to judge.
    pub fn holds<'v, E: Environment>(&'v self, environment: &'v E) -> Result<bool, Broken<'v, E::Error>> {
        eval::holds(&self.expr, environment)
    }

    /// The keys that it asks for, as far as others can name them too; some of them more than once.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter()
    }

    /// Whether it asks for nothing of a request.
    pub fn is_constant(&self) -> bool {
        self.expr.is_constant()
    }

    /// Texts that it compares a key with.
    pub fn compared(&self) -> impl Iterator<Item = (&Key, &str)> {
        self.expr.compared().into_iter()
    }
}

impl PartialEq for When {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}
