//! Filters without their types: what lets filters of different types stand in one list.

use std::any::Any;
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;

use crate::filter::Filter;
use crate::record::LogRecord;
use crate::request::Request;
use crate::response::Response;
use crate::verdict::{CONTINUE, FilterError, Outcome, Verdict};

/// A filter's state of one exchange. Made when it is first needed; never for a type without a size.
pub(crate) type Slot = Option<Box<dyn Any + Send + Sync>>;

/// The reason when a filter panicked.
pub(crate) const PANICKED: &str = "filter_panicked";

/// [`Filter`] without its associated types. No hook of it panics.
pub(crate) trait ErasedFilter: Send + Sync {
    fn secret_parameter(&self) -> Option<&str>;
    fn on_request(&self, slot: &mut Slot, request: &mut Request<'_>) -> Outcome;
    fn on_request_body(&self, slot: &mut Slot, chunk: &mut Option<Bytes>, last: bool) -> Outcome;
    fn on_response(&self, slot: &mut Slot, response: &mut Response<'_>) -> Outcome;
    fn on_response_body(&self, slot: &mut Slot, chunk: &mut Option<Bytes>, last: bool) -> Outcome;
    fn on_log(&self, slot: &mut Slot, record: &mut LogRecord) -> Outcome;
}

impl<F: Filter> ErasedFilter for F {
    fn secret_parameter(&self) -> Option<&str> {
        Filter::secret_parameter(self)
    }

    fn on_request(&self, slot: &mut Slot, request: &mut Request<'_>) -> Outcome {
        with_state::<F>(slot, |state| Filter::on_request(self, state, request))
    }

    fn on_request_body(&self, slot: &mut Slot, chunk: &mut Option<Bytes>, last: bool) -> Outcome {
        with_state::<F>(slot, |state| Filter::on_request_body(self, state, chunk, last))
    }

    fn on_response(&self, slot: &mut Slot, response: &mut Response<'_>) -> Outcome {
        with_state::<F>(slot, |state| Filter::on_response(self, state, response))
    }

    fn on_response_body(&self, slot: &mut Slot, chunk: &mut Option<Bytes>, last: bool) -> Outcome {
        with_state::<F>(slot, |state| Filter::on_response_body(self, state, chunk, last))
    }

    fn on_log(&self, slot: &mut Slot, record: &mut LogRecord) -> Outcome {
        with_state::<F>(slot, |state| {
            Filter::on_log(self, state, record);
            CONTINUE
        })
    }
}

/// Runs a hook with the filter's state. After a panic the state is not trusted and begins anew.
fn with_state<F: Filter>(slot: &mut Slot, hook: impl FnOnce(&mut F::State) -> Outcome) -> Outcome {
    if size_of::<F::State>() == 0 {
        return caught(|| hook(&mut F::State::default())).map_err(|Failed(error, _)| error);
    }
    let Some(state) = slot else {
        let mut state = F::State::default();
        let outcome = caught(|| hook(&mut state));
        let trusted = !matches!(outcome, Err(Failed(_, true)));
        if trusted && F::keeps(&state) {
            *slot = Some(Box::new(state));
        }
        return outcome.map_err(|Failed(error, _)| error);
    };
    let Some(state) = state.downcast_mut::<F::State>() else {
        return Err(FilterError::internal(
            "filter_state",
            "the exchange holds the state of another filter",
        ));
    };
    caught(|| hook(state)).map_err(|Failed(error, panicked)| {
        if panicked {
            *slot = None;
        }
        error
    })
}

/// An error, and whether it was a panic.
pub(crate) struct Failed(pub(crate) FilterError, pub(crate) bool);

/// Runs a hook; a panic in it becomes an error of the filter.
pub(crate) fn caught(hook: impl FnOnce() -> Outcome) -> Result<Verdict, Failed> {
    match catch_unwind(AssertUnwindSafe(hook)) {
        Ok(outcome) => outcome.map_err(|error| Failed(error, false)),
        Err(payload) => {
            let text = payload.downcast_ref::<&'static str>().map(|text| Cow::Borrowed(*text));
            let text = text.or_else(|| payload.downcast_ref::<String>().map(|text| Cow::Owned(text.clone())));
            let text = text.unwrap_or(Cow::Borrowed("a panic without a text"));
            Err(Failed(FilterError::internal(PANICKED, text), true))
        }
    }
}
