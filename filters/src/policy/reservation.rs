//! What a request was charged, so that it can be given back. Whether it is, is the caller's.

use smallvec::SmallVec;

use super::charge::Parts;
use crate::buckets::{BucketTable, Reserved, Taken};

/// What a request was charged.
#[derive(Debug, Clone, Default)]
pub(super) struct Reservation(pub(super) SmallVec<[Reserved; 8]>);

impl Reservation {
    /// Of parts that were taken, by their answers.
    pub(super) fn of(parts: &Parts<'_>, answers: &[Taken]) -> Self {
        let taken = parts.iter().zip(answers);
        Self(taken.filter_map(|(part, taken)| part.charge.reserved(taken)).collect())
    }

    /// Gives everything back, once.
    pub(super) fn give_back(&mut self, table: &BucketTable, now: u64) {
        for reserved in self.0.drain(..) {
            table.refund(&reserved, reserved.cost, now);
        }
    }
}
