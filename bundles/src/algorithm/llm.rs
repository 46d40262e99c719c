//! `token_bucket_llm`: a model's tokens by the minute and by the day, and where a stream of them ends. Numbers only; what a
//! request asks for and what an answer used is the evaluator's to find out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::MIN_RATE;
use super::check::Check;
use crate::problem::{Place, Problems};

/// Its name.
pub const NAME: &str = "token_bucket_llm";

/// The completion that is reserved for a request that does not say how long its answer may be.
const DEFAULT_COMPLETION: f64 = 1000.0;
/// Where a stream is cut off when nothing else says it.
const DEFAULT_STREAM: u64 = 2048;
/// After how many tokens of a stream they are compared with the limit.
const DEFAULT_STEP: f64 = 100.0;

/// A compiled limit of a model's tokens. All numbers are finite and positive.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenBucketLlm {
    /// Tokens that come back in a minute.
    pub tokens_per_minute: f64,
    /// Tokens in a full bucket, at least `tokens_per_minute`.
    pub burst_tokens: f64,
    /// Tokens of each day (UTC).
    pub tokens_per_day: Option<f64>,
    /// Most tokens of one request, prompt and completion.
    pub max_tokens_per_request: Option<u64>,
    /// Most tokens of one prompt.
    pub max_prompt_tokens: Option<u64>,
    /// Most tokens of one completion: no more is reserved, and a stream ends there.
    pub max_completion_tokens: Option<u64>,
    /// The completion that is reserved for a request that does not say.
    pub default_max_completion: u64,
    /// Who estimates the prompt.
    pub estimator: Estimator,
    /// What becomes of streams.
    pub streaming: Streaming,
}

/// Who estimates how many tokens a prompt has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Estimator {
    /// The gateway, from the text in the body.
    #[default]
    SimpleWord,
    /// A trusted proxy, in `X-Token-Estimate`; without it the gateway.
    HeaderHint,
}

/// What becomes of streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streaming {
    /// Whether they are read.
    pub enabled: bool,
    /// Where they are cut off; `None`: nowhere.
    pub cut: Option<Cut>,
}

/// Where a stream is cut off, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The limit when the request does not say one. `max_completion_tokens` is the limit of all.
    pub default_limit: u64,
    /// After how many tokens they are compared with the limit, at least 1.
    pub step: u64,
    /// With an error, and not as if the model had come to its end.
    pub with_error: bool,
    /// Whether the client is told what was used until then.
    pub tells_usage: bool,
}

/// The numbers of `token_bucket_llm` as written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenBucketLlmConfig {
    /// `token_bucket_llm`, or absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// Tokens that come back in a minute.
    pub tokens_per_minute: Option<f64>,
    /// Tokens of each day (UTC). Default: any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_day: Option<f64>,
    /// Tokens in a full bucket, at least `tokens_per_minute`, which is the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst_tokens: Option<f64>,
    /// Most tokens of one request, prompt and completion together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens_per_request: Option<f64>,
    /// Most tokens of one prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_prompt_tokens: Option<f64>,
    /// Most tokens of one completion: no more is reserved, and a stream is cut off there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_completion_tokens: Option<f64>,
    /// The completion that is reserved for a request that does not say how long its answer may be. 1000 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_max_completion: Option<f64>,
    /// Where the number of the prompt's tokens comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_source: Option<TokenSource>,
    /// What becomes of streams (server-sent events).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streaming: Option<StreamingConfig>,
}

/// Where the number of a prompt's tokens comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenSource {
    /// `simple_word` (default): a quarter of the bytes of the prompt's text. `header_hint`: the number in
    /// `X-Token-Estimate`, when a trusted proxy says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimator: Option<String>,
}

/// What becomes of streams.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamingConfig {
    /// Whether streams are read. When not, they cost what was reserved. True by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Whether a stream is cut off at its limit: `max_completion_tokens`, else what the request asked for, else 2048. True
    /// by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enforce_mid_stream: Option<bool>,
    /// After how many tokens they are compared with the limit. 100 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buffer_tokens: Option<f64>,
    /// `graceful_close` (default): the stream ends as if the model had come to its limit. `error_chunk`: it ends with an
    /// error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_limit_exceeded: Option<String>,
    /// Whether the last event tells what was used. True by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_partial_usage: Option<bool>,
}

