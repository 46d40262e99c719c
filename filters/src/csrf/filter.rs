//! The `csrf` filter: safe requests pass, others only from pages of this origin or of allowed ones, and with a token where
//! one is wanted.

use std::sync::Arc;

use http::header::{CACHE_CONTROL, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use portcullis_config::diagnostic::{Diagnostic, codes};
use portcullis_config::path;
use ring::hmac;

use super::config::{CsrfConfig, TokenConfig, WithoutOrigin};
use super::source::{Source, Why, is_safe, judge};
use super::token::{self, Bad};
use crate::cookies::{self, Sent, Terms};
use crate::cors::origin::Origin;
use crate::filter::{Filter, Phases};
use crate::headers::names::reserved_in_request;
use crate::request::{Head, Request};
use crate::response::Response;
use crate::secrets::{KEY_BYTES, SecretSlot};
use crate::verdict::{CONTINUE, Denial, FilterError, Outcome, Reason, Verdict};
use crate::zones::BuildEnv;

/// Most origins of a link, and most paths.
const MOST: usize = 1000;

/// Refuses what foreign pages send.
#[derive(Debug)]
pub struct Csrf {
    origins: Box<[Origin]>,
    exempt: Box<[Box<str>]>,
    without_origin: WithoutOrigin,
    token: Option<Tokens>,
}

/// How tokens are made and checked.
#[derive(Debug)]
struct Tokens {
    key: Arc<SecretSlot>,
    cookie: Box<str>,
    field: HeaderName,
    session: Option<Box<str>>,
    max_age_ms: u64,
}

/// What the filter knows of a request.
#[derive(Debug, Default)]
pub struct CsrfState {
    /// The cookie with a new token.
    issue: Option<HeaderValue>,
}

impl Filter for Csrf {
    const KIND: &'static str = "csrf";
    const PHASES: Phases = Phases::REQUEST.and(Phases::RESPONSE);
    type Config = CsrfConfig;
    type State = CsrfState;

    fn keeps(state: &CsrfState) -> bool {
        state.issue.is_some()
    }

    fn build(config: CsrfConfig, env: &mut BuildEnv<'_>) -> Result<Self, Diagnostic> {
        check_lists(&config, env)?;
        Ok(Self {
            origins: config.allowed_origins.into(),
            exempt: config.exempt_paths.into_iter().map(Into::into).collect(),
            without_origin: config.without_origin,
            token: config.token.map(|written| Tokens::build(written, env)).transpose()?,
        })
    }

    fn on_request(&self, state: &mut CsrfState, request: &mut Request<'_>) -> Outcome {
        let head = request.head;
        let checked = match &self.token {
            None => Ok(()),
            Some(tokens) => tokens.look(state, head, request.facts.session.as_ref())?,
        };
        if is_safe(head) || self.is_exempt(head.path) {
            return CONTINUE;
        }
        match judge(head, &self.origins) {
            Source::Foreign(why) => return Ok(refuse(foreign(why))),
            Source::Unsaid if self.token.is_none() && self.without_origin == WithoutOrigin::Deny => {
                return Ok(refuse(Refusal::OriginMissing));
            }
            // A page of another origin cannot read the cookie, so that it has no token.
            Source::Allowed => return CONTINUE,
            Source::Own | Source::Unsaid => {}
        }
        checked.map_or_else(|refusal| Ok(refuse(refusal)), |()| CONTINUE)
    }

    fn on_response(&self, state: &mut CsrfState, response: &mut Response<'_>) -> Outcome {
        if let Some(cookie) = state.issue.take()
            && !is_for_all(response.headers)
        {
            response.facts.response_headers.append(SET_COOKIE, cookie);
        }
        CONTINUE
    }
}

impl Csrf {
    fn is_exempt(&self, path: &str) -> bool {
        self.exempt.iter().any(|exempt| {
            if exempt.ends_with('/') {
                path.starts_with(&**exempt)
            } else {
                path == &**exempt
            }
        })
    }
}

impl Tokens {
    fn build(written: TokenConfig, env: &mut BuildEnv<'_>) -> Result<Self, Diagnostic> {
        if let Some(why) = cookies::not_host_bound(&written.cookie) {
            return Err(env.wrong(codes::INVALID_VALUE, "token", format!("`cookie`: {why}")));
        }
        if let Some(session) = &written.session_cookie
            && (!cookies::is_name(session) || *session == written.cookie)
        {
            let message = "`session_cookie` must be the name of another cookie";
            return Err(env.wrong(codes::INVALID_VALUE, "token", message));
        }
        let field = HeaderName::try_from(written.header.0.as_str()).ok();
        let Some(field) = field.filter(|name| reserved_in_request(name).is_none()) else {
            let message = format!("`header`: `{}` cannot carry a token", written.header.0);
            return Err(env.wrong(codes::INVALID_VALUE, "token", message));
        };
        let seconds = written.max_age.get().as_secs();
        if !(60..=30 * 86_400).contains(&seconds) {
            let message = "`max_age` is from 1m to 30d";
            return Err(env.wrong(codes::OUT_OF_RANGE, "token", message));
        }
        Ok(Self {
            key: SecretSlot::open(env, "token", &written.key, KEY_BYTES)?,
            cookie: written.cookie.into(),
            field,
            session: written.session_cookie.map(Into::into),
            max_age_ms: seconds * 1000,
        })
    }

    /// Whether the request has a good token. Where the browser needs a new one, it is made.
    fn look(
        &self,
        state: &mut CsrfState,
        head: &Head<'_>,
        session: Option<&[u8; 32]>,
    ) -> Result<Result<(), Refusal>, FilterError> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.key.get()?.expose());
        let sent = || self.session.as_deref().map(|name| cookies::sent(head.headers, name));
        // The ids of a session change, what the `session` filter knows it by does not.
        let session = match session.map_or_else(sent, |session| Some(Sent::Value(session))) {
            Some(Sent::Value(session)) => Some(session),
            Some(Sent::Several) => return Ok(Err(Refusal::TokenInvalid)),
            Some(Sent::Absent) | None => None,
        };
        let cookie = cookies::sent(head.headers, &self.cookie);
        let age = match cookie {
            Sent::Absent => Err(Refusal::TokenMissing),
            Sent::Several => Err(Refusal::TokenInvalid),
            Sent::Value(token) => {
                token::check(&key, session, token, head.now, self.max_age_ms).map_err(|bad| match bad {
                    Bad::Forged => Refusal::TokenInvalid,
                    Bad::Expired => Refusal::TokenExpired,
                })
            }
        };
        if age.is_err() || age.is_ok_and(|age| age > self.max_age_ms / 2) {
            let terms = Terms {
                http_only: false,
                same_site: "Lax",
                max_age: Some(self.max_age_ms / 1000),
            };
            state.issue = cookies::set(&self.cookie, &token::make(&key, session, head.now), terms);
        }
        let mut repeated = head.headers.get_all(&self.field).iter();
        Ok(match (age, repeated.next(), repeated.next()) {
            (Err(refusal), ..) => Err(refusal),
            (Ok(_), None, _) => Err(Refusal::TokenMissing),
            (Ok(_), Some(value), None) if Some(value.as_bytes()) == cookie.value() => Ok(()),
            (Ok(_), Some(_), _) => Err(Refusal::TokenMismatch),
        })
    }
}

