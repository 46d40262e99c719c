//! The five forms in which peers ask and want to be answered, told apart by path and method. What each one describes is read elsewhere.

use http::{HeaderValue, Method, StatusCode, header};
use portcullis_filters::verdict::{Denial, Reason};

use super::ext_authz;

/// Behind it stands the path of the request that Envoy asks about over HTTP (`path_prefix`).
const EXT_AUTHZ: &str = "/v1/ext_authz";

/// How a peer asks, and so how it wants to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `POST /v1/decision`: `X-Original-Method`, `-URI` and `-Host`; the status says all.
    Decision,
    /// `GET /v1/auth_request`, nginx: the same fields; nginx knows 2xx, 401 and 403 only.
    AuthRequest,
    /// `GET /v1/forward_auth`, Traefik and Caddy: `X-Forwarded-Method`, `-Uri` and `-Host`.
    ForwardAuth,
    /// `/v1/ext_authz/...`, Envoy over HTTP: the request itself without its body, behind a prefix.
    ExtAuthz,
    /// `envoy.service.auth.v3.Authorization/Check`, Envoy over gRPC.
    Grpc,
}

impl Protocol {
    /// The protocol that is spoken at a path, which is in the form in which it was sent.
    pub fn of(method: &Method, path: &str) -> Result<Self, Denial> {
        let (protocol, asked_with) = match path {
            "/v1/decision" => (Self::Decision, Method::POST),
            "/v1/auth_request" => (Self::AuthRequest, Method::GET),
            "/v1/forward_auth" => (Self::ForwardAuth, Method::GET),
            ext_authz::CHECK => (Self::Grpc, Method::POST),
            _ if behind_prefix(path).is_some() => return Ok(Self::ExtAuthz),
            _ => return Err(Denial::new(StatusCode::NOT_FOUND, Reason("not_found"))),
        };
        if *method == asked_with {
            return Ok(protocol);
        }
        let allow = HeaderValue::from_str(asked_with.as_str()).unwrap_or(HeaderValue::from_static("POST"));
        let denial = Denial::new(StatusCode::METHOD_NOT_ALLOWED, Reason("method_not_allowed"));
        Err(denial.header(header::ALLOW, allow))
    }
}

/// What follows Envoy's prefix: the target of the request that is asked about.
pub(super) fn behind_prefix(target: &str) -> Option<&str> {
    let rest = target.strip_prefix(EXT_AUTHZ)?;
    (rest.starts_with('/') || rest == "*").then_some(rest)
}
