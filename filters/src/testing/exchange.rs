//! One exchange through a chain, driven as the gateway drives it, with a made-up upstream.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{Bench, RequestBuilder};
use crate::chain::{ChainState, Progress};
use crate::facts::Facts;
use crate::receipt::Receipt;
use crate::record::LogRecord;
use crate::response::Response;
use crate::verdict::{Denial, Reason, Stop};

/// What the upstream answers.
#[derive(Debug, Clone, Default)]
pub struct Upstream {
    /// The status.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The pieces of its body. None: it gives the body up before its first byte.
    pub body: Vec<Bytes>,
    /// It gives the body up before its end.
    pub breaks_off: bool,
}

/// What came of an exchange.
#[derive(Debug)]
pub struct Answered {
    /// The status that the client sees.
    pub status: StatusCode,
    /// The reason, when it was refused.
    pub reason: Option<Reason>,
    /// The header fields that the client sees.
    pub headers: HeaderMap,
    /// The header fields that the upstream saw. `None`: it saw nothing.
    pub upstream: Option<HeaderMap>,
    /// The upstream's body, as the client sees it.
    pub body: Vec<u8>,
    /// Why a filter ended it, if one did.
    pub ended: Option<Reason>,
    /// What filters found out.
    pub facts: Facts,
    /// The receipt.
    pub receipt: Receipt,
    /// Fields for the access log.
    pub log: LogRecord,
    /// For how long filters held it back.
    pub paused: Duration,
}

impl Bench {
    /// Sends a request to an upstream that answers 200.
    pub fn send(&self, request: &RequestBuilder) -> Answered {
        self.send_to(request, &Upstream::default())
    }

    /// Sends a request to an upstream.
    pub fn send_to(&self, request: &RequestBuilder, upstream: &Upstream) -> Answered {
        let mut facts = request.facts();
        let mut state = self.chain.start();
        let mut paused = Duration::ZERO;
        let stop = loop {
            match request.with(&mut facts, |request| self.chain.on_request(&mut state, request)) {
                Progress::Done if self.chain.missing(&state).is_empty() => break None,
                Progress::Done => break Some(refusal(StatusCode::INTERNAL_SERVER_ERROR, "missing_receipt")),
                Progress::Stop(stop, _) => break Some(stop),
                Progress::Body(most) => facts.body = Some(request.held(most)),
                Progress::Wait(waiting) => {
                    let polled = pin!(waiting).poll(&mut Context::from_waker(Waker::noop()));
                    assert_eq!(polled, Poll::Ready(()), "nobody else would wake this test");
                }
                Progress::Pause(span) => paused += span,
            }
        };
        let mut seen = None;
        let mut answer = if let Some(stop) = stop {
            Answer::from(stop)
        } else {
            facts
                .request_headers
                .apply(seen.insert(request.with_head(|head| head.headers.clone())));
            Answer {
                status: upstream.status,
                reason: None,
                headers: upstream.headers.clone(),
            }
        };
        let stop = request.with_head(|head| {
            let (status, headers) = (answer.status, &answer.headers);
            self.chain.on_response(
                &mut state,
                &mut Response {
                    head,
                    status,
                    headers,
                    facts: &mut facts,
                },
            )
        });
        if let Err(stop) = stop {
            answer = Answer::from(stop);
        }
        facts.response_headers.apply(&mut answer.headers);
        let mut body = Vec::new();
        if seen.is_some() && answer.reason.is_none() {
            body = self.pass_body(&mut state, upstream);
        }
        let mut log = LogRecord::default();
        self.chain.on_log(&mut state, &mut log);
        let Answer {
            status,
            reason,
            headers,
        } = answer;
        Answered {
            status,
            reason,
            headers,
            upstream: seen,
            body,
            ended: state.ended(),
            facts,
            receipt: state.receipt(),
            log,
            paused,
        }
    }
}

impl Bench {
    /// Sends the upstream's body through the chain until it ends or a filter ends it.
    fn pass_body(&self, state: &mut ChainState, upstream: &Upstream) -> Vec<u8> {
        let mut body = Vec::new();
        for (place, piece) in (1..).zip(&upstream.body) {
            let last = place == upstream.body.len() && !upstream.breaks_off;
            let mut chunk = Some(piece.clone());
            let passed = self.chain.on_response_body(state, &mut chunk, last);
            assert!(passed.is_ok(), "a body is not refused");
            body.extend_from_slice(&chunk.unwrap_or_default());
            if state.ended().is_some() {
                break;
            }
        }
        body
    }
}

struct Answer {
    status: StatusCode,
    reason: Option<Reason>,
    headers: HeaderMap,
}

impl From<Stop> for Answer {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Deny(denial) => {
                let mut headers: HeaderMap = denial.headers.iter().cloned().collect();
                if let Some(seconds) = denial.retry_after {
                    headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
                }
                Self {
                    status: denial.status,
                    reason: Some(denial.reason),
                    headers,
                }
            }
            Stop::Reply(reply) => Self {
                status: reply.status,
                reason: None,
                headers: reply.headers.iter().cloned().collect(),
            },
        }
    }
}

fn refusal(status: StatusCode, reason: &'static str) -> Stop {
    Stop::Deny(Denial::new(status, Reason(reason)))
}
