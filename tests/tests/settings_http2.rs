//! Every key of `limits.h2`, with two values each.

use std::time::Duration;

use portcullis_e2e::gateway::{Gateway, wait};
use portcullis_e2e::origin::Origin;
use portcullis_e2e::siege::{Attacker, frame, get, post};

const PAUSE: Duration = Duration::from_millis(50);
const WHOLE: u8 = 5;

fn start(origin: &Origin, h2: &str) -> Gateway {
    Gateway::start(&format!(
        "listeners: [{{ name: public, address: \"{{public}}\", h2c: true }}]\nlimits: {{ h2: {{ {h2} }} }}\nupstreams: {{ app: {{ servers: [\"{}\"] }} }}\nsites: [{{ hosts: [\"*\"], routes: [{{ proxy: {{ upstream: app }} }}] }}]\n",
        origin.address
    ))
}

#[test]
fn streams() {
    let origin = Origin::start("ok");
    for most in [2, 5] {
        let gateway = start(&origin, &format!("streams: {most}"));
        let mut client = Attacker::http2(gateway.public, &[]);
        // The body is still to come, so all of them stay open.
        let opened: Vec<u8> = (0..8).flat_map(|n| frame(1, 4, n * 2 + 1, &post("/"))).collect();
        client.send(&opened);
        let refused = |client: &Attacker| client.frames().iter().filter(|(kind, ..)| *kind == 3).count();
        wait("refusals", || {
            client.is_open(PAUSE, 1 << 16) && refused(&client) == 8 - most
        });
    }
}

#[test]
fn resets() {
    let origin = Origin::start("ok");
    for (resets, cut) in [
        ("{ rate: 1/h, burst: 5 }", true),
        ("{ rate: 1/h, burst: 50 }", false),
        ("{ rate: 1000/s, burst: 5 }", false),
    ] {
        let gateway = start(&origin, &format!("resets: {resets}"));
        let mut client = Attacker::http2(gateway.public, &[]);
        let closed = (0..20).any(|n| {
            client.send(&frame(1, 4, n * 2 + 1, &post("/")));
            client.send(&frame(3, 0, n * 2 + 1, &[0, 0, 0, 8]));
            !client.is_open(PAUSE, 1 << 16)
        });
        assert_eq!(closed, cut, "{resets}");
        let series = "portcullis_connections_closed_total{listener=\"public\",reason=\"http2_resets\"}";
        wait(series, || (gateway.metric(series) >= 1.0) == cut);
    }
}

#[test]
fn response_buffer_bytes() {
    let large = vec![b'x'; 1 << 20];
    let origin = Origin::with(move |_| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", large.len());
        [head.as_bytes(), &large].concat()
    });
    for (size, all) in [("64KiB", false), ("1GiB", true)] {
        let gateway = start(&origin, &format!("response_buffer_bytes: {size}"));
        // Answers may begin, and never go on.
        let mut client = Attacker::http2(gateway.public, &[(4, 0)]);
        let requests: Vec<u8> = (0..100).flat_map(|n| frame(1, WHOLE, n * 2 + 1, &get("/"))).collect();
        client.send(&requests);
        let begun = |client: &Attacker| client.frames().iter().filter(|(kind, ..)| *kind == 1).count();
        let mut last = 0;
        wait("answers", || {
            client.is_open(Duration::from_secs(1), 1 << 16);
            let now = begun(&client);
            let settled = now == 100 || (now > 0 && now == last);
            last = now;
            settled
        });
        assert_eq!(last == 100, all, "{size}: {last} answers have begun");
    }
}
