//! Whom an entry of `allow` means. Whether a certificate was signed by the right authority is the listener's matter.

use portcullis_config::listener::SanPattern;

use super::config::AllowConfig;
use super::spiffe;
use crate::client::{ClientCertificate, SanKind};

/// A kind of client.
#[derive(Debug)]
pub(super) struct Allowed {
    spiffe: Box<[SanPattern]>,
    uri: Box<[SanPattern]>,
    dns: Box<[SanPattern]>,
    email: Box<[Box<str>]>,
    issuer: Box<[Box<str>]>,
    fingerprint: Box<[Box<str>]>,
}

impl Allowed {
    /// Compiles one, or says what is wrong with it.
    pub(super) fn new(written: AllowConfig) -> Result<Self, String> {
        let AllowConfig {
            spiffe,
            uri,
            dns,
            email,
            issuer,
            fingerprint,
        } = written;
        let sans = [&spiffe, &uri, &dns].map(Vec::is_empty);
        let texts = [&email, &issuer, &fingerprint].map(Vec::is_empty);
        if [sans, texts].concat().iter().all(|empty| *empty) {
            return Err("an entry without a key would fit everybody".to_owned());
        }
        if let Some(wrong) = spiffe.iter().find(|pattern| !is_spiffe(pattern)) {
            return Err(format!("`spiffe`: `{wrong}` is no SPIFFE ID"));
        }
        let is_uri =
            |pattern: &&SanPattern| !matches!(pattern, SanPattern::Wildcard(_)) && pattern.to_string().contains(':');
        if let Some(wrong) = uri.iter().find(|pattern| !is_uri(pattern)) {
            return Err(format!("`uri`: `{wrong}` is no URI"));
        }
        let is_host = |text: &str| !text.contains(['/', ':', '@']);
        if let Some(wrong) = dns.iter().find(|pattern| !is_host(&pattern.to_string())) {
            return Err(format!("`dns`: `{wrong}` is no host name"));
        }
        let is_mail = |text: &&String| {
            text.split_once('@').is_some_and(|(user, host)| {
                !user.is_empty()
                    && !host.is_empty()
                    && !host.contains(['@', '*'])
                    && (user == "*" || !user.contains('*'))
            })
        };
        if let Some(wrong) = email.iter().find(|text| !is_mail(text)) {
            return Err(format!("`email`: `{wrong}` is no address"));
        }
        Ok(Self {
            spiffe: spiffe.into(),
            uri: uri.into(),
            dns: dns.into(),
            email: email.into_iter().map(Into::into).collect(),
            issuer: issuer.into_iter().map(Into::into).collect(),
            fingerprint: fingerprint.iter().map(|text| digits(text)).collect::<Result<_, _>>()?,
        })
    }

    /// Whether it means this client.
    pub(super) fn fits(&self, client: &ClientCertificate) -> bool {
        let uri = |patterns: &[SanPattern], name: &str| patterns.iter().any(|pattern| is_uri(pattern, name));
        let spiffe = || client.spiffe().is_some_and(|id| uri(&self.spiffe, id));
        let uris = || client.names(SanKind::Uri).any(|name| uri(&self.uri, name));
        let dns = || {
            client
                .names(SanKind::Dns)
                .any(|name| self.dns.iter().any(|pattern| pattern.matches(name)))
        };
        let email = || {
            client
                .names(SanKind::Email)
                .any(|name| self.email.iter().any(|written| is_address(written, name)))
        };
        (self.spiffe.is_empty() || spiffe())
            && (self.uri.is_empty() || uris())
            && (self.dns.is_empty() || dns())
            && (self.email.is_empty() || email())
            && (self.issuer.is_empty() || self.issuer.contains(&client.issuer))
            && (self.fingerprint.is_empty() || self.fingerprint.contains(&client.fingerprint))
    }
}

/// Paths of URIs are compared with regard to case.
fn is_uri(pattern: &SanPattern, name: &str) -> bool {
    match pattern {
        SanPattern::Exact(exact) => **exact == *name,
        SanPattern::Prefix(_) => pattern.matches(name),
        SanPattern::Wildcard(_) => false,
    }
}

/// The part before the `@` is compared with regard to case, the host without (RFC 5280, 7.5).
fn is_address(written: &str, name: &str) -> bool {
    let (Some((user, host)), Some((name, at))) = (written.rsplit_once('@'), name.rsplit_once('@')) else {
        return false;
    };
    host.eq_ignore_ascii_case(at) && (user == "*" || user == name)
}

fn is_spiffe(pattern: &SanPattern) -> bool {
    match pattern {
        SanPattern::Exact(id) => spiffe::is_id(id),
        SanPattern::Prefix(prefix) => prefix.strip_suffix('/').is_some_and(spiffe::is_id),
        SanPattern::Wildcard(_) => false,
    }
}

/// A fingerprint as certificates tell it: also from upper-case digits with colons between.
fn digits(text: &str) -> Result<Box<str>, String> {
    let plain = text.replace(':', "").to_ascii_lowercase();
    if plain.len() == 64 && plain.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(plain.into())
    } else {
        Err(format!("`fingerprint`: `{text}` is no SHA-256 in hexadecimal digits"))
    }
}
