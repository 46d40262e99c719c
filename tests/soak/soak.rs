//! Half capacity for a long time, with everything that leaves memory behind where somebody forgets it: new connections,
//! aborted requests, refusals, slow clients, reloads.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use portcullis_e2e::gateway::Gateway;

use crate::origin::{self, Manner};
use crate::resident::Resident;
use crate::traffic::{self, Client, Tally};
use crate::{Flags, cores};

/// The bounds: MiB in ten minutes, and which share of the requests may have found no free connection; with more of them it
/// was not half of capacity.
const SLOPE: f64 = 1.0;
const UNSENT: f64 = 0.01;
const RELOAD_EVERY: Duration = Duration::from_secs(10);
const REQUEST: &[u8] = b"GET /hello HTTP/1.1\r\nHost: app.test\r\nUser-Agent: soak/1\r\nAccept: */*\r\n\r\n";
const NOWHERE: &[u8] = b"GET /nowhere HTTP/1.1\r\nHost: app.test\r\n\r\n";
const LAST: &[u8] = b"GET /hello HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n";
const UPLOAD: &[u8] = b"POST /hello HTTP/1.1\r\nHost: app.test\r\nContent-Length: 20\r\n\r\n0123456789abcdefghij";
const HALF_UPLOAD: &[u8] = b"POST /hello HTTP/1.1\r\nHost: app.test\r\nContent-Length: 2000\r\n\r\n0123456789";

pub(crate) fn run(flags: &mut Flags) -> bool {
    let lasts = Duration::from_secs(flags.take("seconds", 1200));
    let share: f64 = flags.take("share", 0.5);
    let connections: usize = flags.take("connections", 64);
    flags.all_taken();
    let origin = origin::start(Manner {
        takes: Duration::ZERO,
        slots: 0,
    });
    let gateway = Gateway::start(&yaml(origin, 0));
    cores::separate(gateway.pid());
    let runtime = crate::runtime();
    let measured = Duration::from_secs(10).min(lasts / 5);
    let calm = runtime.block_on(traffic::closed_loop(gateway.public, connections, REQUEST, measured));
    #[expect(clippy::cast_precision_loss, reason = "a count of answers")]
    let rate = calm.good() as f64 / measured.as_secs_f64() * share;
    println!("load: {rate:.0} requests a second, beside churn, aborts, 4xx and slow clients, for {lasts:?}");
    let watch = std::thread::scope(|scope| {
        let watch = scope.spawn(|| watch(&gateway, origin, lasts));
        let tally = runtime.block_on(async {
            let local = tokio::task::LocalSet::new();
            for kind in 0..20 {
                local.spawn_local(misbehave(gateway.public, kind, Instant::now() + lasts));
            }
            let load = traffic::open_loop(gateway.public, rate, 1000, REQUEST, lasts);
            local.run_until(load).await
        });
        report(&tally);
        (watch.join().expect("the watch"), wrong(&tally), unsent(&tally))
    });
    let ((resident, refused_reloads), wrong, unsent) = watch;
    resident.print();
    let slope = resident.slope(lasts / 4);
    println!(
        "slope after warm-up: {} MiB in 10 minutes (bound {SLOPE}); reloads refused: {refused_reloads}; answers that were wrong: {wrong}; not sent: {:.1} %",
        slope.map_or_else(|| "too few samples".to_owned(), |slope| format!("{slope:+.2}")),
        unsent * 100.0
    );
    slope.is_some_and(|slope| slope < SLOPE) && refused_reloads == 0 && wrong == 0 && unsent <= UNSENT
}

/// The same gateway, with something in it that changes from reload to reload.
fn yaml(origin: SocketAddr, generation: u64) -> String {
    format!(
        "runtime: {{ threads: 1 }}\n\
         limits: {{ connections: 100000, connections_per_ip: 100000, connections_per_prefix: 100000, new_connections_per_ip: {{ rate: 100000/s }}, header_timeout: 5s, keepalive_timeout: {}s }}\n\
         upstreams: {{ app: {{ servers: [\"{origin}\"] }} }}\n\
         sites:\n  - hosts: [app.test]\n    filters: [{{ headers: {{ response: {{ set: {{ X-Generation: \"{generation}\" }} }} }} }}]\n    \
         routes: [{{ match: {{ path: /hello }}, proxy: {{ upstream: app }} }}]\n",
        60 + generation % 2
    )
}

/// Looks at the memory and reloads, for as long as the load lasts.
fn watch(gateway: &Gateway, origin: SocketAddr, lasts: Duration) -> (Resident, u64) {
    let mut resident = Resident::new();
    let (began, mut generation, mut refused) = (Instant::now(), 0, 0);
    while began.elapsed() < lasts {
        std::thread::sleep(RELOAD_EVERY.min(lasts / 40));
        resident.add(gateway.resident_kib());
        if began.elapsed() > RELOAD_EVERY * u32::try_from(generation + 1).unwrap_or(u32::MAX) {
            generation += 1;
            gateway.write_config(&yaml(origin, generation));
            let (status, body) = gateway.reload();
            if status != 200 {
                println!("reload {generation}: {status} {body}");
                refused += 1;
            }
        }
    }
    (resident, refused)
}

/// A client of one of the kinds that leave something behind, again and again.
async fn misbehave(address: SocketAddr, kind: u32, until: Instant) {
    while Instant::now() < until {
        // What becomes of it is not the point.
        let _ = once(address, kind % 5).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn once(address: SocketAddr, kind: u32) -> io::Result<()> {
    let mut client = Client::connect(address).await?;
    match kind {
        // Churn: a connection for a request.
        0 => client.ask(LAST).await.map(drop),
        // Gone before the answer, and in the middle of a body.
        1 => client.send(REQUEST).await,
        2 => {
            client.send(HALF_UPLOAD).await?;
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok(())
        }
        // Refusals.
        3 => {
            client.ask(NOWHERE).await?;
            client.ask(UPLOAD).await?;
            client.ask(b"GET /hello HTTP/1.1\r\nHost: a b\r\n\r\n").await.map(drop)
        }
        // Slow: until it is cut off.
        _ => {
            for byte in REQUEST.chunks(1) {
                client.send(byte).await?;
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Ok(())
        }
    }
}

fn report(tally: &Tally) {
    println!(
        "answers: {:?}, p50 {:?}, p99 {:?}; {} failed, {} not sent for want of connections",
        tally.statuses,
        tally.percentile(0.5),
        tally.percentile(0.99),
        tally.failed,
        tally.unsent
    );
}

/// Everything that is no 200: nothing of the main load may fail at half capacity.
fn wrong(tally: &Tally) -> u64 {
    let others = tally.statuses.iter().filter(|(status, _)| **status != 200);
    others.map(|(_, count)| count).sum::<u64>() + tally.failed
}

/// Which share of the main load found no free connection.
#[expect(clippy::cast_precision_loss, reason = "a share of a count")]
fn unsent(tally: &Tally) -> f64 {
    let asked = tally.statuses.values().sum::<u64>() + tally.failed + tally.unsent;
    tally.unsent as f64 / asked.max(1) as f64
}
