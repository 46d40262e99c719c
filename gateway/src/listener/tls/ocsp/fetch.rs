//! The task of one certificate: asks its responder, staples what is good, and asks again before that has expired. Failures
//! are retried ever more slowly, and what is stapled stays for as long as it says.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, StatusCode};

use super::answer::{Unfit, Window};
use super::{Staple, Url, unix_now};
use crate::http_client::Client;

const REQUEST_TYPE: HeaderValue = HeaderValue::from_static("application/ocsp-request");
const RESPONSE_TYPE: HeaderValue = HeaderValue::from_static("application/ocsp-response");
const TIMEOUT: Duration = Duration::from_secs(15);
/// Largest answer: it goes into every handshake.
const LARGEST: u64 = 16 << 10;
/// The shortest and the longest time between two fetches.
const SHORTEST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(12 * 3600);

/// Keeps the answer of one certificate fresh, for ever. Ends at once where it comes from a file.
pub async fn tend(staple: Arc<Staple>) {
    let Some(url) = &staple.responder else { return };
    let certificate = staple.info.file.display().to_string();
    let mut failures = 0_u32;
    if let Some(until) = staple.until() {
        tokio::time::sleep(due(
            Window {
                from: unix_now(),
                until,
            },
            fastrand::f64(),
        ))
        .await;
    }
    loop {
        let wait = match fetch(&staple, url).await {
            Ok(window) => {
                if failures > 0 {
                    tracing::info!(certificate, "the OCSP responder answers again");
                }
                failures = 0;
                staple.fetched.fetch_add(1, Relaxed);
                due(window, fastrand::f64())
            }
            Err((reason, error)) => {
                tracing::warn!(certificate, reason, error, "no OCSP answer to staple");
                failures = failures.saturating_add(1);
                staple.failed.fetch_add(1, Relaxed);
                back_off(failures, fastrand::f64())
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// Asks once; gives the window of a good answer, or the reason and a text.
async fn fetch(staple: &Staple, url: &Url) -> Result<Window, (&'static str, String)> {
    let client = Client {
        ca: None,
        connect_timeout: TIMEOUT,
        timeout: TIMEOUT,
        max_bytes: LARGEST,
    };
    let mut request = Request::new(Bytes::from(staple.subject.request()));
    *request.method_mut() = Method::POST;
    request.headers_mut().insert(CONTENT_TYPE, REQUEST_TYPE);
    request.headers_mut().insert(ACCEPT, RESPONSE_TYPE);
    let answer = client
        .send(url, request)
        .await
        .map_err(|error| (error.code(), error.to_string()))?;
    if answer.status() != StatusCode::OK {
        return Err(("status", format!("answered with status {}", answer.status().as_u16())));
    }
    staple.offer(answer.body()).map_err(|unfit| {
        if unfit == Unfit::Revoked {
            staple.forget();
        }
        (unfit.code(), unfit.to_string())
    })
}

/// At half of what is left of an answer, a tenth sooner or later by chance.
fn due(window: Window, chance: f64) -> Duration {
    let left = u64::try_from(window.until - unix_now().max(window.from)).unwrap_or(0);
    Duration::from_secs(left)
        .mul_f64(0.45 + 0.1 * chance)
        .clamp(SHORTEST, LONGEST)
}

/// Doubled with each failure in a row, up to an hour; by chance between a half and the whole of it.
fn back_off(failures: u32, chance: f64) -> Duration {
    let doubled = SHORTEST.saturating_mul(2_u32.saturating_pow(failures.clamp(1, 10) - 1));
    doubled.min(Duration::from_secs(3600)).mul_f64(0.5 + 0.5 * chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_again_in_time_and_not_too_often() {
        let now = unix_now();
        let window = |left: i64| Window {
            from: now - 100,
            until: now + left,
        };
        let seconds = |left: i64, chance: f64| due(window(left), chance).as_secs();
        assert!((4400..=4500).contains(&seconds(10_000, 0.0)) && (5400..=5500).contains(&seconds(10_000, 1.0)));
        assert_eq!((seconds(1, 0.5), seconds(-5, 0.5)), (10, 10));
        assert_eq!(seconds(i64::from(u32::MAX), 0.5), 12 * 3600);
        assert_eq!(back_off(1, 1.0), SHORTEST);
        assert_eq!(back_off(3, 0.0), SHORTEST * 2);
        assert_eq!(back_off(u32::MAX, 1.0), Duration::from_secs(3600));
    }
}
