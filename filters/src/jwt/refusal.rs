//! Why a request is refused for its token: the reason codes, their statuses and what RFC 6750 wants said of them. The
//! whole list; nothing else of this filter makes up a reason.

use std::fmt::Write as _;

use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, StatusCode};

use super::config::StepUp;
use crate::verdict::{Denial, Reason};

/// A refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refusal {
    /// No token.
    Missing,
    /// The header field that carries the token is there more than once.
    Repeated,
    /// Longer than [`super::jws::MAX_TOKEN`].
    TooLong,
    /// Not a compact JWS over a JSON object.
    Malformed,
    /// `crit` or a parameter that nothing here understands.
    Extension,
    /// `alg` is not one of the issuer's.
    Algorithm,
    /// `typ` is not one of the issuer's.
    Type,
    /// `iss` is none of the issuers'.
    Issuer,
    /// No key of the issuer fits, or several do.
    UnknownKey,
    /// The signature does not verify.
    Signature,
    /// `exp` has passed.
    Expired,
    /// `nbf` or `iat` has not come.
    NotYetValid,
    /// A registered claim is missing or of the wrong type.
    Claims,
    /// `aud` has none of the accepted values.
    Audience,
    /// A claim that becomes a header field cannot be one.
    ClaimUnusable,
    /// A scope is missing.
    Scope,
    /// A claim has not the value that the route wants.
    ClaimNotAllowed,
    /// The route's condition does not hold.
    Condition,
    /// `iat` is too long ago.
    TooOld,
    /// The user has not authenticated as the route wants it.
    Authentication,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::Missing,
        Self::Repeated,
        Self::TooLong,
        Self::Malformed,
        Self::Extension,
        Self::Algorithm,
        Self::Type,
        Self::Issuer,
        Self::UnknownKey,
        Self::Signature,
        Self::Expired,
        Self::NotYetValid,
        Self::Claims,
        Self::Audience,
        Self::ClaimUnusable,
        Self::Scope,
        Self::ClaimNotAllowed,
        Self::Condition,
        Self::TooOld,
        Self::Authentication,
    ];

    /// The stable code.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Missing => "token_missing",
            Self::Repeated => "token_repeated",
            Self::TooLong => "token_too_long",
            Self::Malformed => "token_malformed",
            Self::Extension => "header_not_supported",
            Self::Algorithm => "alg_not_allowed",
            Self::Type => "type_not_allowed",
            Self::Issuer => "issuer_unknown",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature_invalid",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::Claims => "claims_invalid",
            Self::Audience => "audience_mismatch",
            Self::ClaimUnusable => "claim_unusable",
            Self::Scope => "insufficient_scope",
            Self::ClaimNotAllowed => "claim_not_allowed",
            Self::Condition => "condition_not_met",
            Self::TooOld => "token_too_old",
            Self::Authentication => "insufficient_user_authentication",
        }
    }

    /// What is told to the client.
    pub const fn description(self) -> &'static str {
        match self {
            Self::Missing => "A token is needed.",
            Self::Repeated => "The token was sent more than once.",
            Self::TooLong => "The token is longer than 16 KiB.",
            Self::Malformed => "The token is not a well-formed JWT in compact form.",
            Self::Extension => "The token's header asks for an extension that is not supported.",
            Self::Algorithm => "The token's algorithm is not accepted.",
            Self::Type => "The token is of another type.",
            Self::Issuer => "The token's issuer is not accepted.",
            Self::UnknownKey => "The issuer has no key that the token can mean.",
            Self::Signature => "The token's signature is not valid.",
            Self::Expired => "The token has expired.",
            Self::NotYetValid => "The token is not valid yet.",
            Self::Claims => "A claim of the token is missing or of the wrong type.",
            Self::Audience => "The token is meant for somebody else.",
            Self::ClaimUnusable => "A claim of the token cannot be passed on.",
            Self::Scope => "The token lacks a scope.",
            Self::ClaimNotAllowed => "A claim of the token has not the needed value.",
            Self::Condition => "The token does not meet the condition for this.",
            Self::TooOld => "The token was issued too long ago.",
            Self::Authentication => "A stronger or newer authentication of the user is needed.",
        }
    }

    /// The status: 400 for what is no way to send a token, 403 for a good token that does not suffice, else 401.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Repeated => StatusCode::BAD_REQUEST,
            Self::Scope | Self::ClaimNotAllowed | Self::Condition => StatusCode::FORBIDDEN,
            _ => StatusCode::UNAUTHORIZED,
        }
    }

    /// The error code of RFC 6750, 3.1, or RFC 9470, 3; none where the client just did not know that a token is needed.
    const fn error(self) -> Option<&'static str> {
        match self {
            Self::Missing => None,
            Self::Repeated => Some("invalid_request"),
            Self::Scope | Self::ClaimNotAllowed | Self::Condition => Some("insufficient_scope"),
            Self::Authentication => Some("insufficient_user_authentication"),
            _ => Some("invalid_token"),
        }
    }

    fn place(self) -> usize {
        Self::ALL.iter().position(|refusal| *refusal == self).unwrap_or(0)
    }
}

/// Whether a text can stand in a quoted string as it is: no control character, quote or backslash, nothing that is not
/// ASCII.
pub(super) fn is_plain(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, 0x20..=0x7e) && byte != b'"' && byte != b'\\')
}

/// What a client asks its authorization server for next (RFC 9470, 3).
fn step_up_challenge(step_up: &StepUp) -> String {
    let mut text = String::new();
    if !step_up.acr_values.is_empty() {
        let _ = write!(text, ", acr_values=\"{}\"", step_up.acr_values.join(" "));
    }
    if let Some(max_age) = step_up.max_age {
        let _ = write!(text, ", max_age=\"{}\"", max_age.get().as_secs());
    }
    text
}

/// `WWW-Authenticate` for every refusal, written once a link.
#[derive(Debug, Clone)]
pub struct Challenges {
    values: Vec<HeaderValue>,
}

impl Challenges {
    /// Challenges for a realm, the scopes a route needs, and how users must authenticate there. `None` if a text cannot
    /// stand in a quoted string as it is.
    pub fn new(realm: &str, scopes: &[Box<str>], step_up: Option<&StepUp>) -> Option<Self> {
        let stronger = step_up.map(step_up_challenge).unwrap_or_default();
        if !is_plain(realm) || !scopes.iter().all(|scope| is_plain(scope)) {
            return None;
        }
        let values = Refusal::ALL.iter().map(|refusal| {
            let mut text = format!("Bearer realm=\"{realm}\"");
            if let Some(error) = refusal.error() {
                let description = refusal.description();
                let _ = write!(text, ", error=\"{error}\", error_description=\"{description}\"");
            }
            if *refusal == Refusal::Scope {
                let _ = write!(text, ", scope=\"{}\"", scopes.join(" "));
            }
            if *refusal == Refusal::Authentication {
                text.push_str(&stronger);
            }
            HeaderValue::try_from(text)
        });
        Some(Self {
            values: values.collect::<Result<_, _>>().ok()?,
        })
    }

    /// The answer to a request that is refused.
    pub fn denial(&self, refusal: Refusal) -> Denial {
        let denial = Denial::new(refusal.status(), Reason(refusal.reason())).detail(refusal.description());
        match self.values.get(refusal.place()) {
            Some(challenge) => denial.header(WWW_AUTHENTICATE, challenge.clone()),
            None => denial,
        }
    }
}