/// As written to compiled. `None` when something was wrong.
pub(super) fn compile(
    written: &TokenBucketLlmConfig,
    place: &Place<'_>,
    problems: &mut Problems,
) -> Option<TokenBucketLlm> {
    let streaming = match &written.streaming {
        None => Some(None),
        Some(streaming) => cut(streaming, &mut Check::at(&place.field("streaming"), problems)).map(Some),
    };
    let estimator = estimator(
        written.token_source.as_ref(),
        &mut Check::at(&place.field("token_source"), problems),
    );
    let mut check = Check::at(place, problems);
    check.algorithm(written.algorithm.as_deref(), NAME);
    let minute = match written.tokens_per_minute {
        Some(minute) => check.tokens("tokens_per_minute", minute),
        None => check.missing("tokens_per_minute must be a positive number"),
    };
    let mut optional = |field: &str, value: Option<f64>| value.and_then(|value| check.tokens(field, value));
    let day = optional("tokens_per_day", written.tokens_per_day);
    let burst = optional("burst_tokens", written.burst_tokens).or(minute);
    let request = optional("max_tokens_per_request", written.max_tokens_per_request);
    let prompt = optional("max_prompt_tokens", written.max_prompt_tokens);
    let completion = optional("max_completion_tokens", written.max_completion_tokens);
    let default = written.default_max_completion.unwrap_or(DEFAULT_COMPLETION);
    let default = check.tokens("default_max_completion", default);
    if minute.is_some_and(|minute| minute / 60.0 < MIN_RATE) {
        check.fail("tokens_per_minute", "tokens_per_minute must be at least 0.00006");
    }
    if let (Some(minute), Some(burst)) = (minute, burst)
        && burst < minute
    {
        check.fail("burst_tokens", "burst_tokens must be >= tokens_per_minute");
    }
    if !check.is_ok() {
        return None;
    }
    let completion = completion.map(whole);
    Some(TokenBucketLlm {
        tokens_per_minute: minute?,
        burst_tokens: burst?,
        tokens_per_day: day,
        max_tokens_per_request: request.map(whole),
        max_prompt_tokens: prompt.map(whole),
        max_completion_tokens: completion,
        default_max_completion: whole(default?),
        estimator: estimator?,
        // Who writes nothing of streams and no limit of a completion wants none to be cut off.
        streaming: streaming?.unwrap_or(Streaming {
            enabled: true,
            cut: completion.map(|_| Cut::default()),
        }),
    })
}

impl Default for Cut {
    fn default() -> Self {
        Self {
            default_limit: DEFAULT_STREAM,
            step: whole(DEFAULT_STEP),
            with_error: false,
            tells_usage: true,
        }
    }
}

fn cut(written: &StreamingConfig, check: &mut Check<'_, '_>) -> Option<Streaming> {
    const BUFFER: &str = "buffer_tokens";
    let step = written.buffer_tokens.unwrap_or(DEFAULT_STEP);
    let step = check.tokens_as(BUFFER, &format!("streaming.{BUFFER}"), step);
    let with_error = match written.on_limit_exceeded.as_deref().unwrap_or("graceful_close") {
        "graceful_close" => Some(false),
        "error_chunk" => Some(true),
        _ => {
            let message = "streaming.on_limit_exceeded must be graceful_close or error_chunk";
            check.fail("on_limit_exceeded", message);
            None
        }
    };
    let enabled = written.enabled.unwrap_or(true);
    let cut = Cut {
        step: whole(step?),
        with_error: with_error?,
        tells_usage: written.include_partial_usage.unwrap_or(true),
        ..Cut::default()
    };
    Some(Streaming {
        enabled,
        cut: (enabled && written.enforce_mid_stream.unwrap_or(true)).then_some(cut),
    })
}

fn estimator(written: Option<&TokenSource>, check: &mut Check<'_, '_>) -> Option<Estimator> {
    match written
        .and_then(|source| source.estimator.as_deref())
        .unwrap_or("simple_word")
    {
        "simple_word" => Some(Estimator::SimpleWord),
        "header_hint" => Some(Estimator::HeaderHint),
        _ => {
            check.fail("estimator", "token_source.estimator must be simple_word or header_hint");
            None
        }
    }
}

/// Whole tokens, at least 1.
fn whole(tokens: f64) -> u64 {
    // Checked: positive and at most 10⁹.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let whole = tokens as u64;
    whole.max(1)
}
