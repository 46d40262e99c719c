//! Who may be chosen at all, and in which order: health, backups, servers tried before, and panic.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn balances() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!("round_robin")),
        Just(json!("least_connections")),
        Just(json!("random_two")),
        Just(json!({ "consistent_hash": { "key": "ip:address" } })),
    ]
}

#[derive(Debug, Clone)]
struct Scene {
    balance: Value,
    // Weight, backup, healthy, tried.
    servers: Vec<(u32, bool, bool, bool)>,
    hash: Option<u64>,
}

fn scenes() -> impl Strategy<Value = Scene> {
    let server = (1..5_u32, any::<bool>(), any::<bool>(), any::<bool>());
    (balances(), prop::collection::vec(server, 1..7), any::<Option<u64>>()).prop_map(|(balance, servers, hash)| Scene {
        balance,
        servers,
        hash,
    })
}

impl Scene {
    fn build(&self) -> Arc<Upstream> {
        let servers: Vec<_> = (self.servers.iter().enumerate())
            .map(|(place, (weight, backup, ..))| json!({ "address": address(place), "weight": weight, "backup": backup }))
            .collect();
        let upstream = app(json!({ "servers": servers, "balance": self.balance, "health": quick_health() }));
        for (place, (_, _, healthy, _)) in self.servers.iter().enumerate() {
            set_health(&upstream, place, *healthy);
        }
        upstream
    }

    fn any(&self, holds: impl Fn(bool, bool, bool) -> bool) -> bool {
        self.servers
            .iter()
            .any(|(_, backup, healthy, tried)| holds(*backup, *healthy, *tried))
    }
}

proptest! {
    #[test]
    fn the_best_rank_that_exists_is_chosen(scene in scenes(), times in 1..20_usize) {
        let upstream = scene.build();
        let tried: Vec<usize> = (0..scene.servers.len()).filter(|place| scene.servers[*place].3).collect();
        for _ in 0..times {
            let selected = upstream.select(Choice { hash: scene.hash, tried: &tried });
            let selected = selected.expect("there is always one to try");
            let (_, backup, healthy, was_tried) = scene.servers[selected.index()];
            // Never an unhealthy one while a healthy one exists.
            prop_assert!(healthy || !scene.any(|_, healthy, _| healthy));
            // Not one that was tried while another healthy one exists.
            prop_assert!(!was_tried || !scene.any(|_, healthy, tried| healthy && !tried));
            if backup && healthy {
                prop_assert!(!scene.any(|backup, healthy, tried| !backup && healthy && !tried));
                // On the first attempt only when no primary is healthy.
                prop_assert!(!tried.is_empty() || !scene.any(|backup, healthy, _| !backup && healthy));
            }
            if !healthy {
                // Panic: a primary, and a fresh one, while there is one.
                prop_assert!(!backup || !scene.any(|backup, _, _| !backup));
                prop_assert!(!was_tried || backup || !scene.any(|backup, _, tried| !backup && !tried));
            }
        }
    }

    #[test]
    fn in_flight_comes_back_to_nothing(scene in scenes(), steps in prop::collection::vec(any::<bool>(), 0..60)) {
        let upstream = scene.build();
        let mut held = Vec::new();
        for take in steps {
            if take { held.push(pick(&upstream)) } else { held.pop(); }
            let counted: usize = upstream.servers().iter().map(|server| server.in_flight()).sum();
            prop_assert_eq!(counted, held.len());
        }
        drop(held);
        prop_assert!(upstream.servers().iter().all(|server| server.in_flight() == 0));
    }

    #[test]
    fn least_connections_is_never_busier_than_another(weights in prop::collection::vec(1..5_u32, 2..6), times in 1..40_usize) {
        let upstream = app(json!({ "servers": servers(&weights), "balance": "least_connections" }));
        let mut held = Vec::new();
        for _ in 0..times {
            let before: Vec<_> = upstream.servers().iter().map(|server| server.in_flight() as u64).collect();
            let selected = pick(&upstream);
            let load = |place: usize, by: usize| before[place] * u64::from(weights[by]);
            let chosen = selected.index();
            prop_assert!((0..weights.len()).all(|other| load(chosen, other) <= load(other, chosen)));
            held.push(selected);
        }
    }
}

#[test]
fn random_two_avoids_the_busy_one() {
    let upstream = app(json!({ "servers": servers(&[1, 1]), "balance": "random_two" }));
    let busy: Vec<_> = std::iter::repeat_with(|| pick(&upstream)).take(40).collect();
    let counts = [0, 1].map(|place| upstream.servers()[place].in_flight());
    assert_eq!(counts, [20, 20], "with two servers, two at random is least connections");
    drop(busy);
}

#[test]
fn many_threads_choose_and_report_at_once() {
    let upstream = app(json!({
        "servers": servers(&[1, 2, 3]),
        "balance": "least_connections",
        "passive_health": { "failures": 2, "eject_for": "1s" },
    }));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let upstream = &upstream;
            scope.spawn(move || {
                for time in 0..2_000 {
                    let selected = pick(upstream);
                    let failed = (thread + time) % 3 != 0;
                    selected.report(if failed {
                        super::super::Outcome::Reset
                    } else {
                        super::super::Outcome::Ok
                    });
                    assert!(
                        upstream.servers().iter().any(|server| server.is_available()),
                        "the last one was ejected"
                    );
                }
            });
        }
    });
    assert!(upstream.servers().iter().all(|server| server.in_flight() == 0));
    let requests: u64 = upstream
        .status()
        .servers
        .iter()
        .map(|server| server.totals.requests)
        .sum();
    assert_eq!(requests, 8_000);
}
