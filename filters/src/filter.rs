//! The one abstraction: what a filter is. How filters are put in a row, and what becomes of their verdicts, is
//! [`crate::chain`]'s.

use bytes::Bytes;
use portcullis_config::diagnostic::Diagnostic;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::record::LogRecord;
use crate::request::Request;
use crate::response::Response;
use crate::verdict::{CONTINUE, Outcome};
use crate::zones::BuildEnv;

/// A filter: decides about requests and responses.
///
/// Hooks do no I/O, read no clock (time is in the request) and hold no lock from one call to the next.
pub trait Filter: Sized + Send + Sync + 'static {
    /// The YAML key, the folder, the docs page.
    const KIND: &'static str;
    /// The hooks that it has. A hook that is not named here is never called.
    const PHASES: Phases;

    /// Its keys as written.
    type Config: DeserializeOwned + JsonSchema;
    /// What it keeps of a request from hook to hook; `()` costs nothing.
    type State: Default + Send + Sync + 'static;

    /// Whether what a hook has left in the state is to be kept for the next hook. What is not costs no memory.
    fn keeps(_state: &Self::State) -> bool {
        true
    }

    /// Makes it from its configuration. Touches nothing outside: no I/O, no task.
    fn build(config: Self::Config, env: &mut BuildEnv<'_>) -> Result<Self, Diagnostic>;

    /// The parameter of the query that carries a secret, if one does. It is never logged, and where the filter is enforced it
    /// does not go upstream.
    fn secret_parameter(&self) -> Option<&str> {
        None
    }

    /// The request's header is complete.
    fn on_request(&self, _state: &mut Self::State, _request: &mut Request<'_>) -> Outcome {
        CONTINUE
    }

    /// A piece of the request's body; `None` with `last` when the end carries none.
    fn on_request_body(&self, _state: &mut Self::State, _chunk: &mut Option<Bytes>, _last: bool) -> Outcome {
        CONTINUE
    }

    /// The response's header is there.
    fn on_response(&self, _state: &mut Self::State, _response: &mut Response<'_>) -> Outcome {
        CONTINUE
    }

    /// A piece of the response's body.
    fn on_response_body(&self, _state: &mut Self::State, _chunk: &mut Option<Bytes>, _last: bool) -> Outcome {
        CONTINUE
    }

    /// The exchange is over.
    fn on_log(&self, _state: &mut Self::State, _record: &mut LogRecord) {}
}

/// A set of hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phases(pub u8);

impl Phases {
    /// `on_request`.
    pub const REQUEST: Self = Self(1);
    /// `on_request_body`.
    pub const REQUEST_BODY: Self = Self(1 << 1);
    /// `on_response`.
    pub const RESPONSE: Self = Self(1 << 2);
    /// `on_response_body`.
    pub const RESPONSE_BODY: Self = Self(1 << 3);
    /// `on_log`.
    pub const LOG: Self = Self(1 << 4);

    /// Both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The first of them, in the order in which they run.
    #[must_use]
    pub const fn first(self) -> Self {
        Self(self.0 & self.0.wrapping_neg())
    }

    /// Whether every hook of `other` is in it.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}
