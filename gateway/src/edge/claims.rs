//! Claims of a token that nobody verifies: what Fairvisor Edge counts by, where no key is known that could verify anything. They
//! say who a client claims to be, and whoever relies on them says so by running `portcullis edge`.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, header};
use portcullis_filters::claims::Claims;
use serde_json::{Map, Value};

const URL_SAFE: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
const STANDARD: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The claims that the only `Authorization: Bearer` of a request has, if it has any.
pub fn unverified(headers: &HeaderMap) -> Option<Arc<Claims>> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut segments = token.trim().split('.');
    let (Some(_), Some(payload), Some(_), None) = (segments.next(), segments.next(), segments.next(), segments.next())
    else {
        return None;
    };
    let json = URL_SAFE.decode(payload).or_else(|_| STANDARD.decode(payload)).ok()?;
    let values: Map<String, Value> = serde_json::from_slice(&json).ok()?;
    Some(Arc::new(Claims::new("unverified", i64::MAX, values)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        let claims = unverified(&headers)?;
        claims.text("sub").ok().flatten().map(std::borrow::Cow::into_owned)
    }

    #[test]
    fn the_middle_of_a_bearer_token() {
        let payload = URL_SAFE.encode(br#"{"sub":"me?>"}"#);
        let bare = payload.trim_end_matches('=');
        let standard = STANDARD.encode(br#"{"sub":"me?>"}"#);
        for token in [
            format!("Bearer x.{bare}.y"),
            format!("bearer  x.{bare}.y"),
            format!("BEARER x.{payload}.y"),
            format!("Bearer x.{standard}."),
        ] {
            assert_eq!(subject(&[&token]).as_deref(), Some("me?>"), "{token}");
        }
        let good = format!("Bearer x.{bare}.y");
        for wrong in [
            format!("Basic x.{bare}.y").as_str(),
            &format!("Bearer x.{bare}"),
            &format!("Bearer x.{bare}.y.z"),
            "Bearer x.!!.y",
            "Bearer x.MQ.y",
            "Bearer x.bnVsbA.y",
            "Bearer",
            "",
        ] {
            assert_eq!(subject(&[wrong]), None, "{wrong}");
        }
        assert_eq!(subject(&[&good, &good]), None);
    }
}
