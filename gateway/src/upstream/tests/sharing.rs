//! How the load is shared: by weight, and with consistent hashing by key, moving as little as possible.

use proptest::prelude::*;

use super::super::hash_key;
use super::*;

fn by_hash(weights: &[u32]) -> Arc<Upstream> {
    app(json!({ "servers": servers(weights), "balance": { "consistent_hash": { "key": "header:x-key" } } }))
}

fn owner(upstream: &Upstream, key: usize) -> String {
    let hash = Some(hash_key(&(key as u64).to_le_bytes()));
    upstream
        .select(Choice { hash, tried: &[] })
        .unwrap()
        .server()
        .address()
        .to_owned()
}

fn share(count: usize, of: usize) -> f64 {
    let number = |count: usize| f64::from(u32::try_from(count).unwrap());
    number(count) / number(of)
}

proptest! {
    #[test]
    fn round_robin_is_exact_while_all_are_well(weights in prop::collection::vec(1..20_u32, 1..8), rounds in 1..4_usize) {
        let upstream = app(json!({ "servers": servers(&weights) }));
        let sum = weights.iter().sum::<u32>() as usize;
        let counts = shares(&upstream, sum * rounds, |_| None);
        let expected: Vec<_> = weights.iter().map(|weight| *weight as usize * rounds).collect();
        prop_assert_eq!(counts, expected);
    }

    #[test]
    fn what_a_sick_server_leaves_is_shared_by_weight(
        weights in prop::collection::vec(1..6_u32, 3..6),
        sick in 0..3_usize,
        balance in prop_oneof![Just("round_robin"), Just("least_connections")],
        seed in any::<u64>(),
    ) {
        fastrand::seed(seed);
        let upstream = app(json!({ "servers": servers(&weights), "balance": balance, "health": quick_health() }));
        set_health(&upstream, sick, false);
        let times = 6_000;
        let counts = shares(&upstream, times, |_| None);
        let rest = weights.iter().sum::<u32>() - weights[sick];
        prop_assert_eq!(counts[sick], 0);
        for (place, weight) in weights.iter().enumerate().filter(|(place, _)| *place != sick) {
            let expected = f64::from(*weight) / f64::from(rest);
            prop_assert!((share(counts[place], times) - expected).abs() < 0.04, "{counts:?} {weights:?}");
        }
    }

    #[test]
    fn random_two_draws_by_weight(weights in prop::collection::vec(1..6_u32, 2..6), seed in any::<u64>()) {
        fastrand::seed(seed);
        let upstream = app(json!({ "servers": servers(&weights), "balance": "random_two" }));
        // Idle servers: the first draw decides.
        let counts = shares(&upstream, 6_000, |_| None);
        for (place, weight) in weights.iter().enumerate() {
            let expected = f64::from(*weight) / f64::from(weights.iter().sum::<u32>());
            prop_assert!((share(counts[place], 6_000) - expected).abs() < 0.04, "{counts:?} {weights:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_server_that_leaves_moves_only_its_own_keys(count in 3..12_usize, gone in any::<prop::sample::Index>()) {
        let keys = 3_000;
        let all = by_hash(&vec![1; count]);
        let gone = gone.index(count);
        let mut left: Vec<_> = (0..count).map(address).collect();
        let leaver = left.remove(gone);
        let fewer = app(json!({ "servers": left, "balance": { "consistent_hash": { "key": "header:x-key" } } }));
        let mut moved = 0;
        for key in 0..keys {
            let (before, after) = (owner(&all, key), owner(&fewer, key));
            if before == leaver { moved += 1 } else { prop_assert_eq!(before, after) }
        }
        let expected = share(1, count);
        let moved = share(moved, keys);
        prop_assert!(moved > expected * 0.6 && moved < expected * 1.5, "{moved} of about {expected}");
    }

    #[test]
    fn a_sick_server_moves_only_its_own_keys(count in 3..10_usize, sick in 0..3_usize) {
        let shape = json!({
            "servers": servers(&vec![1; count]), "health": quick_health(),
            "balance": { "consistent_hash": { "key": "header:x-key" } },
        });
        let upstream = app(shape);
        let before: Vec<_> = (0..500).map(|key| owner(&upstream, key)).collect();
        set_health(&upstream, sick, false);
        for (key, before) in before.iter().enumerate() {
            let after = owner(&upstream, key);
            prop_assert!(after != address(sick));
            prop_assert!(*before == address(sick) || *before == after);
        }
        set_health(&upstream, sick, true);
        prop_assert!((0..500).all(|key| owner(&upstream, key) == before[key]));
    }
}

#[test]
fn keys_are_shared_by_weight() {
    let upstream = by_hash(&[1, 3]);
    let counts = shares(&upstream, 20_000, |key| Some(hash_key(&(key as u64).to_le_bytes())));
    assert!((share(counts[1], 20_000) - 0.75).abs() < 0.06, "{counts:?}");
}

#[test]
fn no_key_means_round_robin() {
    assert_eq!(shares(&by_hash(&[1, 1]), 10, |_| None), [5, 5]);
}

// Several gateways, and one before and after an update, must agree: a change here moves every key of every installation.
#[test]
fn the_hash_never_changes() {
    assert_eq!(hash_key(b"customer-42"), 5_843_946_941_951_890_395);
    let upstream = by_hash(&[1, 1, 1, 1, 1]);
    let owners: Vec<_> = (0..8).map(|key| owner(&upstream, key)).collect();
    assert_eq!(owners, [3, 3, 3, 3, 5, 1, 3, 4].map(|last| format!("10.0.0.{last}:80")));
}
