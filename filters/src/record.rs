//! What becomes of a decision after it was made: entries of the access log. The shapes only.

use std::borrow::Cow;
use std::sync::Arc;

use portcullis_config::site::Mode;
use smallvec::SmallVec;

use crate::verdict::Reason;

/// One decision of a link, or of a rule within it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The link's name.
    pub link: Arc<str>,
    /// What was decided.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// Whether it counted.
    pub mode: Mode,
    /// The policy, where one decided.
    pub policy: Option<Arc<str>>,
    /// Its rule.
    pub rule: Option<Arc<str>>,
    /// What the operator should know beyond the reason. Never for the client.
    pub detail: Option<Cow<'static, str>>,
}

impl Decision {
    /// A decision that counts, without policy and rule. The chain puts the link's name and mode in.
    pub fn new(action: Action, reason: Reason) -> Self {
        let link = Arc::default();
        Self {
            link,
            action,
            reason,
            mode: Mode::Enforce,
            policy: None,
            rule: None,
            detail: None,
        }
    }
}

/// What a link decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Let through.
    Allow,
    /// Refused (or would have, in shadow).
    Deny,
    /// Answered by the filter.
    Reply,
    /// The filter broke and the posture decided.
    Error,
}

impl Action {
    /// As logs and metrics spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Reply => "reply",
            Self::Error => "error",
        }
    }
}

/// Fields that filters add to the access log's line of an exchange.
#[derive(Debug, Default)]
pub struct LogRecord {
    /// Name and value, in order. Names are constants, so that they are bounded.
    pub fields: SmallVec<[(&'static str, Cow<'static, str>); 4]>,
}
