//! The bundle as written, field by field, in JSON or YAML. Only shapes: what the fields mean together is checked by
//! [`crate::compile`], and nothing of this is looked at while requests are served.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::algorithm::circuit_breaker::CircuitBreakerConfig;
use crate::algorithm::loop_detection::LoopDetectionConfig;
use crate::strict::{Json, Text, UniqueMap, Version, or_default};
use crate::timestamp::Timestamp;

/// A policy bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// Counts up with every bundle that is published. A gateway never goes back.
    pub bundle_version: Version,
    /// When it was made. A bundle from the future is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_at: Option<Timestamp>,
    /// Refused before this moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Refused from this moment on. What becomes of a bundle that is already in force is the gateway's `policy.expired`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Names of the gateways that it is for: `control_plane.edge_id` or one of `policy.audience`. Any other gateway refuses it.
    /// Default: every gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<Vec<String>>,
    /// The policies.
    pub policies: Vec<Policy>,
    /// Requests that are refused whatever the policies say.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub kill_switches: Vec<KillSwitch>,
    /// Every policy only records for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub global_shadow: Option<Override>,
    /// The bundle's kill switches are suspended for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kill_switch_override: Option<Override>,
    /// Filters that a gateway's configuration must put on routes, or it is refused.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub require: Vec<Requirement>,
    /// Requests with the decisions they must get, or the bundle is refused.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<Test>,
    /// Of other implementations, which keep it and never use it. Only an empty one is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defaults: Option<Json>,
}

impl Bundle {
    /// Reads JSON strictly. Whether anybody signed it is not looked at: for authors and tests. The gateway goes through
    /// `loader::Loader`.
    pub fn parse_unverified(json: &[u8]) -> Result<Self, serde_json::Error> {
        crate::json::from_slice(json)
    }
}

/// One policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Names it in logs, metrics and `RateLimit`. Counters belong to it: a policy under another id starts with full buckets.
    pub id: String,
    /// What it does.
    pub spec: Spec,
}

/// What a policy does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Which requests it is about.
    pub selector: Selector,
    /// Policies with a higher priority are evaluated first; then the more specific ones. 0 by default.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_zero")]
    pub priority: i32,
    /// Whether it refuses or only records.
    #[serde(default, deserialize_with = "or_default")]
    pub mode: Mode,
    /// The policy is about a request only when this condition holds: in a part of CEL, such as
    /// `request.headers["x-plan"] != "internal"`. What cannot be told counts as holding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Its limits. Every rule whose `match` and `when` hold is evaluated.
    pub rules: Vec<Rule>,
    /// Evaluated when there are rules and none of them is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback_limit: Option<Rule>,
    /// The same request again and again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loop_detection: Option<LoopDetectionConfig>,
    /// Too much spent in a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreakerConfig>,
    /// What happens to a request that needs a new counter when there is no room for one. Default: `shared_bucket`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_full: Option<OnFull>,
}

/// What happens to a request that needs a new counter when there is no room for one: every counter that there is is in use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFull {
    /// All such requests share one counter for each rule.
    #[default]
    SharedBucket,
    /// The request is refused.
    Deny,
}

/// Serde passes what it tests by reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(priority: &i32) -> bool {
    *priority == 0
}

/// Whether verdicts count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// They do.
    #[default]
    Enforce,
    /// They are recorded and change nothing.
    Shadow,
}

/// Which requests a policy is about. At least one of `pathExact` and `pathPrefix`; either suffices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Selector {
    /// The whole normalised path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_exact: Option<String>,
    /// Whole leading segments: `/v1` and `/v1/` both cover `/v1`, `/v1/` and `/v1/x`, not `/v10`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_prefix: Option<String>,
    /// Methods, upper-case. Default: every method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
    /// Hosts: `api.example.com`, `*.example.com`, `192.0.2.1`, `[2001:db8::1]` or `*`. Default: every host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<String>>,
}

/// One limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Names it within its policy. Only a fallback may go without: `fallback_limit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What requests are counted by, such as `jwt:sub` or `ip:address`. None: one counter for all.
    pub limit_keys: Vec<String>,
    /// How it limits: `token_bucket` or `cost_based`.
    pub algorithm: String,
    /// The algorithm's numbers.
    #[schemars(with = "crate::algorithm::AlgorithmConfig")]
    pub algorithm_config: Json,
    /// The rule is evaluated only when each of these keys has this value.
    #[serde(
        rename = "match",
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "UniqueMap::is_empty"
    )]
    pub matches: UniqueMap<Text>,
    /// The rule is evaluated only when this condition holds, too: in a part of CEL, such as
    /// `request.method == "POST" && jwt.claims.level < 3`. What cannot be told counts as holding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// What happens when the request lacks one of the limit keys. Default: `anonymous`; `skip` in `portcullis edge`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_missing: Option<OnMissing>,
}

/// What happens when the request lacks one of a rule's limit keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnMissing {
    /// The rule is not evaluated. Leaving the key out then evades the limit.
    Skip,
    /// Such requests share one counter for each missing key.
    #[default]
    Anonymous,
    /// The request is refused.
    Deny,
}

/// Requests that are refused whatever the policies say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KillSwitch {
    /// What of the request is compared, such as `jwt:sub` or `header:x-tenant-id`.
    pub scope_key: String,
    /// The value, compared as text and with regard to case.
    pub scope_value: String,
    /// Only this normalised path. Default: every path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Why, for logs; at most 256 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// No longer in force after this moment. Default: until a bundle without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// Something that is suspended for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// Whether it is on.
    pub enabled: bool,
    /// Why, at most 256 bytes. Required when it is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Until when. Required when it is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// Filters that a gateway's configuration must put on every route that serves these hosts and paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// Hosts, as in a selector. Default: every host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<String>>,
    /// Whole leading segments. Default: every path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_prefix: Option<String>,
    /// Kinds of filters, such as `jwt` or `policy`. They must enforce: a shadow does not count.
    pub filters: Vec<String>,
}

/// A request with the decision it must get.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// Names it in reports.
    pub name: String,
    /// The request.
    pub request: TestRequest,
    /// How often it is sent, at one moment and with fresh counters; the last decision is compared. 1 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat: Option<u32>,
    /// What must come of it.
    pub expect: Expectation,
}

/// The request of a test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestRequest {
    /// The method. `GET` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The host, without a port. None by default, as in HTTP/1.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The path, without a query. It is normalised as a client's is.
    pub path: String,
    /// Header fields.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "UniqueMap::is_empty"
    )]
    pub headers: UniqueMap<Text>,
    /// Query parameters, decoded.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "UniqueMap::is_empty"
    )]
    pub query: UniqueMap<Text>,
    /// Verified claims. None: the request has no token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claims: Option<UniqueMap<Json>>,
    /// The client's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// Keys the request has that the other fields cannot say: `ip:country`, `ua:bot`, `mtls:dns` and their like, `route:name`,
    /// `tenant:id`.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "UniqueMap::is_empty"
    )]
    pub attributes: UniqueMap<Text>,
}

/// What must come of a test's request. Absent fields are not compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// Let through or refused.
    pub decision: Outcome,
    /// The reason code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The policy that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Its rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

/// Let through or refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Let through.
    Allow,
    /// Refused.
    Reject,
}

impl Outcome {
    /// As documents spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Reject => "reject",
        }
    }
}
