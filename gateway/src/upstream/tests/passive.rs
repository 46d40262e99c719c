//! Ejection: after failures in a row, for a time, and never the last one.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::Outcome;
use super::*;

fn pair() -> (Arc<Upstream>, Clock) {
    let clock = Clock::manual();
    let shape = json!({ "servers": servers(&[1, 1]), "passive_health": { "failures": 3, "eject_for": "10s" } });
    let upstreams = try_compile(json!({ "app": shape }), &nothing(clock.clone())).unwrap();
    (only(&upstreams), clock)
}

fn report(upstream: &Upstream, place: usize, outcomes: &[Outcome]) {
    let others: Vec<_> = (0..upstream.servers().len()).filter(|other| *other != place).collect();
    for outcome in outcomes {
        let selected = upstream
            .select(Choice {
                hash: None,
                tried: &others,
            })
            .unwrap();
        // Once it is ejected, it is no longer given out.
        if selected.index() == place {
            selected.report(*outcome);
        }
    }
}

fn available(upstream: &Upstream) -> Vec<bool> {
    upstream.servers().iter().map(|server| server.is_available()).collect()
}

#[test]
fn failures_in_a_row_eject_for_a_time() {
    let (upstream, clock) = pair();
    report(&upstream, 0, &[Outcome::ConnectError, Outcome::Reset]);
    assert_eq!(available(&upstream), [true, true]);
    report(&upstream, 0, &[Outcome::Timeout]);
    assert_eq!(available(&upstream), [false, true]);
    assert_eq!(shares(&upstream, 10, |_| None), [0, 10]);
    let status = upstream.status();
    assert_eq!(status.servers[0].reason.as_deref(), Some("ejected for 10000 ms more"));
    assert_eq!(
        (status.servers[0].totals.ejections, status.servers[0].totals.timeouts),
        (1, 1)
    );
    clock.advance(Duration::from_millis(9_999));
    assert_eq!(available(&upstream), [false, true]);
    clock.advance(Duration::from_millis(1));
    assert_eq!(available(&upstream), [true, true]);
    report(&upstream, 0, &[Outcome::Reset, Outcome::Reset]);
    assert_eq!(available(&upstream), [true, true], "the row begins anew");
}

#[test]
fn an_answer_ends_the_row() {
    let (upstream, _) = pair();
    for answer in [Outcome::Ok, Outcome::Status5xx] {
        report(
            &upstream,
            0,
            &[
                Outcome::Reset,
                Outcome::Reset,
                answer,
                Outcome::Reset,
                Outcome::Reset,
                answer,
            ],
        );
        assert_eq!(available(&upstream), [true, true]);
    }
    assert_eq!(upstream.status().servers[0].totals.status_5xx, 2);
}

#[test]
fn the_last_one_is_never_ejected() {
    let (upstream, clock) = pair();
    report(&upstream, 0, &[Outcome::Reset; 3]);
    report(&upstream, 1, &[Outcome::Reset; 30]);
    assert_eq!(available(&upstream), [false, true]);
    clock.advance(Duration::from_secs(10));
    report(&upstream, 1, &[Outcome::Reset]);
    assert_eq!(
        available(&upstream),
        [true, false],
        "with another one back, its row counts"
    );
}

// Each thread fails one of two servers at the same moment, again and again: only one of them may be ejected.
#[test]
fn two_threads_cannot_eject_the_last_two() {
    const ROUNDS: usize = 3_000;
    let clock = Clock::manual();
    let shape = json!({ "servers": servers(&[1, 1]), "passive_health": { "failures": 1, "eject_for": "10s" } });
    let upstream = only(&try_compile(json!({ "app": shape }), &nothing(clock.clone())).unwrap());
    let (start, lost) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let meet = |round: usize| {
        start.fetch_add(1, Ordering::SeqCst);
        while start.load(Ordering::SeqCst) < round * 2 {
            std::hint::spin_loop();
        }
    };
    std::thread::scope(|scope| {
        for place in [0, 1] {
            let (upstream, clock, meet, lost) = (&upstream, &clock, &meet, &lost);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    meet(round * 3 + 1);
                    let selected = upstream
                        .select(Choice {
                            hash: None,
                            tried: &[1 - place],
                        })
                        .unwrap();
                    meet(round * 3 + 2);
                    selected.report(Outcome::Reset);
                    meet(round * 3 + 3);
                    // Not asserted here: the other thread would wait for ever.
                    lost.fetch_add(usize::from(!available(upstream).contains(&true)), Ordering::SeqCst);
                    clock.advance(Duration::from_secs(10));
                }
            });
        }
    });
    assert_eq!(lost.into_inner(), 0, "rounds after which none was left");
}

#[test]
fn a_backup_is_another_one() {
    let upstream = app(json!({
        "servers": ["10.0.0.1:80", { "address": "10.0.0.2:80", "backup": true }],
        "passive_health": { "failures": 1, "eject_for": "10s" },
    }));
    report(&upstream, 0, &[Outcome::ConnectError]);
    assert_eq!(pick(&upstream).index(), 1);
}

#[test]
fn zero_switches_it_off() {
    let upstream = app(json!({ "servers": servers(&[1, 1]), "passive_health": { "failures": 0 } }));
    report(&upstream, 0, &[Outcome::ConnectError; 50]);
    assert_eq!(available(&upstream), [true, true]);
    assert_eq!(upstream.status().servers[0].totals.connect_errors, 50);
}
