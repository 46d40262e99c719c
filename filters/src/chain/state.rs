//! What a chain remembers of an exchange.

use std::sync::Arc;

use smallvec::SmallVec;

use super::Progress;
use crate::claims::Claims;
use crate::facts::Facts;
use crate::filter::Phases;
use crate::link::{Link, Slot, StopInfo};
use crate::receipt::Receipt;
use crate::record::Decision;
use crate::verdict::{Reason, Stop};

/// What a chain remembers of an exchange. Belongs to the chain that started it.
#[derive(Debug)]
pub struct ChainState {
    pub(super) seal: u64,
    pub(super) slots: Slots,
    /// The next link of the request phase.
    pub(super) cursor: usize,
    /// How often the link at the cursor has waited.
    pub(super) waits: u8,
    pub(super) stopped: bool,
    /// The link at the cursor has asked for the body.
    pub(super) asked: bool,
    /// Why a link ended the answer.
    pub(super) ended: Option<Reason>,
    pub(super) receipt: Receipt,
    /// Links that have counted their exchange.
    pub(super) counted: Receipt,
    /// Claims that only shadow links see.
    pub(super) shadow_claims: Option<Arc<Claims>>,
    /// Changes to the answer that were made before the response phase.
    pub(super) response_mark: Option<usize>,
    late: Vec<Decision>,
}

/// States of links that have any.
#[derive(Debug)]
pub(super) struct Slots {
    pub(super) list: SmallVec<[Slot; 4]>,
    /// For links without a state; stays empty.
    pub(super) none: Slot,
}

impl ChainState {
    pub(super) fn new(seal: u64, slots: usize) -> Self {
        Self {
            seal,
            slots: Slots {
                list: (0..slots).map(|_| None).collect(),
                none: None,
            },
            cursor: 0,
            waits: 0,
            stopped: false,
            asked: false,
            ended: None,
            receipt: Receipt::default(),
            counted: Receipt::default(),
            shadow_claims: None,
            response_mark: None,
            late: Vec::new(),
        }
    }

    /// The links that let the request through, or broke and were passed over by their posture.
    pub fn receipt(&self) -> Receipt {
        self.receipt
    }

    /// Decisions of body hooks. Those of the other phases are in [`Facts::decisions`].
    pub fn late_decisions(&self) -> &[Decision] {
        &self.late
    }

    /// Why a link ended the answer before its end, if one did: nothing of it passes any more.
    pub fn ended(&self) -> Option<Reason> {
        self.ended
    }

    pub(super) fn record(&mut self, decision: Option<Decision>) {
        if self.late.len() < Facts::MAX_DECISIONS {
            self.late.extend(decision);
        }
    }

    /// Whether a pass of this hook counts the exchange as let through: once, in the first phase that the link has.
    pub(super) fn counts(&mut self, link: &Link, phase: Phases) -> bool {
        let counts = link.begins_with(phase) && !self.counted.has(link.info.place);
        self.counted.add(Receipt::of(link.info.place));
        counts
    }

    pub(super) fn passed(&mut self, link: &Link) {
        self.receipt.add(Receipt::of(link.info.place));
        self.cursor += 1;
        self.waits = 0;
        self.asked = false;
    }

    pub(super) fn stop(&mut self, stop: Stop, info: Box<StopInfo>) -> Progress {
        self.stopped = true;
        Progress::Stop(stop, info)
    }
}
