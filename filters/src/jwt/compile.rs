//! From `jwt` as written to the filter: everything that can be wrong with its keys is found here.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::HeaderName;
use http::header::AUTHORIZATION;
use portcullis_bundles::when::When;
use portcullis_config::diagnostic::{Diagnostic, codes, suggest};
use portcullis_config::identity::{Issuer, SharedSecret};
use portcullis_config::site;

use super::cache::{Rules, TokenCache};
use super::config::{self, JwtConfig, StepUp};
use super::demands::{Demands, Wanted};
use super::filter::{Jwt, Output};
use super::issuer::Trusted;
use super::keys::{Declared, KeyPlace, KeySet, KeySource};
use super::refusal::{Challenges, is_plain};
use super::source::Places;
use crate::attributes;
use crate::headers::names::{is_twin, reserved_in_request};
use crate::secrets::{KEY_BYTES, SecretSlot};
use crate::zones::{BuildEnv, OneShape};

/// Most issuers of a link. The cache of tokens counts them in 16 bits.
const MAX_ISSUERS: usize = 256;

pub(super) fn compile(config: JwtConfig, env: &mut BuildEnv<'_>) -> Result<Jwt, Diagnostic> {
    let issuers = issuers(&config, env)?;
    let places = places(&config, env)?;
    let outputs = outputs(&config, places.header.as_ref(), env)?;
    for (claim, wanted) in &config.required_claims {
        if wanted.0.is_empty() {
            let message = format!("no value of `{claim}` is allowed, so that no request could pass");
            return Err(env.wrong(codes::INVALID_VALUE, "required_claims", message));
        }
    }
    let scopes = scopes(&config, env)?;
    let step_up = step_up(&config, env)?;
    let challenges = Challenges::new(&config.realm, &scopes, step_up.as_ref()).ok_or_else(|| {
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
        places,
        optional: config.optional,
        forward: config.forward,
        outputs,
        demands: Demands {
            scopes,
            when: condition(&config, env)?,
            max_token_age: max_token_age(&config, env)?,
            step_up,
            wanted: config.required_claims.into_iter().map(wanted).collect(),
        },
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
        let keys = match source.place {
            KeyPlace::Declared => Arc::new(KeySet::declared(source, secrets(written, key, env)?)),
            KeyPlace::Url { .. } => env
                .zones
                .open::<KeySet>(&source.to_string(), &source)
                .map_err(|error| env.zone_error(key, &error))?,
        };
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

/// The secrets of an issuer, each long enough for every algorithm that the issuer may use (RFC 7518, 3.2).
fn secrets(issuer: &Issuer, key: &str, env: &mut BuildEnv<'_>) -> Result<Vec<Declared>, Diagnostic> {
    let hashes = issuer.algorithms.iter().filter_map(|algorithm| algorithm.hash_bytes());
    let least = hashes.max().unwrap_or(KEY_BYTES);
    let declare = |shared: &SharedSecret| {
        Ok(Declared {
            kid: shared.kid.as_deref().map(Into::into),
            secret: SecretSlot::open(env, key, &shared.secret, least)?,
        })
    };
    issuer.hmac.iter().map(declare).collect()
}

/// Where tokens are looked for.
fn places(config: &JwtConfig, env: &BuildEnv<'_>) -> Result<Places, Diagnostic> {
    let header = match &config.header {
        Some(written) => Some(field(written, "header", env)?),
        None if config.cookie.is_some() || config.query.is_some() => None,
        None => Some(AUTHORIZATION),
    };
    // A cookie-name is a token (RFC 6265, 4.1.1).
    let is_token = |name: &String| !name.is_empty() && HeaderName::try_from(name.as_str()).is_ok();
    if let Some(name) = config.cookie.as_ref().filter(|name| !is_token(name)) {
        return Err(env.wrong(
            codes::INVALID_VALUE,
            "cookie",
            format!("`{name}` cannot be the name of a cookie"),
        ));
    }
    if config.query.as_ref().is_some_and(String::is_empty) {
        return Err(env.wrong(codes::INVALID_VALUE, "query", "a parameter needs a name"));
    }
    Ok(Places {
        header,
        cookie: config.cookie.as_deref().map(Into::into),
        query: config.query.as_deref().map(Into::into),
    })
}

fn condition(config: &JwtConfig, env: &BuildEnv<'_>) -> Result<Option<When>, Diagnostic> {
    let Some(text) = &config.when else { return Ok(None) };
    let when = When::compile(text).map_err(|error| {
        let diagnostic = env.wrong(codes::INVALID_VALUE, "when", error.to_string());
        match error.help {
            Some(help) => diagnostic.help(help),
            None => diagnostic,
        }
    })?;
    for key in when.keys() {
        if let Some(why) = attributes::unsupported(key, env.geoip) {
            return Err(env.wrong(attributes::UNSUPPORTED_KEY, "when", format!("`{key}`: {why}")));
        }
    }
    Ok(Some(when))
}

fn max_token_age(config: &JwtConfig, env: &BuildEnv<'_>) -> Result<Option<i64>, Diagnostic> {
    let Some(written) = config.max_token_age else {
        return Ok(None);
    };
    match i64::try_from(written.get().as_secs()) {
        Ok(seconds @ 1..) => Ok(Some(seconds)),
        _ => Err(env.wrong(
            codes::OUT_OF_RANGE,
            "max_token_age",
            "`max_token_age` must be a second or more",
        )),
    }
}

fn step_up(config: &JwtConfig, env: &BuildEnv<'_>) -> Result<Option<StepUp>, Diagnostic> {
    let Some(written) = &config.step_up else {
        return Ok(None);
    };
    let wrong = |message: String| env.wrong(codes::INVALID_VALUE, "step_up", message);
    if written.acr_values.is_empty() && written.amr.is_empty() && written.max_age.is_none() {
        return Err(wrong(
            "`step_up` asks for nothing: give `acr_values`, `amr` or `max_age`".to_owned(),
        ));
    }
    // The values are told in a list that blanks part (RFC 9470, 3).
    let is_word = |text: &&String| text.is_empty() || text.contains(' ') || !is_plain(text);
    if let Some(text) = written.acr_values.iter().find(is_word) {
        return Err(wrong(format!("`{text}` is not one value of `acr`")));
    }
    if written.amr.iter().any(String::is_empty) {
        return Err(wrong("a method of `amr` is empty".to_owned()));
    }
    if written.max_age.is_some_and(|age| age.get().as_secs() == 0) {
        return Err(wrong("`max_age` must be a second or more".to_owned()));
    }
    Ok(Some(written.clone()))
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

fn outputs(config: &JwtConfig, token: Option<&HeaderName>, env: &BuildEnv<'_>) -> Result<Box<[Output]>, Diagnostic> {
    const KEY: &str = "claims_to_headers";
    let mut outputs: Vec<Output> = Vec::new();
    for (name, claim) in &config.claims_to_headers {
        let field = field(name, KEY, env)?;
        if token.is_some_and(|token| is_twin(field.as_str(), token.as_str())) || field == AUTHORIZATION {
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
