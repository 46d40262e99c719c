//! What a decision costs: nothing to decide, one rule, five rules with claims and loop detection, one policy of ten and of
//! ten thousand; and one rule asked by two threads. All of it is the time of a whole exchange: subtract the chain without.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use http::StatusCode;
use portcullis_benches::chain::Exchanges;
use portcullis_benches::decisions::{five_rules, one_of, one_rule, one_rule_by_user, tokens};

fn policy(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("policy");
    for (name, mut exchanges) in [
        ("gate only", Exchanges::bare()),
        ("one rule", one_rule()),
        ("token only", tokens()),
        ("token, five rules and loop detection", five_rules()),
        ("one of 10 policies", one_of(10)),
        ("one of 10000 policies", one_of(10_000)),
    ] {
        assert_eq!(exchanges.run(), StatusCode::OK, "{name}");
        group.bench_function(name, |bencher| bencher.iter(|| exchanges.run()));
        assert_eq!(exchanges.run(), StatusCode::OK, "{name}: still so after the last one");
    }
    let shared = one_rule_by_user();
    for threads in [1, 2] {
        group.bench_function(BenchmarkId::new("one rule", format!("{threads} threads")), |bencher| {
            bencher.iter_custom(|exchanges| together(&shared, threads, exchanges));
        });
    }
    group.finish();
}

/// How long `threads` threads take for `exchanges` exchanges together.
fn together(shared: &Exchanges, threads: u64, exchanges: u64) -> Duration {
    let each = exchanges.div_ceil(threads);
    let start = Barrier::new(usize::try_from(threads).unwrap_or(usize::MAX) + 1);
    thread::scope(|scope| {
        for number in 0..threads {
            let (mut own, start) = (shared.beside(&format!("user-{number}")), &start);
            scope.spawn(move || {
                start.wait();
                assert!((0..each).all(|_| own.run() == StatusCode::OK));
            });
        }
        start.wait();
        Instant::now()
    })
    .elapsed()
}

criterion_group!(benches, policy);
criterion_main!(benches);
