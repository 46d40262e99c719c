//! Choosing one of a tier of servers: round robin, least connections, two at random, consistent hash. Atomics only, no lock,
//! no allocation. Which servers may be chosen at all is the caller's predicate.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::ring::Ring;
use super::server::Server;

/// Slots of the round robin schedule. Weights whose sum is greater are rounded to fit.
const MAX_SLOTS: u64 = 4096;
/// Random draws from the schedule before all servers are looked at one by one.
const DRAWS: usize = 4;

/// How a server is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strategy {
    RoundRobin,
    LeastConnections,
    RandomTwo,
    ConsistentHash,
}

/// A server in a tier.
#[derive(Debug)]
pub(super) struct Member {
    /// Its place in the upstream's list.
    pub(super) index: usize,
    pub(super) server: Arc<Server>,
}

/// Servers of the same rank: the primaries, or the backups.
#[derive(Debug, Default)]
pub(super) struct Tier {
    members: Box<[Member]>,
    // Members by place, interleaved by weight.
    schedule: Box<[usize]>,
    ring: Ring,
}

impl Tier {
    pub(super) fn new(members: Vec<Member>, strategy: Strategy) -> Self {
        let weights: Vec<u32> = members.iter().map(|member| member.server.weight).collect();
        let ring = if strategy == Strategy::ConsistentHash {
            Ring::new(
                members
                    .iter()
                    .map(|member| (member.server.address(), member.server.weight)),
            )
        } else {
            Ring::default()
        };
        Self {
            schedule: interleave(&fit(&weights)).into(),
            members: members.into(),
            ring,
        }
    }

    pub(super) fn pick(
        &self,
        strategy: Strategy,
        cursor: &AtomicUsize,
        hash: Option<u64>,
        may: impl Fn(&Member) -> bool + Copy,
    ) -> Option<&Member> {
        match (strategy, hash) {
            (Strategy::ConsistentHash, Some(hash)) => self.by_hash(hash, may),
            (Strategy::RoundRobin | Strategy::ConsistentHash, _) => self.next(cursor, may),
            (Strategy::LeastConnections, _) => self.least_busy(cursor, may),
            (Strategy::RandomTwo, _) => self.less_busy_of_two(may),
        }
    }

    // The schedule is exact while all are well. A server that is out leaves its turns to the others by weight at random:
    // giving them to its neighbour would double that one's load.
    fn next(&self, cursor: &AtomicUsize, may: impl Fn(&Member) -> bool) -> Option<&Member> {
        let slot = cursor
            .fetch_add(1, Ordering::Relaxed)
            .checked_rem(self.schedule.len())?;
        self.in_slot(slot)
            .filter(|member| may(member))
            .or_else(|| self.weighted(may))
    }

    // Round robin breaks ties, so equally idle servers share by weight.
    fn least_busy(&self, cursor: &AtomicUsize, may: impl Fn(&Member) -> bool + Copy) -> Option<&Member> {
        let first = self.next(cursor, may)?;
        let others = self.members.iter().filter(|member| may(member));
        Some(others.fold(first, |best, member| if busier(best, member) { member } else { best }))
    }

    fn less_busy_of_two(&self, may: impl Fn(&Member) -> bool + Copy) -> Option<&Member> {
        let one = self.draw(may)?;
        let other = self.draw(|member| member.index != one.index && may(member));
        Some(other.filter(|other| busier(one, other)).unwrap_or(one))
    }

    fn by_hash(&self, hash: u64, may: impl Fn(&Member) -> bool) -> Option<&Member> {
        // Without this a ring of which nothing may be chosen would be walked to its end.
        if !self.members.iter().any(&may) {
            return None;
        }
        self.ring
            .walk(hash)
            .filter_map(|place| self.members.get(place))
            .find(|member| may(member))
    }

    fn draw(&self, may: impl Fn(&Member) -> bool) -> Option<&Member> {
        if self.schedule.is_empty() {
            return None;
        }
        let drawn = (0..DRAWS).find_map(|_| self.in_slot(fastrand::usize(..self.schedule.len())).filter(|m| may(m)));
        drawn.or_else(|| self.weighted(may))
    }

    // One pass: each one replaces the choice so far with the probability that its weight has of the sum so far.
    fn weighted(&self, may: impl Fn(&Member) -> bool) -> Option<&Member> {
        let mut sum = 0;
        let mut chosen = None;
        for member in self.members.iter().filter(|member| may(member)) {
            let weight = u64::from(member.server.weight);
            sum += weight;
            if fastrand::u64(..sum.max(1)) < weight {
                chosen = Some(member);
            }
        }
        chosen
    }

    fn in_slot(&self, slot: usize) -> Option<&Member> {
        self.members.get(*self.schedule.get(slot)?)
    }
}

/// Is `a` busier than `b`, each by its weight?
fn busier(a: &Member, b: &Member) -> bool {
    let load = |member: &Member, weight: &Member| {
        let in_flight = u64::try_from(member.server.in_flight()).unwrap_or(u64::MAX);
        in_flight.saturating_mul(u64::from(weight.server.weight))
    };
    load(a, b) > load(b, a)
}

/// Divides the weights by what they have in common; if they are still too many slots, rounds them, to 1 at least.
fn fit(weights: &[u32]) -> Vec<u64> {
    let divisor = weights
        .iter()
        .fold(0, |divisor, weight| gcd(divisor, u64::from(*weight)))
        .max(1);
    let reduced: Vec<u64> = weights.iter().map(|weight| u64::from(*weight) / divisor).collect();
    let sum: u64 = reduced.iter().sum();
    if sum <= MAX_SLOTS {
        return reduced;
    }
    reduced.iter().map(|weight| (weight * MAX_SLOTS / sum).max(1)).collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

// Smooth weighted round robin, written out for one whole round: each gains its weight, the richest is taken and pays the sum.
fn interleave(weights: &[u64]) -> Vec<usize> {
    let sum: i64 = weights
        .iter()
        .map(|weight| i64::try_from(*weight).unwrap_or(i64::MAX))
        .sum();
    let mut wealth = vec![0_i64; weights.len()];
    let mut schedule = Vec::new();
    for _ in 0..sum {
        for (own, weight) in wealth.iter_mut().zip(weights) {
            *own += i64::try_from(*weight).unwrap_or(i64::MAX);
        }
        // The first of the richest: `max_by_key` alone would take the last.
        let richest = wealth.iter_mut().enumerate().rev().max_by_key(|(_, own)| **own);
        if let Some((place, own)) = richest {
            *own -= sum;
            schedule.push(place);
        }
    }
    schedule
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_is_smooth() {
        assert_eq!(interleave(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(interleave(&[1, 1, 1]), [0, 1, 2]);
        assert_eq!(interleave(&[]), [0; 0]);
    }

    #[test]
    fn weights_are_made_to_fit() {
        assert_eq!(fit(&[100, 200, 300]), [1, 2, 3]);
        assert_eq!(fit(&[]), [0; 0]);
        let fitted = fit(&[u32::MAX, 1, 7]);
        assert!(
            fitted.iter().sum::<u64>() <= MAX_SLOTS + 3 && fitted.iter().all(|weight| *weight > 0),
            "{fitted:?}"
        );
    }
}
