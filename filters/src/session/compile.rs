//! From `session` as written to the filter: everything that can be wrong with its keys is found here.

use std::sync::Arc;

use http::HeaderName;
use http::header::{AUTHORIZATION, COOKIE};
use portcullis_config::diagnostic::{Diagnostic, codes, suggest};
use portcullis_config::identity::Issuer;
use portcullis_config::{path, site};

use super::config::{ClientAuth, SessionConfig};
use super::filter::{Output, Paths, Session};
use super::provider::{MetadataSource, MetadataZone, Provider, Required};
use super::record::{Limits, milliseconds};
use super::table::SessionTable;
use crate::cookies;
use crate::headers::names::{is_twin, reserved_in_request};
use crate::jwt::issuer::Trusted;
use crate::jwt::keys::{KeySet, KeySource};
use crate::secrets::{KEY_BYTES, SecretSlot};
use crate::zones::{BuildEnv, OneShape};

/// Parameters of the authorization request that are ours.
const OWN: [&str; 9] = [
    "client_id",
    "code_challenge",
    "code_challenge_method",
    "nonce",
    "redirect_uri",
    "response_mode",
    "response_type",
    "scope",
    "state",
];
/// Most items of a list.
const MOST: usize = 32;

pub(super) fn compile(config: SessionConfig, env: &mut BuildEnv<'_>) -> Result<Session, Diagnostic> {
    check_texts(&config, env)?;
    let limits = limits(&config, env)?;
    let access_field = config
        .access_token_header
        .as_ref()
        .map(|written| field(written, "access_token_header", env))
        .transpose()?;
    let outputs = outputs(&config, access_field.as_ref(), env)?;
    let devices = config
        .device_headers
        .iter()
        .map(|written| field(written, "device_headers", env))
        .collect::<Result<Box<[_]>, _>>()?;
    if devices.contains(&COOKIE) {
        return Err(env.wrong(
            codes::INVALID_VALUE,
            "device_headers",
            "the cookie changes with the session",
        ));
    }
    let paths = paths(&config, env)?;
    let scope = scope(&config, env)?;
    let key = SecretSlot::open(env, "key", &config.key, KEY_BYTES)?;
    let provider = Arc::new(provider(&config, env)?);
    let terms = format!(
        "client {} of {} with cookie {}",
        config.client_id, config.issuer, config.cookie
    );
    let table = env
        .zones
        .open_on::<SessionTable>(&config.realm, &OneShape, &terms)
        .map_err(|error| env.zone_error("realm", &error))?;
    Ok(Session {
        context: format!("{} {}", provider.issuer, provider.client_id),
        provider,
        table,
        key,
        paths,
        login_cookie: format!("{}-login-", config.cookie),
        cookie: config.cookie.into(),
        scope,
        parameters: config.parameters.into_iter().collect(),
        tenant_parameter: config.tenant_parameter.map(Into::into),
        optional: config.optional,
        limits,
        access_field,
        outputs,
        devices,
        post_logout_url: config.post_logout_url.map(Into::into),
        most: usize::try_from(config.max_sessions).unwrap_or(usize::MAX),
    })
}

fn check_texts(config: &SessionConfig, env: &BuildEnv<'_>) -> Result<(), Diagnostic> {
    let plain =
        |text: &str| !text.is_empty() && text.len() <= 255 && text.bytes().all(|byte| matches!(byte, 0x21..=0x7e));
    for (key, text, most) in [("client_id", &config.client_id, 255), ("realm", &config.realm, 64)] {
        if !plain(text) || text.len() > most {
            let message = format!("a text of 1 to {most} ASCII characters without spaces is needed");
            return Err(env.wrong(codes::INVALID_VALUE, key, message));
        }
    }
    if let Some(why) = cookies::not_host_bound(&config.cookie) {
        return Err(env.wrong(codes::INVALID_VALUE, "cookie", why));
    }
    if config.cookie.len() > 40 {
        return Err(env.wrong(
            codes::INVALID_VALUE,
            "cookie",
            "a name of at most 40 characters is needed",
        ));
    }
    if config.client_secret.is_none() && config.client_auth == ClientAuth::Post {
        let message = "without `client_secret` there is nothing to show";
        return Err(env.wrong(codes::CONFLICTING_KEYS, "client_auth", message));
    }
    if config.max_sessions == 0 {
        return Err(env.wrong(codes::OUT_OF_RANGE, "max_sessions", "at least one session is needed"));
    }
    if let Some(name) = config
        .parameters
        .keys()
        .find(|name| OWN.contains(&name.as_str()) || !plain(name))
    {
        let message = format!("`{name}` cannot be given here: it is ours, or no name");
        return Err(env.wrong(codes::INVALID_VALUE, "parameters", message));
    }
    let own = |name: &String| OWN.contains(&name.as_str()) || !plain(name);
    if config.tenant_parameter.as_ref().is_some_and(own)
        || config.tenant_parameter.is_some() && config.tenant_claim.is_none()
    {
        let message = "it needs a name that is not ours, and `tenant_claim`, by which the provider's answer is judged";
        return Err(env.wrong(codes::CONFLICTING_KEYS, "tenant_parameter", message));
    }
    for (claim, wanted) in &config.required_claims {
        if wanted.0.is_empty() {
            let message = format!("no value of `{claim}` is allowed, so that nobody could log in");
            return Err(env.wrong(codes::INVALID_VALUE, "required_claims", message));
        }
    }
    if config.parameters.len() > MOST || config.device_headers.len() > MOST || config.claims_to_headers.len() > MOST {
        return Err(env.wrong(codes::OUT_OF_RANGE, "", format!("a list has more than {MOST} items")));
    }
    Ok(())
}

