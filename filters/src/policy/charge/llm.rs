//! `token_bucket_llm`: what a request may take of a model's tokens is reserved, by the minute and by the day. What it took
//! is settled when the answer is known: [`crate::policy::llm::account`].

use http::{HeaderName, StatusCode};
use portcullis_bundles::algorithm::Period;
use portcullis_bundles::algorithm::llm::{Estimator, TokenBucketLlm};

use super::{Applying, Due, Parts, Refused, RuleError};
use crate::buckets::{Charge, Cost, Params, Window};
use crate::facts::Asked;
use crate::policy::llm::MAX_TOKENS;
use crate::policy::llm::account::{Estimate, Role};
use crate::policy::llm::farewell::Finish;
use crate::policy::llm::meter::Limit;
use crate::policy::llm::prompt::Ask;
use crate::policy::subject::Subject;
use crate::verdict::{Reason, Shape};

/// The prompt is over `max_prompt_tokens`.
const PROMPT: Reason = Reason("prompt_tokens_exceeded");
/// Prompt and completion are over `max_tokens_per_request`.
const REQUEST: Reason = Reason("max_tokens_per_request_exceeded");
/// The minute has not enough.
const MINUTE: Reason = Reason("tpm_exceeded");
/// The day has not enough.
const DAY: Reason = Reason("tpd_exceeded");
/// The body is larger than what is held back, so nobody can say what it asks for.
const TOO_LARGE: Reason = Reason("prompt_too_large");
/// The body is compressed, likewise.
const ENCODED: Reason = Reason("prompt_encoded");

/// There is no room to hold the body back, likewise.
const NO_ROOM: Reason = Reason("held_bodies_full");
/// After how many seconds there may be room again.
const NO_ROOM_SECONDS: u32 = 1;

/// The number of the day's counter among those of a rule.
const DAY_PART: u8 = 1;

/// Where a trusted proxy says how many tokens a prompt has.
const HINT: HeaderName = HeaderName::from_static("x-token-estimate");
/// Says that the client speaks Anthropic's dialect.
const ANTHROPIC: HeaderName = HeaderName::from_static("anthropic-version");

pub(super) fn params(limit: &TokenBucketLlm) -> Option<Params> {
    Params::new(limit.tokens_per_minute / 60.0, limit.burst_tokens)
}

pub(super) fn add<'p>(
    limit: &TokenBucketLlm,
    applying: &Applying<'p, '_, impl Subject>,
    parts: &mut Parts<'p>,
) -> Result<Due, RuleError> {
    let subject = applying.subject;
    let shape = shape(subject);
    let refused = |status, reason| Refused {
        status,
        reason,
        shape,
        retry_after: None,
    };
    let refuse = |status, reason| {
        applying.stats.result(applying.rule.limit.algorithm(), false);
        Ok(Due::Refuse(refused(status, reason)))
    };
    let ask = match subject.asked() {
        Some(Asked::Read(ask)) => ask,
        Some(Asked::Nothing) => Ask::default(),
        Some(Asked::Unseen) | None => Ask {
            answers: 1,
            ..Ask::default()
        },
        Some(Asked::TooLarge) => return refuse(StatusCode::PAYLOAD_TOO_LARGE, TOO_LARGE),
        Some(Asked::NoRoom) => {
            applying.stats.result(applying.rule.limit.algorithm(), false);
            return Ok(Due::Refuse(Refused {
                retry_after: Some(NO_ROOM_SECONDS),
                ..refused(StatusCode::SERVICE_UNAVAILABLE, NO_ROOM)
            }));
        }
        Some(Asked::Encoded) => return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, ENCODED),
    };
    let estimate = estimate(limit, applying, ask);
    if limit.max_prompt_tokens.is_some_and(|most| estimate.prompt > most) {
        return refuse(StatusCode::TOO_MANY_REQUESTS, PROMPT);
    }
    if limit.max_tokens_per_request.is_some_and(|most| estimate.total > most) {
        return refuse(StatusCode::TOO_MANY_REQUESTS, REQUEST);
    }
    let numbers = || applying.numbers();
    let cost = Cost::whole(estimate.total);
    let minute = Charge::new(applying.hasher.finish(), params(limit).ok_or_else(numbers)?, cost);
    let mut part = applying.part(minute, MINUTE);
    (part.role, part.shape) = (Role::Minute(estimate), shape);
    parts.push(part);
    if let Some(tokens) = limit.tokens_per_day {
        let window = Window::utc(Period::Day, applying.now);
        let params = Params::window(window, tokens).ok_or_else(numbers)?;
        let key = applying.hasher.finish_part(DAY_PART);
        let mut part = applying.part(Charge::new(key, params, cost), DAY);
        (part.role, part.shape) = (Role::Day, shape);
        parts.push(part);
    }
    Ok(Due::Added)
}

fn estimate(limit: &TokenBucketLlm, applying: &Applying<'_, '_, impl Subject>, ask: Ask) -> Estimate {
    let prompt = match limit.estimator {
        Estimator::SimpleWord => None,
        Estimator::HeaderHint => hint(applying),
    };
    let prompt = prompt.unwrap_or(ask.prompt);
    let asked = ask.completion(limit.default_max_completion);
    let most = limit.max_completion_tokens;
    let completion = most.map_or(asked, |most| asked.min(most));
    let cut = limit.streaming.cut.map(|cut| Limit {
        tokens: most.unwrap_or_else(|| ask.most.map_or(cut.default_limit, |_| asked)),
        step: cut.step,
        finish: if cut.with_error {
            Finish::Error
        } else {
            Finish::Graceful
        },
        tells_usage: cut.tells_usage,
        prompt,
    });
    Estimate {
        prompt,
        // A request that asks for nothing is a request all the same.
        total: prompt.saturating_add(completion).clamp(1, MAX_TOKENS),
        reads_streams: limit.streaming.enabled,
        cut,
        estimator: limit.estimator,
    }
}

/// What a trusted proxy says. A number that cannot be is none, and counted.
fn hint(applying: &Applying<'_, '_, impl Subject>) -> Option<u64> {
    let told = applying.subject.trusted_header(&HINT)?;
    #[allow(clippy::cast_precision_loss)]
    let most = MAX_TOKENS as f64;
    let number = told.trim().parse::<f64>().ok();
    let number = number.filter(|number| (0.0..=most).contains(number));
    if number.is_none() {
        applying.stats.bad_cost();
    }
    // In range and not negative.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    number.map(|number| number.ceil() as u64)
}

/// How a client of this kind reads refusals.
fn shape(subject: &impl Subject) -> Shape {
    match subject.header(&ANTHROPIC) {
        Some(_) => Shape::Anthropic,
        None => Shape::OpenAi,
    }
}
