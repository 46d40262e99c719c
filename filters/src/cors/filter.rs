//! The `cors` filter (Fetch, 3.2): answers preflights, and says on every answer who may read it.

use std::collections::BTreeSet;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use portcullis_config::diagnostic::{Diagnostic, codes};

use super::config::CorsConfig;
use super::origin::Origin;
use crate::filter::{Filter, Phases};
use crate::request::{Head, Request};
use crate::response::Response;
use crate::verdict::{CONTINUE, Denial, Fields, Outcome, Reason, Reply, Stop, Verdict};
use crate::zones::BuildEnv;

/// Most origins of a link.
const MAX_ORIGINS: usize = 1000;
/// A day: browsers do not remember longer.
const MAX_AGE: u64 = 86_400;
const ORIGIN_DENIED: Reason = Reason("origin_denied");
const STAR: HeaderValue = HeaderValue::from_static("*");

/// What an upstream says of CORS and must not: only this filter does.
const MANAGED: [HeaderName; 7] = [
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
    HeaderName::from_static("access-control-allow-private-network"),
];

/// Says which pages may read answers.
#[derive(Debug)]
pub struct Cors {
    origins: Box<[Origin]>,
    methods: Allowed,
    headers: Allowed,
    expose: Option<HeaderValue>,
    credentials: bool,
    max_age: Option<HeaderValue>,
}

/// What a preflight may ask for.
#[derive(Debug)]
enum Allowed {
    /// Nothing beyond what is always allowed.
    Nothing,
    /// These.
    These(HeaderValue),
    /// Whatever is asked for. It is echoed, since `*` covers neither credentials nor `Authorization`.
    Anything,
}

impl Filter for Cors {
    const KIND: &'static str = "cors";
    const PHASES: Phases = Phases::REQUEST.and(Phases::RESPONSE);
    type Config = CorsConfig;
    type State = ();

    fn build(config: CorsConfig, env: &mut BuildEnv<'_>) -> Result<Self, Diagnostic> {
        check_origins(&config, env)?;
        let expose: Vec<&str> = config.expose.iter().map(|name| name.0.as_str()).collect();
        if config.credentials && expose.contains(&"*") {
            let message = "with credentials, `*` is a field name and not all of them";
            return Err(env
                .wrong(codes::CONFLICTING_KEYS, "expose", message)
                .help("list the fields"));
        }
        let max_age = config.max_age.map(|age| age.get().as_secs());
        if max_age.is_some_and(|age| age > MAX_AGE) {
            return Err(env
                .wrong(codes::OUT_OF_RANGE, "max_age", "browsers remember for a day at most")
                .help("write 1d"));
        }
        let methods: Vec<&str> = config.methods.iter().map(|method| method.0.as_str()).collect();
        let headers: Vec<&str> = config.headers.iter().map(|name| name.0.as_str()).collect();
        let expose = match allowed("expose", &expose, env)? {
            Allowed::Nothing => None,
            Allowed::These(list) => Some(list),
            Allowed::Anything => Some(STAR),
        };
        Ok(Self {
            methods: allowed("methods", &methods, env)?,
            headers: allowed("headers", &headers, env)?,
            expose,
            credentials: config.credentials,
            max_age: max_age.map(HeaderValue::from),
            origins: config.origins.into(),
        })
    }

    fn on_request(&self, (): &mut (), request: &mut Request<'_>) -> Outcome {
        let Some(preflight) = Preflight::of(request.head) else {
            return CONTINUE;
        };
        if !self.allows(preflight.origin) {
            return Ok(Denial::new(StatusCode::FORBIDDEN, ORIGIN_DENIED).into());
        }
        Ok(Verdict::Stop(Stop::Reply(Box::new(self.answer(&preflight)))))
    }

