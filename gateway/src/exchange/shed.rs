//! Refusing what there is no room or no time for: before the chain for the gateway's own sake, before the upstream for
//! the upstream's. Who is refused is decided in [`crate::overload`].

use http::StatusCode;
use portcullis_config::site::Priority;
use portcullis_filters::verdict::{Denial, Reason};

use super::Exchange;
use crate::overload;

impl Exchange {
    /// Refuses a request before anything is spent on it, when the gateway itself has too much to do.
    pub(super) fn check_load(&self) -> Result<(), Denial> {
        let Some(connection) = &self.connection else {
            return Ok(());
        };
        let load = &self.live.edge().overload;
        let judged = connection.take_judged();
        match load.refuses(connection.listener().index, self.priority(), judged) {
            None => Ok(()),
            Some(shed) => {
                load.count(shed);
                Err(refusal(shed.as_str()))
            }
        }
    }

    /// Takes a place among those that wait for the route's upstream.
    pub(super) fn take_place(&mut self) -> Result<(), Denial> {
        let priority = self.priority();
        let Some(upstream) = self.upstream(&self.snapshot) else {
            return Ok(());
        };
        let slot = upstream.enter(priority);
        if slot.is_none() {
            return Err(refusal("upstream_overloaded"));
        }
        self.leg.slot = slot;
        Ok(())
    }

    /// The upstream's answer has begun: somebody else may wait now. An upstream that is failing says little about how
    /// long its work takes.
    pub(super) fn leave_place(&mut self, status: StatusCode) {
        let Some(slot) = self.leg.slot.take() else { return };
        let lag = self.connection.as_ref().map(|connection| {
            let index = connection.listener().index;
            self.live.edge().overload.lag(index).least()
        });
        if let (Some(upstream), Some(began), Some(took)) =
            (self.upstream(&self.snapshot), self.leg.began, self.leg.first_byte)
            && !status.is_server_error()
        {
            upstream.answered(slot, took, began + took, lag.unwrap_or_default());
        }
    }

    fn priority(&self) -> Priority {
        self.route().map_or(Priority::Default, |route| route.priority)
    }
}

fn refusal(reason: &'static str) -> Denial {
    Denial::new(StatusCode::SERVICE_UNAVAILABLE, Reason(reason)).retry_after(overload::retry_after())
}
