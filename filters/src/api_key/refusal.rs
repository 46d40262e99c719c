//! Why a request is refused for its key: the reason codes, their statuses and what is told. The whole list.

use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, StatusCode};

use crate::verdict::{Denial, Reason};

/// A refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Missing,
    Repeated,
    Malformed,
    Unknown,
    Expired,
    Revoked,
    Environment,
    Class,
    InBrowser,
    Origin,
    Network,
    Scope,
    Tenant,
}

impl Refusal {
    pub(super) const ALL: [Self; 13] = [
        Self::Missing,
        Self::Repeated,
        Self::Malformed,
        Self::Unknown,
        Self::Expired,
        Self::Revoked,
        Self::Environment,
        Self::Class,
        Self::InBrowser,
        Self::Origin,
        Self::Network,
        Self::Scope,
        Self::Tenant,
    ];

    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Missing => "api_key_missing",
            Self::Repeated => "api_key_repeated",
            Self::Malformed => "api_key_malformed",
            Self::Unknown => "api_key_unknown",
            Self::Expired => "api_key_expired",
            Self::Revoked => "api_key_revoked",
            Self::Environment => "api_key_environment",
            Self::Class => "api_key_class",
            Self::InBrowser => "api_key_in_browser",
            Self::Origin => "api_key_origin",
            Self::Network => "api_key_network",
            Self::Scope => "api_key_scope",
            Self::Tenant => "api_key_tenant",
        }
    }

    const fn detail(self) -> &'static str {
        match self {
            Self::Missing => "An API key is needed.",
            Self::Repeated => "More than one API key was sent.",
            Self::Malformed => "The API key is not one, or was not copied whole.",
            Self::Unknown => "The API key is not known.",
            Self::Expired => "The API key has expired.",
            Self::Revoked => "The API key was revoked.",
            Self::Environment => "The API key is for another environment.",
            Self::Class => "API keys of this class are not accepted here.",
            Self::InBrowser => "A secret API key was sent by a browser. Revoke it: whoever sees the page has it.",
            Self::Origin => "The API key may not be sent by pages of this origin.",
            Self::Network => "The API key may not be used from this address.",
            Self::Scope => "The API key lacks a scope.",
            Self::Tenant => "The API key belongs to another organisation.",
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::Repeated => StatusCode::BAD_REQUEST,
            Self::Missing | Self::Malformed | Self::Unknown | Self::Expired | Self::Revoked | Self::Environment => {
                StatusCode::UNAUTHORIZED
            }
            Self::Class | Self::InBrowser | Self::Origin | Self::Network | Self::Scope | Self::Tenant => {
                StatusCode::FORBIDDEN
            }
        }
    }

    pub(super) fn denial(self) -> Denial {
        let denial = Denial::new(self.status(), Reason(self.reason())).detail(self.detail());
        if self.status() == StatusCode::UNAUTHORIZED {
            denial.header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"api_key\""))
        } else {
            denial
        }
    }
}
