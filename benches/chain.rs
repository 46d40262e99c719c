//! A whole exchange through a chain: request phase, receipts, response phase, log. Without sockets and without the upstream.

use criterion::{Criterion, criterion_group, criterion_main};
use http::StatusCode;
use portcullis_benches::chain::Exchanges;

fn chain(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("chain");
    for (name, mut exchanges, status) in [
        ("gate only", Exchanges::bare(), StatusCode::OK),
        ("eight filters", Exchanges::eight(), StatusCode::OK),
        ("refused by the second", Exchanges::refused(), StatusCode::FORBIDDEN),
    ] {
        assert_eq!(exchanges.run(), status, "{name}");
        group.bench_function(name, |bencher| bencher.iter(|| exchanges.run()));
        assert_eq!(exchanges.run(), status, "{name}: still so after the last one");
    }
    group.finish();
}

criterion_group!(benches, chain);
criterion_main!(benches);
