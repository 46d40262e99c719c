//! A bundle from its bytes to what is in force (signature, strict parsing, compilation), and the swap that puts it there:
//! what readers of a snapshot feel of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use portcullis::snapshot::{BundleState, InForce, KillView};
use portcullis_benches::bundles::{Publisher, accept};

fn verify_and_compile(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bundle");
    let publisher = Publisher::new();
    let loader = publisher.loader();
    for policies in [10, 1_000, 100_000] {
        let bytes = publisher.sign(1, policies);
        let id = BenchmarkId::new("verify and compile", policies);
        if policies > 10_000 {
            group.sample_size(10).measurement_time(Duration::from_secs(20));
        }
        group.bench_function(id, |bencher| {
            // What was in force is dropped elsewhere, and measured below.
            bencher.iter_batched(|| (), |()| accept(&loader, &bytes), BatchSize::PerIteration);
        });
    }
    group.finish();
}

/// Reading the policy in force as every request does, alone and while another thread swaps two bundles back and forth.
fn swap(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("swap");
    let publisher = Publisher::new();
    let loader = publisher.loader();
    let in_force = |version| {
        let policies = accept(&loader, &publisher.sign(version, 100_000)).policies;
        Arc::new(InForce::new(
            BundleState::Loaded(Arc::new(policies)),
            None,
            KillView::default(),
        ))
    };
    let (one, other) = (in_force(1), in_force(2));
    let current = ArcSwap::new(Arc::clone(&one));
    group.bench_function("store", |bencher| {
        bencher.iter(|| {
            current.store(Arc::clone(&other));
            current.store(Arc::clone(&one));
        });
    });
    group.bench_function("load", |bencher| bencher.iter(|| current.load_full()));
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                current.store(Arc::clone(&other));
                current.store(Arc::clone(&one));
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        group.bench_function("load, swapped every millisecond", |bencher| {
            bencher.iter(|| current.load_full());
        });
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    group.sample_size(10);
    group.bench_function("drop of 100000 policies", |bencher| {
        let bytes = publisher.sign(1, 100_000);
        bencher.iter_custom(|times| {
            let mut took = Duration::ZERO;
            for _ in 0..times {
                let accepted = accept(&loader, &bytes);
                let begin = Instant::now();
                drop(accepted);
                took += begin.elapsed();
            }
            took
        });
    });
    group.finish();
}

criterion_group!(benches, verify_and_compile, swap);
criterion_main!(benches);
