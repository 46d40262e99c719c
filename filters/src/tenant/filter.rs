//! The `tenant` filter: who is it, does the request name anybody else, and who does the upstream say its answer is for?

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode};
use portcullis_config::diagnostic::{Diagnostic, codes};
use portcullis_config::site;

use super::body;
use super::config::{CertificateConfig, FromConfig, SameInConfig, TenantConfig};
use super::pattern::{PathPattern, Pattern};
use super::places::{BodySays, Places, Sources, Unknown};
use super::scope::TenantId;
use super::stats::{BODY_TOO_LARGE, BODY_UNREADABLE, INVALID, LEAK, MISMATCH, MISSING, TenantStats};
use crate::client::SanKind;
use crate::facts::{Body, Facts};
use crate::filter::{Filter, Phases};
use crate::headers::names::{is_twin, reserved_in_request};
use crate::record::{Action, Decision};
use crate::request::Request;
use crate::response::Response;
use crate::verdict::{CONTINUE, Denial, FilterError, Outcome, Reason, Verdict};
use crate::zones::{BuildEnv, OneShape};

/// Most items of a list.
const MOST: usize = 100;
/// The most that may be held back of one request.
const MOST_BODY: u64 = 64 << 20;

/// Lets requests pass that are one tenant's, and say nothing else.
#[derive(Debug)]
pub struct Tenant {
    sources: Sources,
    places: Places,
    max_body: usize,
    upstream: HeaderName,
    response: Option<HeaderName>,
    stats: Arc<TenantStats>,
}

impl Filter for Tenant {
    const KIND: &'static str = "tenant";
    const PHASES: Phases = Phases::REQUEST.and(Phases::RESPONSE);
    type Config = TenantConfig;
    type State = ();

    fn build(config: TenantConfig, env: &mut BuildEnv<'_>) -> Result<Self, Diagnostic> {
        let stats = env.zones.open(&env.own_zone(), &OneShape);
        let max_body = config.same_in.max_body.get();
        if !(1..=MOST_BODY).contains(&max_body) {
            return Err(wrong_range(
                env,
                "same_in",
                "`max_body`: between 1 byte and 64MiB are held back",
            ));
        }
        Ok(Self {
            upstream: field(env, "upstream_header", &config.upstream_header)?,
            response: match &config.response_header {
                Some(name) => Some(field(env, "response_header", name)?),
                None => None,
            },
            sources: sources(config.from, env)?,
            places: places(config.same_in, env)?,
            max_body: usize::try_from(max_body).unwrap_or(usize::MAX),
            stats: stats.map_err(|error| env.zone_error("", &error))?,
        })
    }

    fn on_request(&self, (): &mut (), request: &mut Request<'_>) -> Outcome {
        let tenant = match self.sources.find(request) {
            Ok(tenant) => tenant,
            Err(unknown) => return Ok(self.unknown(request.facts, unknown)),
        };
        if let Some(place) = self.places.differing(request.head, tenant.as_str()) {
            return Ok(self.refuse(request.facts, MISMATCH, place));
        }
        if !self.places.body.is_empty()
            && let Some(verdict) = self.look_at_body(request, &tenant)?
        {
            return Ok(verdict);
        }
        for name in request.head.headers.keys() {
            if *name != self.upstream && is_twin(self.upstream.as_str(), name.as_str()) {
                request.facts.request_headers.remove(name.clone());
            }
        }
        let value = HeaderValue::from_str(tenant.as_str())
            .map_err(|_| FilterError::internal("tenant_header", "the tenant is no header value"))?;
        request.facts.request_headers.set(self.upstream.clone(), value);
        request.facts.tenant = Some(tenant);
        CONTINUE
    }

    fn on_response(&self, (): &mut (), response: &mut Response<'_>) -> Outcome {
        let (Some(name), Some(tenant)) = (&self.response, &response.facts.tenant) else {
            return CONTINUE;
        };
        let mut values = response.headers.get_all(name).iter();
        if values.all(|value| value.as_bytes() == tenant.as_str().as_bytes()) {
            return CONTINUE;
        }
        Ok(self.refuse(response.facts, LEAK, "the answer"))
    }
}

impl Tenant {
    /// What becomes of the request for its body; `None` when nothing is against it.
    fn look_at_body(&self, request: &mut Request<'_>, tenant: &TenantId) -> Result<Option<Verdict>, FilterError> {
        let says = match &request.facts.body {
            None => return Ok(Some(Verdict::Body(self.max_body))),
            Some(Body::Whole(text, _)) => self.places.look(request.head.headers, text, tenant.as_str()),
            Some(Body::TooLarge) => return Ok(Some(self.refuse(request.facts, BODY_TOO_LARGE, "the body"))),
            Some(Body::NoRoom) => {
                let detail = "as many bodies are held back already as there is room for";
                return Err(FilterError::unavailable("held_bodies_full", detail));
            }
            Some(Body::Unseen) => {
                let detail = "nobody has the body, so that nobody can say whom it names";
                return Err(FilterError::unavailable("tenant_body_unseen", detail));
            }
        };
        Ok(match says {
            BodySays::Nothing => None,
            BodySays::Other => Some(self.refuse(request.facts, MISMATCH, "the body")),
            BodySays::Unreadable(why) => Some(self.refuse(request.facts, BODY_UNREADABLE, why)),
        })
    }

    fn unknown(&self, facts: &mut Facts, unknown: Unknown) -> Verdict {
        match unknown {
            Unknown::Missing => self.refuse(facts, MISSING, ""),
            Unknown::Invalid(place) => self.refuse(facts, INVALID, place),
            Unknown::Other(place) => self.refuse(facts, MISMATCH, place),
        }
    }

