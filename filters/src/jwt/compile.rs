//! From `jwt` as written to the filter: everything that can be wrong with its keys is found here.

use std::collections::BTreeSet;

use http::HeaderName;
use http::header::AUTHORIZATION;
use portcullis_config::diagnostic::{Diagnostic, codes, suggest};
use portcullis_config::site;

use super::cache::{Rules, TokenCache};
use super::config::{self, JwtConfig};
use super::filter::{Jwt, Output, Wanted};
use super::issuer::Trusted;
use super::keys::{KeySet, KeySource};
use super::refusal::Challenges;
use crate::headers::names::{is_twin, reserved_in_request};
use crate::zones::{BuildEnv, OneShape};

/// Most issuers of a link. The cache of tokens counts them in 16 bits.
const MAX_ISSUERS: usize = 256;

pub(super) fn compile(config: JwtConfig, env: &mut BuildEnv<'_>) -> Result<Jwt, Diagnostic> {
    let issuers = issuers(&config, env)?;
    let field = field(&config.header, "header", env)?;
    let outputs = outputs(&config, &field, env)?;
    for (claim, wanted) in &config.required_claims {
        if wanted.0.is_empty() {
            let message = format!("no value of `{claim}` is allowed, so that no request could pass");
            return Err(env.wrong(codes::INVALID_VALUE, "required_claims", message));
        }
    }
    let scopes = scopes(&config, env)?;
    let challenges = Challenges::new(&config.realm, &scopes).ok_or_else(|| {
        env.wrong(
            codes::INVALID_VALUE,
            "realm",
            "a realm is plain ASCII text without quotes and backslashes",
        )
    })?;
    let cache = env
        .zones
        .open::<TokenCache>(TokenCache::NAME, &OneShape)
        .map_err(|error| env.zone_error("", &error))?;
    Ok(Jwt {
        rules: Rules::of(&issuers),
        issuers,
        cache,
        field,
        optional: config.optional,
        forward: config.forward,
        outputs,
        wanted: config.required_claims.into_iter().map(wanted).collect(),
        scopes,
        challenges,
    })
}

fn issuers(config: &JwtConfig, env: &mut BuildEnv<'_>) -> Result<Box<[Trusted]>, Diagnostic> {
    let (key, names) = match (&config.issuer, config.issuers.as_slice()) {
        (Some(one), []) => ("issuer", std::slice::from_ref(one)),
        (None, []) => {
            return Err(env
                .wrong(codes::MISSING_KEY, "", "`jwt` needs an `issuer`")
                .help("name one of `identity.issuers`"));
        }
        (None, many) => ("issuers", many),
        (Some(_), _) => {
            return Err(env.wrong(
                codes::CONFLICTING_KEYS,
                "issuers",
                "`issuer` and `issuers` exclude each other",
            ));
        }
    };
    if names.len() > MAX_ISSUERS {
        return Err(env.wrong(codes::OUT_OF_RANGE, key, format!("more than {MAX_ISSUERS} issuers")));
    }
    let mut trusted: Vec<Trusted> = Vec::new();
    for name in names {
        let Some(written) = env.issuers.get(name) else {
            let help = suggest(name, env.issuers.keys().map(String::as_str));
            let message = format!("no issuer is named `{name}` in `identity.issuers`");
            return Err(env.wrong(codes::UNKNOWN_REFERENCE, key, message).help(help));
        };
        let source = KeySource::of(name, written);
        let keys = env
            .zones
            .open::<KeySet>(&source.to_string(), &source)
            .map_err(|error| env.zone_error(key, &error))?;
        let issuer = Trusted::new(name, written, keys);
        if let Some(other) = trusted.iter().find(|other| other.issuer == issuer.issuer) {
            let message = format!(
                "`{name}` and `{}` have the same `issuer`, so that `iss` cannot tell them apart",
                other.name
            );
            return Err(env.wrong(codes::CONFLICTING_KEYS, key, message));
        }
        trusted.push(issuer);
    }
    Ok(trusted.into())
}

fn field(written: &site::HeaderName, key: &str, env: &BuildEnv<'_>) -> Result<HeaderName, Diagnostic> {
    let name = HeaderName::try_from(written.0.as_str()).map_err(|_| {
        env.wrong(
            codes::INVALID_VALUE,
            key,
            format!("`{}` is not a header field name", written.0),
        )
    })?;
    match reserved_in_request(&name) {
        Some(why) => Err(env.wrong(
            codes::INVALID_VALUE,
            key,
            format!("`{name}` cannot be used here: {why}"),
        )),
        None => Ok(name),
    }
}

fn outputs(config: &JwtConfig, token: &HeaderName, env: &BuildEnv<'_>) -> Result<Box<[Output]>, Diagnostic> {
    const KEY: &str = "claims_to_headers";
    let mut outputs: Vec<Output> = Vec::new();
    for (name, claim) in &config.claims_to_headers {
        let field = field(name, KEY, env)?;
        if is_twin(field.as_str(), token.as_str()) || field == AUTHORIZATION {
            return Err(env.wrong(
                codes::CONFLICTING_KEYS,
                KEY,
                format!("`{field}` carries the token itself"),
            ));
        }
        if let Some(other) = outputs
            .iter()
            .find(|other| is_twin(other.field.as_str(), field.as_str()))
        {
            let message = format!("servers can take `{field}` and `{}` for each other", other.field);
            return Err(env.wrong(codes::CONFLICTING_KEYS, KEY, message));
        }
        if claim.is_empty() {
            return Err(env.wrong(
                codes::INVALID_VALUE,
                KEY,
                format!("`{field}` needs the name of a claim"),
            ));
        }
        outputs.push(Output {
            field,
            claim: claim.as_str().into(),
        });
    }
    Ok(outputs.into())
}

fn wanted((claim, written): (String, config::Wanted)) -> Wanted {
    Wanted {
        claim: claim.into(),
        values: written.0.into(),
    }
}

fn scopes(config: &JwtConfig, env: &BuildEnv<'_>) -> Result<Box<[Box<str>]>, Diagnostic> {
    // A scope-token of RFC 6749, 3.3.
    let fits = |scope: &str| {
        !scope.is_empty()
            && scope
                .bytes()
                .all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
    };
    if let Some(scope) = config.scopes.iter().find(|scope| !fits(scope)) {
        return Err(env
            .wrong(codes::INVALID_VALUE, "scopes", format!("`{scope}` is not one scope"))
            .help("write one list item for each scope"));
    }
    let distinct: BTreeSet<&str> = config.scopes.iter().map(String::as_str).collect();
    if distinct.len() != config.scopes.len() {
        return Err(env.wrong(codes::INVALID_VALUE, "scopes", "a scope is listed twice"));
    }
    Ok(config.scopes.iter().map(|scope| scope.as_str().into()).collect())
}
