//! Why a request is refused for its token: the reason codes, their statuses and what RFC 6750 wants said of them. The
//! whole list; nothing else of this filter makes up a reason.

use std::fmt::Write as _;

use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, StatusCode};

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
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 17] = [
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
        }
    }

    /// The status: 400 for what is no way to send a token, 403 for a good token that does not suffice, else 401.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Repeated => StatusCode::BAD_REQUEST,
            Self::Scope | Self::ClaimNotAllowed => StatusCode::FORBIDDEN,
            _ => StatusCode::UNAUTHORIZED,
        }
    }

    /// The error code of RFC 6750, 3.1; none where the client just did not know that a token is needed.
    const fn error(self) -> Option<&'static str> {
        match self {
            Self::Missing => None,
            Self::Repeated => Some("invalid_request"),
            Self::Scope | Self::ClaimNotAllowed => Some("insufficient_scope"),
            _ => Some("invalid_token"),
        }
    }

    fn place(self) -> usize {
        Self::ALL.iter().position(|refusal| *refusal == self).unwrap_or(0)
    }
}

/// `WWW-Authenticate` for every refusal, written once a link.
#[derive(Debug, Clone)]
pub struct Challenges {
    values: Vec<HeaderValue>,
}

impl Challenges {
    /// Challenges for a realm and the scopes a route needs. `None` if `realm` or a scope cannot stand in a quoted
    /// string as it is: a control character, a quote, a backslash, something that is not ASCII.
    pub fn new(realm: &str, scopes: &[Box<str>]) -> Option<Self> {
        let plain = |text: &str| {
            text.bytes()
                .all(|byte| matches!(byte, 0x20..=0x7e) && byte != b'"' && byte != b'\\')
        };
        if !plain(realm) || !scopes.iter().all(|scope| plain(scope)) {
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
