//! What is left of capacity when more is asked than there is: first the peak of a closed loop, then an open loop at a
//! multiple of it.

use std::time::Duration;

use portcullis_e2e::gateway::Gateway;

use crate::origin::{self, Manner};
use crate::{Flags, cores, traffic};

/// The bounds: goodput as a share of the peak, and the slowest hundredth of what was admitted.
const GOODPUT: f64 = 0.8;
const P99: Duration = Duration::from_secs(1);
const REQUEST: &[u8] = b"GET /hello HTTP/1.1\r\nHost: app.test\r\nUser-Agent: overload/1\r\nAccept: */*\r\n\r\n";

pub(crate) fn run(flags: &mut Flags) -> bool {
    let connections: usize = flags.take("connections", 64);
    let lasts = Duration::from_secs(flags.take("seconds", 20));
    let factor: f64 = flags.take("factor", 2.0);
    let crowd: usize = flags.take("crowd", 2000);
    let manner = Manner {
        takes: Duration::from_millis(flags.take("origin-ms", 0)),
        slots: flags.take("origin-slots", 0),
    };
    flags.all_taken();
    let origin = origin::start(manner);
    let gateway = Gateway::start(&format!(
        "runtime: {{ threads: 1 }}\n\
         limits: {{ connections: 100000, connections_per_ip: 100000, connections_per_prefix: 100000, new_connections_per_ip: {{ rate: 100000/s }} }}\n\
         upstreams: {{ app: {{ servers: [\"{origin}\"] }} }}\n\
         sites: [{{ hosts: [\"*\"], routes: [{{ proxy: {{ upstream: app }} }}] }}]\n"
    ));
    cores::separate(gateway.pid());
    let runtime = crate::runtime();
    runtime.block_on(traffic::closed_loop(gateway.public, connections, REQUEST, lasts / 5));
    let calm = runtime.block_on(traffic::closed_loop(gateway.public, connections, REQUEST, lasts));
    let peak = rate(calm.good(), lasts);
    println!(
        "peak: {peak:.0} answers a second, p50 {:?}, p99 {:?}, {:?}, {} failed",
        calm.percentile(0.5),
        calm.percentile(0.99),
        calm.statuses,
        calm.failed
    );
    let flood = runtime.block_on(traffic::open_loop(gateway.public, peak * factor, crowd, REQUEST, lasts));
    let goodput = rate(flood.good(), lasts) / peak;
    let p99 = flood.percentile(0.99);
    println!(
        "at {factor} times the peak: goodput {:.0} % of it, p50 {:?}, p99 {p99:?} of what was admitted, {:?}, {} failed, {} not sent for want of connections",
        goodput * 100.0,
        flood.percentile(0.5),
        flood.statuses,
        flood.failed,
        flood.unsent
    );
    println!("resident: {} KiB", gateway.resident_kib());
    goodput >= GOODPUT && p99 <= P99
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn rate(count: u64, lasts: Duration) -> f64 {
    count as f64 / lasts.as_secs_f64()
}
