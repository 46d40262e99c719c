//! Finding the route of a request, among ten routes and among many: it must not matter how many there are.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use http::HeaderMap;
use portcullis_benches::routes::{Lookup, router};

fn route_match(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route_match");
    let headers = HeaderMap::new();
    for routes in [10, 1_000, 10_000] {
        let router = router(routes);
        for lookup in Lookup::kinds(routes) {
            lookup.prove(&router);
            let id = BenchmarkId::new(lookup.name, routes);
            group.bench_function(id, |bencher| bencher.iter(|| lookup.run(&router, &headers)));
        }
    }
    group.finish();
}

criterion_group!(benches, route_match);
criterion_main!(benches);
