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
    /// What becomes of it when there is no room for its key.
    pub no_room: NoRoom,
}

/// What becomes of a charge when there is no room for its key: every bucket that there is is live.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NoRoom {
    /// It shares one bucket with all such keys of its limit.
    #[default]
    Share,
    /// It refuses.
    Refuse,
    /// It is not counted.
    Pass,
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
            no_room: NoRoom::Share,
        }
    }

    /// The same, but it counts and never refuses.
    #[must_use]
    pub fn soft(mut self) -> Self {
        self.soft = true;
        self
    }

    /// The same, with another fate when there is no room for its key.
    #[must_use]
    pub fn without_room(mut self, fate: NoRoom) -> Self {
        self.no_room = fate;
        self
    }

    /// What was taken, by the answer to it. `None`: nothing was.
    pub fn reserved(&self, taken: &Taken) -> Option<Reserved> {
        ((taken.allowed || self.soft) && !taken.no_room).then_some(Reserved {
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
