//! The `mtls` filter: is there a certificate, is its holder one of those who may come, and what does the upstream hear?

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, StatusCode};
use portcullis_config::diagnostic::{Diagnostic, codes};

use super::allow::Allowed;
use super::config::{MtlsConfig, Part};
use crate::client::{ClientCertificate, SanKind};
use crate::filter::{Filter, Phases};
use crate::headers::names::{is_twin, reserved_in_request};
use crate::request::Request;
use crate::verdict::{CONTINUE, Denial, Outcome, Reason, Verdict};
use crate::zones::BuildEnv;

/// Most entries of `allow` and items of `headers`.
const MOST: usize = 1000;
/// The fields of RFC 9440. Behind this filter nobody else writes them, whether or not it does.
const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const CLIENT_CERT_CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");

const MISSING: Reason = Reason("client_certificate_missing");
const NOT_ALLOWED: Reason = Reason("client_certificate_not_allowed");
const UNUSABLE: Reason = Reason("client_certificate_unusable");

/// Lets clients pass by their certificates.
#[derive(Debug)]
pub struct Mtls {
    optional: bool,
    allowed: Box<[Allowed]>,
    outputs: Box<[(HeaderName, Part)]>,
    client_cert: bool,
}

impl Filter for Mtls {
    const KIND: &'static str = "mtls";
    const PHASES: Phases = Phases::REQUEST;
    type Config = MtlsConfig;
    type State = ();

    fn build(config: MtlsConfig, env: &mut BuildEnv<'_>) -> Result<Self, Diagnostic> {
        for (key, length) in [("allow", config.allow.len()), ("headers", config.headers.len())] {
            if length > MOST {
                return Err(env.wrong(codes::OUT_OF_RANGE, key, format!("more than {MOST} items")));
            }
        }
        let compiled: Result<_, String> = config.allow.into_iter().map(Allowed::new).collect();
        let output = |(name, part): (portcullis_config::site::HeaderName, Part)| {
            let field = HeaderName::try_from(name.0.as_str()).ok();
            let free = |field: &HeaderName| reserved_in_request(field).is_none() && !is_ours(field.as_str());
            match field.filter(free) {
                Some(field) => Ok((field, part)),
                None => Err(format!("`{}` cannot carry a part of the certificate", name.0)),
            }
        };
        let outputs: Result<_, String> = config.headers.into_iter().map(output).collect();
        Ok(Self {
            optional: config.optional,
            allowed: compiled.map_err(|why| env.wrong(codes::INVALID_VALUE, "allow", why))?,
            outputs: outputs.map_err(|why| env.wrong(codes::INVALID_VALUE, "headers", why))?,
            client_cert: config.client_cert,
        })
    }

    fn on_request(&self, (): &mut (), request: &mut Request<'_>) -> Outcome {
        let Some(certificate) = request.facts.certificate.clone() else {
            if !self.optional {
                let denial = Denial::new(StatusCode::FORBIDDEN, MISSING);
                return Ok(denial.detail("A certificate of the client is needed.").into());
            }
            self.clean(request);
            return CONTINUE;
        };
        if !self.allowed.is_empty() && !self.allowed.iter().any(|allowed| allowed.fits(&certificate)) {
            let denial = Denial::new(StatusCode::FORBIDDEN, NOT_ALLOWED);
            return Ok(denial
                .detail("The client's certificate is not one that may come here.")
                .into());
        }
        self.clean(request);
        Ok(self.tell(&certificate, request))
    }
}

impl Mtls {
    /// Keeps from the upstream what it could mistake for our word.
    fn clean(&self, request: &mut Request<'_>) {
        let written = |name: &str| self.outputs.iter().any(|(field, _)| is_twin(field.as_str(), name));
        for name in request.head.headers.keys() {
            if is_ours(name.as_str()) || written(name.as_str()) {
                request.facts.request_headers.remove(name.clone());
            }
        }
        let fields = self.outputs.iter().map(|(field, _)| field);
        for field in fields.chain([&CLIENT_CERT, &CLIENT_CERT_CHAIN]) {
            // An earlier filter may have written it.
            if request.header(field).is_some() {
                request.facts.request_headers.remove(field.clone());
            }
        }
    }

    /// Tells the upstream.
    fn tell(&self, certificate: &ClientCertificate, request: &mut Request<'_>) -> Verdict {
        for (field, part) in &self.outputs {
            let Some(text) = part.of(certificate).filter(|text| !text.is_empty()) else {
                continue;
            };
            let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) else {
                let denial = Denial::new(StatusCode::FORBIDDEN, UNUSABLE);
                return denial
                    .detail("A name in the client's certificate cannot be passed on.")
                    .into();
            };
            request.facts.request_headers.set(field.clone(), value);
        }
        if self.client_cert
            && let Ok(value) = HeaderValue::try_from(format!(":{}:", STANDARD.encode(&certificate.der)))
        {
            request.facts.request_headers.set(CLIENT_CERT, value);
        }
        Verdict::Continue
    }
}

fn is_ours(name: &str) -> bool {
    is_twin(CLIENT_CERT.as_str(), name) || is_twin(CLIENT_CERT_CHAIN.as_str(), name)
}

impl Part {
    fn of(self, certificate: &ClientCertificate) -> Option<&str> {
        let first = |kind| certificate.names(kind).next();
        match self {
            Self::San => certificate.sans.first().map(|san| &*san.text),
            Self::Spiffe => certificate.spiffe(),
            Self::Uri => first(SanKind::Uri),
            Self::Dns => first(SanKind::Dns),
            Self::Email => first(SanKind::Email),
            Self::Subject => Some(&certificate.subject),
            Self::Issuer => Some(&certificate.issuer),
            Self::Serial => Some(&certificate.serial),
            Self::Fingerprint => Some(&certificate.fingerprint),
        }
    }
}