    /// Refuses. The client is told no name; the operator is told the place.
    fn refuse(&self, facts: &mut Facts, reason: Reason, place: &'static str) -> Verdict {
        self.stats.refused(reason);
        if !place.is_empty() {
            let mut decision = Decision::new(Action::Deny, reason);
            decision.detail = Some(place.into());
            facts.decide(decision);
        }
        let (status, detail) = match reason {
            MISSING => (StatusCode::BAD_REQUEST, "Nothing says whose request it is."),
            INVALID => (
                StatusCode::FORBIDDEN,
                "What says whose request it is, is no name of a tenant.",
            ),
            BODY_UNREADABLE => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "Only plain JSON is taken here."),
            BODY_TOO_LARGE => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "The body is larger than what is taken here.",
            ),
            LEAK => (StatusCode::BAD_GATEWAY, "The answer was not for this request."),
            _ => (
                StatusCode::FORBIDDEN,
                "The request names another tenant than its caller's.",
            ),
        };
        Denial::new(status, reason).detail(detail).into()
    }
}

fn wrong_range(env: &BuildEnv<'_>, key: &str, message: &str) -> Diagnostic {
    env.wrong(codes::OUT_OF_RANGE, key, message)
}

fn field(env: &BuildEnv<'_>, key: &str, written: &site::HeaderName) -> Result<HeaderName, Diagnostic> {
    let name = HeaderName::try_from(written.0.as_str()).ok();
    name.filter(|name| reserved_in_request(name).is_none()).ok_or_else(|| {
        let message = format!("`{}` cannot carry a tenant", written.0);
        env.wrong(codes::INVALID_VALUE, key, message)
    })
}

fn pattern(env: &BuildEnv<'_>, key: &str, name: &str, text: &str) -> Result<Pattern, Diagnostic> {
    Pattern::parse(text).map_err(|why| bad(env, key, name, text, why))
}

fn host(env: &BuildEnv<'_>, key: &str, text: &str) -> Result<Pattern, Diagnostic> {
    let parsed = pattern(env, key, "host", text)?;
    let plain = |byte: u8| !byte.is_ascii_uppercase() && !matches!(byte, b'/' | b':');
    if parsed.is_open() || !text.bytes().all(plain) {
        let why = "a host is written in lower case, without port, and to its end";
        return Err(bad(env, key, "host", text, why));
    }
    Ok(parsed)
}

fn bad(env: &BuildEnv<'_>, key: &str, name: &str, text: &str, why: &str) -> Diagnostic {
    let message = format!("`{name}`: `{text}` cannot be used: {why}");
    env.wrong(codes::INVALID_VALUE, key, message)
}

fn sources(written: FromConfig, env: &BuildEnv<'_>) -> Result<Sources, Diagnostic> {
    let key = "from";
    let certificate = match written.certificate {
        None => None,
        Some(CertificateConfig {
            uri: Some(uri),
            dns: None,
        }) => Some((SanKind::Uri, pattern(env, key, "uri", &uri)?)),
        Some(CertificateConfig {
            uri: None,
            dns: Some(dns),
        }) => Some((SanKind::Dns, host(env, key, &dns)?)),
        Some(_) => {
            let message = "`certificate` needs one of `uri` and `dns`";
            return Err(env.wrong(codes::CONFLICTING_KEYS, key, message));
        }
    };
    let sources = Sources {
        claim: written.claim.filter(|name| !name.is_empty()).map(Into::into),
        certificate,
        header: match &written.header {
            Some(name) => Some(field(env, key, name)?),
            None => None,
        },
        host: match &written.host {
            Some(text) => Some(host(env, key, text)?),
            None => None,
        },
    };
    let none =
        sources.claim.is_none() && sources.certificate.is_none() && sources.header.is_none() && sources.host.is_none();
    if none {
        let message = "`from` names nothing that a tenant could be known from";
        return Err(env
            .wrong(codes::MISSING_KEY, key, message)
            .help("give it `claim`, `certificate`, `header` or `host`"));
    }
    Ok(sources)
}

fn places(written: SameInConfig, env: &BuildEnv<'_>) -> Result<Places, Diagnostic> {
    let key = "same_in";
    let lengths = [
        written.path.len(),
        written.query.len(),
        written.header.len(),
        written.body.len(),
    ];
    if lengths.iter().any(|length| *length > MOST) {
        return Err(wrong_range(env, key, "a list has at most 100 items"));
    }
    let path = |text: &String| PathPattern::parse(text).map_err(|why| bad(env, key, "path", text, why));
    let member = |text: &String| body::parse(text).ok_or_else(|| bad(env, key, "body", text, "it has an empty name"));
    if let Some(text) = written
        .query
        .iter()
        .find(|name| name.is_empty() || name.contains(['[', '&', ';', '=']))
    {
        return Err(bad(env, key, "query", text, "it is no name of a parameter"));
    }
    let paths: Result<_, _> = written.path.iter().map(path).collect();
    let headers: Result<_, _> = written.header.iter().map(|name| field(env, key, name)).collect();
    let body: Result<_, _> = written.body.iter().map(member).collect();
    Ok(Places {
        paths: paths?,
        query: written.query.into_iter().map(Into::into).collect(),
        headers: headers?,
        host: match &written.host {
            Some(text) => Some(host(env, key, text)?),
            None => None,
        },
        body: body?,
    })
}
