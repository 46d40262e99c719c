//! What is taken from which bucket, and what is known of it afterwards. The taking is the table's.

use super::arithmetic::{Cost, Params, Taken};
use super::key::BucketKey;

/// What a limit takes from which bucket.
#[derive(Debug, Clone, Copy)]
pub struct Charge {
    /// Who is counted.
    pub key: BucketKey,
    /// By which limit.
    pub params: Params,
    /// How much.
    pub cost: Cost,
    /// It is taken whether there is enough or not, and never refuses; the answer says which.
    pub soft: bool,
    /// It refuses when there is no room for its key, instead of sharing a bucket with others.
    pub own_only: bool,
}

impl Reserved {
    /// A charge to the same bucket for what was used beyond it: taken whether there is enough or not. `params` are those
    /// of now, so that the window of now pays when the one of then is over.
    pub fn overrun(&self, params: Params, cost: Cost) -> Charge {
        Charge::new(self.key, params, cost).soft()
    }
}

impl Charge {
    /// A charge that refuses when there is not enough, and that shares a bucket when there is no room.
    pub fn new(key: BucketKey, params: Params, cost: Cost) -> Self {
        Self {
            key,
            params,
            cost,
            soft: false,
            own_only: false,
        }
    }

    /// The same, but it counts and never refuses.
    #[must_use]
    pub fn soft(mut self) -> Self {
        self.soft = true;
        self
    }

    /// What was taken, by the answer to it. `None`: nothing was.
    pub fn reserved(&self, taken: &Taken) -> Option<Reserved> {
        (taken.allowed || self.soft).then_some(Reserved {
            key: self.key,
            params: self.params,
            cost: self.cost,
            shared: taken.shared,
            window: taken.window,
        })
    }
}

/// Tokens that were taken and may be given back.
#[derive(Debug, Clone, Copy)]
pub struct Reserved {
    pub(super) key: BucketKey,
    pub(super) params: Params,
    pub(super) shared: bool,
    pub(super) window: u32,
    /// How many.
    pub cost: Cost,
}
