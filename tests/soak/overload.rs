//! What is left of capacity when more is asked than there is. In turns, because a machine is not as fast now as it was a moment
//! ago: a closed loop, which shows the peak, then an open loop at a multiple of it. The middle of all turns counts.

use std::time::Duration;

use portcullis_e2e::gateway::Gateway;

use crate::origin::{self, Manner};
use crate::traffic::Tally;
use crate::{Flags, cores, traffic};

/// The bounds: goodput as a share of the peak, and the slowest hundredth of what was admitted.
const GOODPUT: f64 = 0.8;
const P99: Duration = Duration::from_secs(1);
const REQUEST: &[u8] = b"GET /hello HTTP/1.1\r\nHost: app.test\r\nUser-Agent: overload/1\r\nAccept: */*\r\n\r\n";

/// What came of one turn.
struct Turn {
    /// Good answers a second at the peak, and as a share of it when more was asked.
    peak: f64,
    goodput: f64,
    p99: Duration,
}

pub(crate) fn run(flags: &mut Flags) -> bool {
    let connections: usize = flags.take("connections", 64);
    let lasts = Duration::from_secs(flags.take("seconds", 4));
    let turns: u32 = flags.take("turns", 9);
    let factor: f64 = flags.take("factor", 2.0);
    let crowd: usize = flags.take("crowd", 256);
    let neighbour: String = flags.take("neighbour", "yes".to_owned());
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
    // Otherwise those who ask are the first to have too much to do, and what is measured is them.
    let _neighbour = (neighbour != "no").then(cores::Neighbour::move_in);
    let runtime = crate::runtime();
    runtime.block_on(traffic::closed_loop(gateway.public, connections, REQUEST, lasts));
    let mut all = Vec::new();
    for _ in 0..turns.max(1) {
        let calm = runtime.block_on(traffic::closed_loop(gateway.public, connections, REQUEST, lasts));
        let peak = rate(calm.good(), lasts);
        let flood = runtime.block_on(traffic::open_loop(gateway.public, peak * factor, crowd, REQUEST, lasts));
        all.push(report(factor, lasts, &calm, &flood));
    }
    println!("resident: {} KiB", gateway.resident_kib());
    let goodput = middle(all.iter().map(|turn| turn.goodput));
    let p99 = middle(all.iter().map(|turn| turn.p99.as_secs_f64()));
    println!(
        "middle of {} turns: peak {:.0}/s; at {factor} times the peak goodput {:.0} % of it, p99 {:.0} ms",
        all.len(),
        middle(all.iter().map(|turn| turn.peak)),
        goodput * 100.0,
        p99 * 1000.0
    );
    goodput >= GOODPUT && p99 <= P99.as_secs_f64()
}

fn report(factor: f64, lasts: Duration, calm: &Tally, flood: &Tally) -> Turn {
    let turn = Turn {
        peak: rate(calm.good(), lasts),
        goodput: rate(flood.good(), lasts) / rate(calm.good(), lasts),
        p99: flood.percentile(0.99),
    };
    println!(
        "peak {:.0}/s, p99 {:?}, {} failed; at {factor} times that: goodput {:.0} % of it, p50 {:?}, p99 {:?}, {:?}, {} failed, {} not sent for want of connections",
        turn.peak,
        calm.percentile(0.99),
        calm.failed,
        turn.goodput * 100.0,
        flood.percentile(0.5),
        turn.p99,
        flood.statuses,
        flood.failed,
        flood.unsent
    );
    turn
}

/// The middle one, in order of size.
fn middle(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn rate(count: u64, lasts: Duration) -> f64 {
    count as f64 / lasts.as_secs_f64()
}