fn limits(config: &SessionConfig, env: &BuildEnv<'_>) -> Result<Limits, Diagnostic> {
    const YEAR_MS: u64 = 365 * 86_400_000;
    let limits = Limits {
        idle_ms: milliseconds(config.idle),
        absolute_ms: milliseconds(config.absolute),
        rotate_ms: milliseconds(config.rotate),
        grace_ms: milliseconds(config.grace),
        ahead_ms: milliseconds(config.refresh_ahead),
    };
    for (key, value, least) in [
        ("idle", limits.idle_ms, 1_000),
        ("absolute", limits.absolute_ms, 1_000),
        ("rotate", limits.rotate_ms, 1_000),
        ("grace", limits.grace_ms, 0),
        ("refresh_ahead", limits.ahead_ms, 0),
    ] {
        if !(least..=YEAR_MS).contains(&value) {
            return Err(env.wrong(codes::OUT_OF_RANGE, key, "a time from 1s to 365d is needed"));
        }
    }
    if limits.idle_ms > limits.absolute_ms {
        let message = "a session that ends after `absolute` cannot be idle for longer";
        return Err(env.wrong(codes::CONFLICTING_KEYS, "idle", message));
    }
    if limits.grace_ms >= limits.rotate_ms {
        let message = "`grace` must be shorter than `rotate`, or old ids would always be good";
        return Err(env.wrong(codes::CONFLICTING_KEYS, "grace", message));
    }
    Ok(limits)
}

fn provider(config: &SessionConfig, env: &mut BuildEnv<'_>) -> Result<Provider, Diagnostic> {
    let Some(written) = env.issuers.get(&config.issuer) else {
        let help = suggest(&config.issuer, env.issuers.keys().map(String::as_str));
        let message = format!("no issuer is named `{}` in `identity.issuers`", config.issuer);
        return Err(env.wrong(codes::UNKNOWN_REFERENCE, "issuer", message).help(help));
    };
    let source = KeySource::of(&config.issuer, written);
    let keys = env
        .zones
        .open::<KeySet>(&source.to_string(), &source)
        .map_err(|error| env.zone_error("issuer", &error))?;
    let of_types = |types: Option<Vec<String>>| {
        let issuer = Issuer {
            audiences: vec![config.client_id.clone()],
            types,
            ..written.clone()
        };
        Trusted::new(&config.issuer, &issuer, Arc::clone(&keys))
    };
    let metadata = MetadataSource {
        issuer: written.issuer.as_str().into(),
        ca: written.ca.clone(),
    };
    let secret = config
        .client_secret
        .as_ref()
        .map(|reference| SecretSlot::open(env, "client_secret", reference, 1))
        .transpose()?;
    Ok(Provider {
        name: config.issuer.as_str().into(),
        issuer: written.issuer.as_str().into(),
        ca: written.ca.clone(),
        timeout: written.refresh.timeout.get(),
        client_id: config.client_id.as_str().into(),
        secret,
        in_body: config.client_auth == ClientAuth::Post,
        redirect_url: config.redirect_url.as_str().into(),
        id_tokens: of_types(None),
        logout_tokens: of_types(Some(vec!["logout+jwt".to_owned(), "JWT".to_owned()])),
        required: config.required_claims.iter().map(required).collect(),
        tenant_claim: config.tenant_claim.as_deref().map(Into::into),
        metadata: env
            .zones
            .open::<MetadataZone>(&metadata.to_string(), &metadata)
            .map_err(|error| env.zone_error("issuer", &error))?,
    })
}

fn required((claim, wanted): (&String, &crate::jwt::config::Wanted)) -> Required {
    Required {
        claim: claim.as_str().into(),
        values: wanted.0.clone().into(),
    }
}

