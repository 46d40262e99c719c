//! A filter that does what its configuration says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use portcullis_config::diagnostic::{Diagnostic, codes};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::claims::Claims;
use crate::facts::{Facts, Limit};
use crate::filter::{Filter, Phases};
use crate::rate_limit::RateLimit;
use crate::record::{Action, Decision, LogRecord};
use crate::registry::FilterDef;
use crate::request::Request;
use crate::response::Response;
use crate::verdict::{CONTINUE, Denial, FilterError, Outcome, Reason, Reply, Stop, Verdict};
use crate::zones::BuildEnv;

pub(super) const FILTERS: &[FilterDef] = &[
    FilterDef::of::<Probe<true>>(),
    FilterDef::of::<Probe<false>>(),
    FilterDef::of::<Quiet>(),
    FilterDef::of::<RateLimit>(),
];

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Act {
    #[default]
    Pass,
    Deny,
    /// Denies, and records the decision with policy and rule itself.
    DenyByRule,
    Reply,
    Break,
    Panic,
    Wait,
    /// Waits twice, then passes.
    WaitTwice,
    /// Leaves claims.
    Identify,
    /// Leaves a claim that is a list.
    IdentifyOddly,
    NotBuilt,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum At {
    #[default]
    Request,
    RequestBody,
    Response,
    ResponseBody,
    Log,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProbeConfig {
    act: Act,
    at: At,
    /// Claim `sub` for `identify`.
    sub: String,
}

/// With a state of its own, or without.
pub(super) struct Probe<const STATE: bool> {
    config: ProbeConfig,
    name: Arc<str>,
    waits: AtomicU32,
}

#[derive(Default)]
pub(super) struct Calls(u8);

impl<const STATE: bool> Filter for Probe<STATE> {
    const KIND: &'static str = if STATE { "counting" } else { "probe" };
    const PHASES: Phases = Phases::REQUEST
        .and(Phases::REQUEST_BODY)
        .and(Phases::RESPONSE)
        .and(Phases::RESPONSE_BODY)
        .and(Phases::LOG);
    type Config = ProbeConfig;
    type State = Calls;

    fn build(config: ProbeConfig, env: &mut BuildEnv<'_>) -> Result<Self, Diagnostic> {
        if config.act == Act::NotBuilt {
            return Err(env.wrong(codes::INVALID_VALUE, "act", "this is not built"));
        }
        Ok(Self {
            config,
            name: env.link.into(),
            waits: AtomicU32::new(0),
        })
    }

    fn on_request(&self, calls: &mut Calls, request: &mut Request<'_>) -> Outcome {
        calls.0 += 1;
        self.mark(request.facts, "x-trace", true);
        self.mark(request.facts, "x-answer", false);
        request.facts.tighten(Limit {
            name: Arc::clone(&self.name),
            limit: 10,
            remaining: 5,
            reset: 7,
            window: 9,
        });
        if matches!(self.config.act, Act::Identify | Act::IdentifyOddly) {
            let mut claims = serde_json::json!({ "sub": self.config.sub });
            if self.config.act == Act::IdentifyOddly {
                claims["groups"] = serde_json::json!(["admins"]);
            }
            let claims = Claims::new("probe", 0, claims.as_object().unwrap().clone());
            request.facts.claims = Some(Arc::new(claims));
        }
        if self.config.act == Act::DenyByRule {
            let mut decision = Decision::new(Action::Deny, Reason("denied_by_probe"));
            (decision.policy, decision.rule) = (Some("p".into()), Some("r".into()));
            request.facts.decide(decision);
        }
        self.act(At::Request)
    }

    fn on_request_body(&self, calls: &mut Calls, chunk: &mut Option<Bytes>, _: bool) -> Outcome {
        calls.0 += 1;
        *chunk = Some(Bytes::from(format!("{} by {}", calls.0, self.name)));
        self.act(At::RequestBody)
    }

    fn on_response(&self, calls: &mut Calls, response: &mut Response<'_>) -> Outcome {
        calls.0 += 1;
        self.mark(response.facts, "x-back", false);
        self.act(At::Response)
    }

    fn on_response_body(&self, calls: &mut Calls, chunk: &mut Option<Bytes>, _: bool) -> Outcome {
        calls.0 += 1;
        *chunk = Some(Bytes::from(format!("{} by {}", calls.0, self.name)));
        self.act(At::ResponseBody)
    }

    fn on_log(&self, calls: &mut Calls, record: &mut LogRecord) {
        record.fields.push(("calls", calls.0.to_string().into()));
        assert!(self.config.at != At::Log, "on purpose");
    }
}

impl<const STATE: bool> Probe<STATE> {
    fn mark(&self, facts: &mut Facts, name: &'static str, upstream: bool) {
        let edits = if upstream {
            &mut facts.request_headers
        } else {
            &mut facts.response_headers
        };
        edits.append(
            HeaderName::from_static(name),
            HeaderValue::from_str(&self.name).unwrap(),
        );
    }

    fn act(&self, at: At) -> Outcome {
        if self.config.at != at {
            return CONTINUE;
        }
        match self.config.act {
            Act::Pass | Act::Identify | Act::IdentifyOddly | Act::NotBuilt => CONTINUE,
            Act::Deny | Act::DenyByRule => {
                let header = (HeaderName::from_static("x-denied"), HeaderValue::from_static("yes"));
                Ok(Denial::new(StatusCode::FORBIDDEN, Reason("denied_by_probe"))
                    .header(header.0, header.1)
                    .into())
            }
            Act::Reply => {
                let reply = Reply {
                    status: StatusCode::NO_CONTENT,
                    headers: Vec::new(),
                    body: Bytes::new(),
                };
                Ok(Verdict::Stop(Stop::Reply(Box::new(reply))))
            }
            Act::Break => Err(FilterError::unavailable("probe_broke", "on purpose")),
            Act::Panic => panic!("on purpose"),
            Act::WaitTwice if self.waits.fetch_add(1, Relaxed) >= 2 => CONTINUE,
            Act::Wait | Act::WaitTwice => Ok(Verdict::Wait(Box::pin(std::future::ready(())))),
        }
    }
}

/// Has neither a state nor a request hook.
pub(super) struct Quiet;

impl Filter for Quiet {
    const KIND: &'static str = "quiet";
    const PHASES: Phases = Phases::RESPONSE;
    type Config = ProbeConfig;
    type State = ();

    fn build(_: ProbeConfig, _: &mut BuildEnv<'_>) -> Result<Self, Diagnostic> {
        Ok(Self)
    }

    fn on_request(&self, (): &mut (), _: &mut Request<'_>) -> Outcome {
        panic!("a hook that is not named is never called")
    }
}