    fn on_response(&self, (): &mut (), response: &mut Response<'_>) -> Outcome {
        let edits = &mut response.facts.response_headers;
        // Our own answer to a preflight is complete, and the refusal of one must not become an approval.
        if Preflight::of(response.head).is_some() {
            return CONTINUE;
        }
        for name in MANAGED {
            if response.headers.contains_key(&name) {
                edits.remove(name);
            }
        }
        if !self.is_public() && !varies_by_origin(response.headers) {
            edits.append(VARY, HeaderValue::from_static("Origin"));
        }
        let Some(origin) = one(response.head.headers, &ORIGIN).filter(|origin| self.allows(origin)) else {
            return CONTINUE;
        };
        edits.set(ACCESS_CONTROL_ALLOW_ORIGIN, self.allow_origin(origin));
        if self.credentials {
            edits.set(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if let Some(expose) = &self.expose {
            edits.set(ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
        }
        CONTINUE
    }
}

/// A CORS preflight: `OPTIONS` with exactly one `Origin` and one `Access-Control-Request-Method`. Nothing else is
/// answered here, so that no request can be made to skip the filters that follow.
struct Preflight<'h> {
    origin: &'h HeaderValue,
    method: &'h HeaderValue,
    headers: Option<&'h HeaderValue>,
}

impl<'h> Preflight<'h> {
    fn of(head: &Head<'h>) -> Option<Self> {
        if *head.method != Method::OPTIONS {
            return None;
        }
        Some(Self {
            origin: one(head.headers, &ORIGIN)?,
            method: one(head.headers, &ACCESS_CONTROL_REQUEST_METHOD)?,
            headers: one(head.headers, &ACCESS_CONTROL_REQUEST_HEADERS),
        })
    }
}

impl Cors {
    fn allows(&self, origin: &HeaderValue) -> bool {
        self.origins.iter().any(|allowed| allowed.allows(origin.as_bytes()))
    }

    /// Whether the answer is the same for every origin.
    fn is_public(&self) -> bool {
        matches!(&*self.origins, [Origin::Any])
    }

    fn allow_origin(&self, origin: &HeaderValue) -> HeaderValue {
        if self.is_public() { STAR } else { origin.clone() }
    }

    fn answer(&self, preflight: &Preflight<'_>) -> Reply {
        let mut headers = Fields::new();
        headers.push((ACCESS_CONTROL_ALLOW_ORIGIN, self.allow_origin(preflight.origin)));
        if self.credentials {
            headers.push((ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")));
        }
        if let Some(methods) = self.methods.for_request(Some(preflight.method)) {
            headers.push((ACCESS_CONTROL_ALLOW_METHODS, methods));
        }
        if let Some(names) = self.headers.for_request(preflight.headers) {
            headers.push((ACCESS_CONTROL_ALLOW_HEADERS, names));
        }
        if let Some(max_age) = &self.max_age {
            headers.push((ACCESS_CONTROL_MAX_AGE, max_age.clone()));
        }
        let vary = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
        headers.push((VARY, HeaderValue::from_static(vary)));
        Reply {
            status: StatusCode::NO_CONTENT,
            headers,
            body: bytes::Bytes::new(),
        }
    }
}

impl Allowed {
    fn for_request(&self, asked: Option<&HeaderValue>) -> Option<HeaderValue> {
        match self {
            Self::Nothing => None,
            Self::These(list) => Some(list.clone()),
            Self::Anything => asked.cloned(),
        }
    }
}

/// The value of a field that is there exactly once.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

fn varies_by_origin(headers: &HeaderMap) -> bool {
    let names = headers
        .get_all(VARY)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    names
        .map(<[u8]>::trim_ascii)
        .any(|name| name == b"*" || name.eq_ignore_ascii_case(b"origin"))
}

fn check_origins(config: &CorsConfig, env: &BuildEnv<'_>) -> Result<(), Diagnostic> {
    let wrong = |code, message: String| Err(env.wrong(code, "origins", message));
    if config.origins.is_empty() {
        return wrong(
            codes::INVALID_VALUE,
            "no origin is allowed, so that `cors` would do nothing".into(),
        );
    }
    if config.origins.len() > MAX_ORIGINS {
        return wrong(codes::OUT_OF_RANGE, format!("more than {MAX_ORIGINS} origins"));
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = config.origins.iter().find(|origin| !seen.insert(*origin)) {
        return wrong(codes::INVALID_VALUE, format!("`{twice}` is listed twice"));
    }
    if config.origins.contains(&Origin::Any) {
        if config.origins.len() > 1 {
            return wrong(
                codes::CONFLICTING_KEYS,
                "`*` allows every origin, so that the others mean nothing".into(),
            );
        }
        if config.credentials {
            let message = "with credentials, every site of the world could act in the name of your users";
            return Err(env
                .wrong(codes::CONFLICTING_KEYS, "credentials", message)
                .help("list the origins instead of `*`"));
        }
    }
    Ok(())
}

fn allowed(key: &str, names: &[&str], env: &BuildEnv<'_>) -> Result<Allowed, Diagnostic> {
    match names {
        [] => return Ok(Allowed::Nothing),
        ["*"] => return Ok(Allowed::Anything),
        _ => {}
    }
    if names.contains(&"*") {
        let message = "`*` allows everything, so that the others mean nothing";
        return Err(env.wrong(codes::CONFLICTING_KEYS, key, message));
    }
    let list = HeaderValue::try_from(names.join(", "));
    list.map(Allowed::These)
        .map_err(|_| env.wrong(codes::INVALID_VALUE, key, "the list cannot be a header field"))
}