/// The path of a URL of ours; `None` if it is none.
fn path_of(url: &str) -> Option<&str> {
    let plain =
        url.len() <= 1024 && url.bytes().all(|byte| matches!(byte, 0x21..=0x7e)) && !url.contains(['?', '#', '\\']);
    let (scheme, rest) = url.split_once("://").filter(|_| plain)?;
    let (authority, _) = rest.split_once('/')?;
    let path = rest.strip_prefix(authority)?;
    let local = ["localhost", "127.0.0.1", "[::1]"];
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let fits = !authority.is_empty() && (scheme == "https" || scheme == "http" && local.contains(&host));
    (fits && is_normal(path)).then_some(path)
}

fn is_normal(text: &str) -> bool {
    path::normalize(text).is_ok_and(|normal| normal == text)
}

fn paths(config: &SessionConfig, env: &BuildEnv<'_>) -> Result<Paths, Diagnostic> {
    let Some(callback) = path_of(&config.redirect_url).filter(|path| *path != "/") else {
        let message = "a URL with https (or http on loopback), a path and no query is needed";
        return Err(env
            .wrong(codes::INVALID_VALUE, "redirect_url", message)
            .help("write it as it is registered at the provider: https://app.example.com/-/session/callback"));
    };
    if let Some(url) = &config.post_logout_url
        && path_of(url).is_none()
    {
        let message = "a URL with https (or http on loopback), a path and no query is needed";
        return Err(env.wrong(codes::INVALID_VALUE, "post_logout_url", message));
    }
    let base = config.path.as_str();
    if !is_normal(base) || base.len() < 2 || base.ends_with('/') {
        let message = "a path in its normal form without a slash at its end is needed";
        return Err(env.wrong(codes::INVALID_VALUE, "path", message));
    }
    let paths = Paths::new(base, callback);
    if paths.clash() {
        let message = "`redirect_url` must lead to a path of its own";
        return Err(env.wrong(codes::CONFLICTING_KEYS, "redirect_url", message));
    }
    Ok(paths)
}

fn scope(config: &SessionConfig, env: &BuildEnv<'_>) -> Result<String, Diagnostic> {
    let fits = |scope: &String| {
        let token = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        !scope.is_empty() && scope.len() <= 255 && scope.bytes().all(token)
    };
    if let Some(scope) = config.scopes.iter().find(|scope| !fits(scope)) {
        return Err(env
            .wrong(codes::INVALID_VALUE, "scopes", format!("`{scope}` is not one scope"))
            .help("write one list item for each scope"));
    }
    let mut scope = "openid".to_owned();
    for more in config.scopes.iter().filter(|scope| *scope != "openid") {
        scope.push(' ');
        scope.push_str(more);
    }
    Ok(scope)
}

fn field(written: &site::HeaderName, key: &str, env: &BuildEnv<'_>) -> Result<HeaderName, Diagnostic> {
    let name = HeaderName::try_from(written.0.as_str()).ok();
    let Some(name) = name else {
        let message = format!("`{}` is not a header field name", written.0);
        return Err(env.wrong(codes::INVALID_VALUE, key, message));
    };
    match reserved_in_request(&name) {
        Some(why) => {
            let message = format!("`{name}` cannot be used here: {why}");
            Err(env.wrong(codes::INVALID_VALUE, key, message))
        }
        None => Ok(name),
    }
}

fn outputs(
    config: &SessionConfig,
    access: Option<&HeaderName>,
    env: &BuildEnv<'_>,
) -> Result<Box<[Output]>, Diagnostic> {
    const KEY: &str = "claims_to_headers";
    if access.is_some_and(|access| *access == COOKIE) {
        let message = "`cookie` carries the session, and not the access token";
        return Err(env.wrong(codes::CONFLICTING_KEYS, "access_token_header", message));
    }
    let mut outputs: Vec<Output> = Vec::new();
    for (name, claim) in &config.claims_to_headers {
        let field = field(name, KEY, env)?;
        let taken = [Some(&AUTHORIZATION), Some(&COOKIE), access];
        let is_taken = taken
            .into_iter()
            .flatten()
            .any(|taken| is_twin(taken.as_str(), field.as_str()));
        if is_taken
            || outputs
                .iter()
                .any(|other| is_twin(other.field.as_str(), field.as_str()))
        {
            let message = format!("servers can take `{field}` for another field that is used here");
            return Err(env.wrong(codes::CONFLICTING_KEYS, KEY, message));
        }
        if claim.is_empty() {
            let message = format!("`{field}` needs the name of a claim");
            return Err(env.wrong(codes::INVALID_VALUE, KEY, message));
        }
        outputs.push(Output {
            field,
            claim: claim.as_str().into(),
        });
    }
    Ok(outputs.into())
}
