//! Taking a token: from one bucket that everybody wants, from one of a million and of ten million. Time is that of one take, whichever
//! thread does it; with two threads that do not hinder each other it is half of what it is with one.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use portcullis_benches::tables::{Filled, key};

fn token_bucket(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("token_bucket");
    group.throughput(Throughput::Elements(1));
    for keys in [1, 1_000_000, 10_000_000] {
        let filled = Filled::of(keys);
        for threads in [1, 2] {
            let id = BenchmarkId::new(format!("{threads} threads"), format!("{keys} keys"));
            group.bench_function(id, |bencher| {
                let mut begin = 0;
                bencher.iter_custom(|takes| {
                    begin += usize::try_from(takes).unwrap_or_default();
                    shared(&filled, threads, begin, takes)
                });
            });
        }
    }
    group.finish();
    criterion.bench_function("token_bucket/key", |bencher| {
        let mut number = 0_u32;
        bencher.iter(|| {
            number = number.wrapping_add(1);
            key(number)
        });
    });
}

/// How long it takes `threads` threads to take `takes` times together, each from keys of its own if there are enough.
fn shared(filled: &Filled, threads: usize, begin: usize, takes: u64) -> Duration {
    let each = takes.div_ceil(threads as u64);
    let start = Barrier::new(threads + 1);
    thread::scope(|scope| {
        for number in 0..threads {
            let (begin, start) = (begin + filled.len() / threads * number, &start);
            scope.spawn(move || {
                start.wait();
                let allowed = filled.take(begin, each);
                assert_eq!(allowed, each, "nothing was refused");
            });
        }
        start.wait();
        Instant::now()
    })
    .elapsed()
}

criterion_group!(benches, token_bucket);
criterion_main!(benches);