/// Whether an answer may be given to others from a cache, and with it whatever cookie it sets.
fn is_for_all(headers: &HeaderMap) -> bool {
    let fields = headers.get_all(CACHE_CONTROL).iter();
    let mut words = fields.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    words.any(|word| {
        let word = word.trim_ascii();
        let begins = |with: &[u8]| word.get(..with.len()).is_some_and(|it| it.eq_ignore_ascii_case(with));
        begins(b"public") || begins(b"s-maxage")
    })
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    CrossSite,
    OriginMismatch,
    OriginMissing,
    TokenMissing,
    TokenMismatch,
    TokenInvalid,
    TokenExpired,
}

fn foreign(why: Why) -> Refusal {
    match why {
        Why::Site => Refusal::CrossSite,
        Why::Origin => Refusal::OriginMismatch,
    }
}

fn refuse(refusal: Refusal) -> Verdict {
    denial(refusal).into()
}

fn denial(refusal: Refusal) -> Denial {
    let (reason, detail) = match refusal {
        Refusal::CrossSite => ("csrf_cross_site", "The request comes from a page of another site."),
        Refusal::OriginMismatch => (
            "csrf_origin_mismatch",
            "The request comes from a page of another origin.",
        ),
        Refusal::OriginMissing => ("csrf_origin_missing", "The request does not say where it comes from."),
        Refusal::TokenMissing => (
            "csrf_token_missing",
            "A token is needed: the cookie's, repeated in the header field.",
        ),
        Refusal::TokenMismatch => (
            "csrf_token_mismatch",
            "The header field does not repeat the cookie's token.",
        ),
        Refusal::TokenInvalid => ("csrf_token_invalid", "The token was not made for this session."),
        Refusal::TokenExpired => (
            "csrf_token_expired",
            "The token is too old; the answer brings a new one.",
        ),
    };
    Denial::new(StatusCode::FORBIDDEN, Reason(reason)).detail(detail)
}

/// The refusal of a request that changes something and comes from a page of another origin, or does not say from where.
pub(crate) fn foreign_page(head: &Head<'_>) -> Option<Denial> {
    match judge(head, &[]) {
        Source::Own | Source::Allowed => None,
        Source::Unsaid => Some(denial(Refusal::OriginMissing)),
        Source::Foreign(why) => Some(denial(foreign(why))),
    }
}

fn check_lists(config: &CsrfConfig, env: &BuildEnv<'_>) -> Result<(), Diagnostic> {
    if config.allowed_origins.len() > MOST || config.exempt_paths.len() > MOST {
        let key = if config.allowed_origins.len() > MOST {
            "allowed_origins"
        } else {
            "exempt_paths"
        };
        return Err(env.wrong(codes::OUT_OF_RANGE, key, format!("more than {MOST} items")));
    }
    if config.allowed_origins.contains(&Origin::Any) {
        let message = "`*` would let every page of the world act in the name of your users";
        return Err(env
            .wrong(codes::INVALID_VALUE, "allowed_origins", message)
            .help("list the origins"));
    }
    if let Some(wrong) = config
        .exempt_paths
        .iter()
        .find(|written| !path::normalize(written).is_ok_and(|normal| normal == **written))
    {
        let message = format!("`{wrong}` is no path in its normal form, so that no request could have it");
        return Err(env.wrong(codes::INVALID_VALUE, "exempt_paths", message));
    }
    if config.exempt_paths.iter().any(|path| path == "/") {
        let message = "`/` exempts everything, so that `csrf` would do nothing";
        return Err(env.wrong(codes::INVALID_VALUE, "exempt_paths", message));
    }
    if config.token.is_some() && config.without_origin == WithoutOrigin::Allow {
        let message = "with `token`, a request that does not say where it comes from is judged by its token";
        return Err(env.wrong(codes::CONFLICTING_KEYS, "without_origin", message));
    }
    Ok(())
}
