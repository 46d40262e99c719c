//! When a failed attempt may be tried again: pure rules. They never repeat a request that a server may have acted on,
//! unless its method is idempotent (RFC 9110, 9.2.2) and its body can be sent again.

use http::Method;
use pingora_error::{ErrorSource, ErrorType};
use portcullis_config::upstream::{Retry, RetryOn};

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection could be made: refused, no route, connect timeout, TLS handshake.
    ConnectError,
    /// The connection broke before the response header was whole.
    Reset,
    /// No response header in time.
    Timeout,
    /// The server said that it did not act on the request (RFC 9113, 8.7): REFUSED_STREAM, or a GOAWAY that leaves it out.
    Unprocessed,
}

/// What is known of the request that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay {
    /// Its method is idempotent: see [`is_idempotent`].
    pub idempotent: bool,
    /// Any byte of it went to a server, in this attempt or an earlier one.
    pub header_sent: bool,
    /// All of its body that was read so far can be sent again (or there is none).
    pub body_replayable: bool,
}

/// May the request be tried again after `attempt` attempts (the first is 1) of which the last failed with `failure`?
///
/// | sent before | idempotent | body replayable | again |
/// |---|---|---|---|
/// | no  | any | any | yes |
/// | yes | no  | any | never |
/// | yes | yes | no  | never |
/// | yes | yes | yes | yes |
/// | yes, and the server said that it did not act on it | any | yes | yes |
///
/// and only while attempts are left and the kind of failure is in `on`. A response that has begun is never retried:
/// the caller does not ask then.
pub fn may_retry(retry: &Retry, attempt: u32, failure: Failure, request: Replay) -> bool {
    let wanted = match failure {
        Failure::ConnectError => RetryOn::ConnectError,
        Failure::Reset | Failure::Unprocessed => RetryOn::Reset,
        Failure::Timeout => RetryOn::Timeout,
    };
    let harmless = request.idempotent || failure == Failure::Unprocessed;
    let safe = !request.header_sent || (harmless && request.body_replayable);
    attempt < retry.attempts && retry.on.contains(&wanted) && safe
}

/// RFC 9110, 9.2.2: the safe methods, PUT and DELETE. An unknown method is not.
pub fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

impl Failure {
    /// What kind of failure an error of Pingora is, if it is the server's. `None` for the client's and our own.
    pub fn of(error: &pingora_error::Error) -> Option<Self> {
        if matches!(error.esource(), ErrorSource::Downstream | ErrorSource::Internal) {
            return None;
        }
        if error.root_cause().downcast_ref().is_some_and(is_unprocessed) {
            return Some(Self::Unprocessed);
        }
        match error.etype() {
            ErrorType::ConnectTimedout
            | ErrorType::ConnectRefused
            | ErrorType::ConnectNoRoute
            | ErrorType::ConnectError
            | ErrorType::ConnectProxyFailure
            | ErrorType::TLSWantX509Lookup
            | ErrorType::TLSHandshakeFailure
            | ErrorType::TLSHandshakeTimedout
            | ErrorType::InvalidCert
            | ErrorType::HandshakeError
            | ErrorType::SocketError => Some(Self::ConnectError),
            ErrorType::ReadTimedout | ErrorType::WriteTimedout => Some(Self::Timeout),
            ErrorType::ConnectionClosed
            | ErrorType::ReadError
            | ErrorType::WriteError
            | ErrorType::H1Error
            | ErrorType::H2Error
            | ErrorType::InvalidH2
            | ErrorType::InvalidHTTPHeader => Some(Self::Reset),
            _ => None,
        }
    }
}

fn is_unprocessed(error: &h2::Error) -> bool {
    let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    let left_out = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
    error.is_remote() && (refused || left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILURES: [Failure; 3] = [Failure::ConnectError, Failure::Reset, Failure::Timeout];

    fn retry(attempts: u32, on: &[RetryOn]) -> Retry {
        Retry {
            attempts,
            on: on.to_vec(),
        }
    }

    fn all() -> Retry {
        retry(3, &[RetryOn::ConnectError, RetryOn::Reset, RetryOn::Timeout])
    }

    fn replay(header_sent: bool, idempotent: bool, body_replayable: bool) -> Replay {
        Replay {
            idempotent,
            header_sent,
            body_replayable,
        }
    }

    #[test]
    fn the_table() {
        for failure in FAILURES {
            for (sent, idempotent, replayable, again) in [
                (false, false, false, true),
                (false, false, true, true),
                (false, true, false, true),
                (false, true, true, true),
                (true, false, false, false),
                (true, false, true, false),
                (true, true, false, false),
                (true, true, true, true),
            ] {
                let request = replay(sent, idempotent, replayable);
                assert_eq!(may_retry(&all(), 1, failure, request), again, "{failure:?} {request:?}");
            }
        }
    }

    #[test]
    fn what_no_server_acted_on_is_sent_again() {
        for (replayable, again) in [(true, true), (false, false)] {
            let request = replay(true, false, replayable);
            assert_eq!(may_retry(&all(), 1, Failure::Unprocessed, request), again);
        }
        let request = replay(true, false, true);
        assert!(!may_retry(
            &retry(2, &[RetryOn::Timeout]),
            1,
            Failure::Unprocessed,
            request
        ));
    }

    #[test]
    fn attempts_are_counted() {
        let request = replay(false, true, true);
        assert!(may_retry(&all(), 2, Failure::Reset, request));
        assert!(!may_retry(&all(), 3, Failure::Reset, request));
        let once = retry(1, &[RetryOn::ConnectError]);
        assert!(!may_retry(&once, 1, Failure::ConnectError, request));
    }

    #[test]
    fn only_the_failures_asked_for() {
        let request = replay(false, true, true);
        let config = retry(2, &[RetryOn::Timeout]);
        assert_eq!(
            FAILURES.map(|failure| may_retry(&config, 1, failure, request)),
            [false, false, true]
        );
    }

    #[test]
    fn methods() {
        for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
            assert!(is_idempotent(&method.parse().unwrap()), "{method}");
        }
        for method in ["POST", "PATCH", "CONNECT", "PROPFIND", "get"] {
            assert!(!is_idempotent(&method.parse().unwrap()), "{method}");
        }
    }

    #[test]
    fn errors_of_pingora() {
        let kind = |etype| Failure::of(&pingora_error::Error::new_up(etype));
        assert_eq!(kind(ErrorType::ConnectRefused), Some(Failure::ConnectError));
        assert_eq!(kind(ErrorType::ReadTimedout), Some(Failure::Timeout));
        assert_eq!(kind(ErrorType::ConnectionClosed), Some(Failure::Reset));
        assert_eq!(kind(ErrorType::HTTPStatus(500)), None);
        assert_eq!(Failure::of(&pingora_error::Error::new_down(ErrorType::ReadError)), None);
    }
}
