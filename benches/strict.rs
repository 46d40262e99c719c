//! What the strict reader of HTTP/1 costs a request: its header in one piece, and bodies.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use portcullis::strict::{Compat, Rules, Scanner};

const RULES: Rules = Rules {
    header_bytes: 32 << 10,
    fields: 100,
    compat: Compat::NONE,
};

/// What a browser sends: 16 fields.
const BROWSER: &str = "GET /api/v1/orders?page=2&size=50 HTTP/1.1\r\n\
    Host: shop.example.com\r\n\
    Connection: keep-alive\r\n\
    Cache-Control: max-age=0\r\n\
    sec-ch-ua: \"Chromium\";v=\"130\", \"Not?A_Brand\";v=\"99\"\r\n\
    sec-ch-ua-mobile: ?0\r\n\
    sec-ch-ua-platform: \"Linux\"\r\n\
    Upgrade-Insecure-Requests: 1\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Sec-Fetch-Site: same-origin\r\n\
    Sec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-Dest: document\r\n\
    Referer: https://shop.example.com/api/v1/orders\r\n\
    Accept-Encoding: gzip, deflate, br\r\n\
    Accept-Language: en-GB,en;q=0.9\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\r\n";

/// What a load generator sends.
const SHORT: &str = "GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";

fn heads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("strict_head");
    for (name, head) in [("two_fields", SHORT), ("sixteen_fields", BROWSER)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| Scanner::new(RULES).advance(std::hint::black_box(head.as_bytes())));
        });
    }
    group.finish();
}

fn bodies(criterion: &mut Criterion) {
    let data = "x".repeat(64 << 10);
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let length = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n";
    let chunks = format!("{:x}\r\n{data}\r\n", data.len());
    let mut group = criterion.benchmark_group("strict_body_64_kib");
    group.throughput(Throughput::Bytes(64 << 10));
    for (name, head, piece) in [("content_length", length, &data), ("chunked", chunked, &chunks)] {
        let in_body = || {
            let mut scanner = Scanner::new(RULES);
            let _ = scanner.advance(head.as_bytes());
            scanner
        };
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(in_body, |scanner| scanner.advance(piece.as_bytes()), BatchSize::SmallInput);
        });
    }
    group.finish();
}

criterion_group!(benches, heads, bodies);
criterion_main!(benches);
