//! The `usage` of an answer: how many tokens it took, as whoever runs the model says. Numbers that cannot be are no
//! numbers.

use serde::Deserialize;
use serde::de::{DeserializeSeed as _, Deserializer};

use super::MAX_TOKENS;
use super::value::{Value, by};

/// Tokens that an answer took, as far as they are told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the prompt, cached ones included.
    pub prompt: Option<u64>,
    /// Of the answers.
    pub completion: Option<u64>,
    /// Of both.
    pub total: Option<u64>,
}

impl Usage {
    /// Reads the value of a `usage` field. `None`: nothing in it is a number of tokens.
    pub fn read(json: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Written>(json).ok()?.usage()
    }

    /// What both tell; of two numbers the larger, since a stream's count up.
    #[must_use]
    pub fn and(self, later: Self) -> Self {
        Self {
            prompt: self.prompt.max(later.prompt),
            completion: self.completion.max(later.completion),
            total: self.total.max(later.total),
        }
    }

    /// All tokens, when they are told: the total, or the sum if it is larger.
    pub fn all(&self) -> Option<u64> {
        let sum = match (self.prompt, self.completion) {
            (Some(prompt), Some(completion)) => Some(prompt + completion),
            // An embedding has no answer to count.
            (Some(prompt), None) if self.total.is_none() => Some(prompt),
            _ => None,
        };
        self.total.max(sum)
    }
}

/// `usage` as OpenAI and as Anthropic write it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Written {
    #[serde(rename = "prompt_tokens")]
    prompt: Number,
    #[serde(rename = "input_tokens")]
    input: Number,
    #[serde(rename = "cache_creation_input_tokens")]
    cache_creation_input: Number,
    #[serde(rename = "cache_read_input_tokens")]
    cache_read_input: Number,
    #[serde(rename = "completion_tokens")]
    completion: Number,
    #[serde(rename = "output_tokens")]
    output: Number,
    #[serde(rename = "total_tokens")]
    total: Number,
}

impl Written {
    pub(super) fn usage(&self) -> Option<Usage> {
        let cached = [self.cache_creation_input, self.cache_read_input];
        let cached: u64 = cached.into_iter().filter_map(Number::credible).sum();
        let input = self.input.credible().map(|input| input + cached);
        let usage = Usage {
            prompt: self.prompt.credible().max(input),
            completion: self.completion.credible().max(self.output.credible()),
            total: self.total.credible(),
        };
        (usage != Usage::default()).then_some(usage)
    }
}

/// A number of tokens as written, or none. What is too large to be one is left to the reader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Number(pub Option<u64>);

impl Number {
    fn credible(self) -> Option<u64> {
        self.0.filter(|number| *number <= MAX_TOKENS)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        by(AnyNumber).deserialize(deserializer)
    }
}

struct AnyNumber;

impl Value<'_> for AnyNumber {
    type Out = Number;

    fn nothing(self) -> Number {
        Number(None)
    }

    fn whole(self, number: u64) -> Number {
        Number(Some(number))
    }

    fn number(self, number: f64) -> Number {
        // Not negative, and a cast ends at the largest number.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let whole = number.ceil() as u64;
        Number((number >= 0.0).then_some(whole))
    }

    /// Some servers take numbers in quotes.
    fn text(self, text: &str) -> Number {
        Number(text.trim().parse().ok())
    }
}
