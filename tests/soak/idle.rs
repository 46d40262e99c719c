//! How much memory a connection holds that has had its answer and waits, and how much stays when all have gone.

use std::time::Duration;

use portcullis_e2e::gateway::{Builder, Gateway};
use portcullis_e2e::tls::Authority;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Flags;
use crate::origin::{self, Manner};
use crate::wire::Reader;

/// The bounds: KiB for a connection, MiB that may stay.
const KIB_EACH: f64 = 24.0;
const MIB_LEFT: f64 = 20.0;
/// Freed memory goes back to the system after a second or so.
const SETTLE: Duration = Duration::from_secs(5);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: app.test\r\nUser-Agent: idle/1\r\nAccept: */*\r\n\r\n";

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

pub(crate) fn run(flags: &mut Flags) -> bool {
    let connections: usize = flags.take("connections", 4000);
    let cycles: usize = flags.take("cycles", 3);
    let tls = flags.take("tls", String::from("no")) == "yes";
    flags.all_taken();
    let origin = origin::start(Manner {
        takes: Duration::ZERO,
        slots: 0,
    });
    let authority = Authority::new();
    let gateway = start(origin, tls, &authority);
    crate::runtime().block_on(async {
        // What is set up once (threads, tables, connections upstream) belongs to the start.
        drop(open(&gateway, tls, &authority, 50).await);
        tokio::time::sleep(SETTLE).await;
        let start = gateway.resident_kib();
        println!("at the start: {}", mib(start));
        let mut most = 0.0_f64;
        let mut left = 0.0_f64;
        for cycle in 1..=cycles {
            let before = gateway.resident_kib();
            let held = open(&gateway, tls, &authority, connections).await;
            tokio::time::sleep(SETTLE).await;
            let with = gateway.resident_kib();
            drop(held);
            tokio::time::sleep(SETTLE).await;
            let after = gateway.resident_kib();
            let each = kib(with.saturating_sub(before)) / kib(connections as u64);
            most = most.max(each);
            left = (kib(after) - kib(start)) / 1024.0;
            println!(
                "cycle {cycle}: {connections} idle connections: {}, {each:.1} KiB each; all gone: {} ({left:+.1} MiB)",
                mib(with),
                mib(after)
            );
        }
        println!(
            "at most {most:.1} KiB each (bound {KIB_EACH}); {left:+.1} MiB after {cycles} cycles (bound {MIB_LEFT})"
        );
        most <= KIB_EACH && left <= MIB_LEFT
    })
}

fn start(origin: std::net::SocketAddr, tls: bool, authority: &Authority) -> Gateway {
    let listener = if tls {
        "listeners: [{ name: public, address: \"{public}\", tls: { certificates: [{ certificate: \"{dir}/app.crt\", key: \"{dir}/app.key\" }], alpn: [http/1.1] } }]\n"
    } else {
        ""
    };
    let builder = Builder::new(&format!(
        "{listener}limits: {{ connections: 100000, connections_per_ip: 100000, connections_per_prefix: 100000, new_connections_per_ip: {{ rate: 100000/s }}, keepalive_timeout: 10m }}\n\
         upstreams: {{ app: {{ servers: [\"{origin}\"] }} }}\n\
         sites: [{{ hosts: [\"*\"], routes: [{{ proxy: {{ upstream: app }} }}] }}]\n"
    ));
    authority.issue(builder.dir(), "app", &["app.test"]);
    builder.start()
}

/// Connections that have each had an answer.
async fn open(gateway: &Gateway, tls: bool, authority: &Authority, count: usize) -> Vec<Box<dyn Stream>> {
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        let mut stream: Box<dyn Stream> = if tls {
            let stream = authority.connect(gateway.public, "app.test", &["http/1.1"]).await;
            Box::new(stream.expect("a connection with TLS"))
        } else {
            Box::new(TcpStream::connect(gateway.public).await.expect("a connection"))
        };
        stream.write_all(REQUEST).await.expect("a request");
        let answer = Reader::default().message(&mut stream).await.expect("an answer");
        assert!(answer.status == 200 && !answer.closes, "answered {}", answer.status);
        held.push(stream);
    }
    held
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn kib(value: u64) -> f64 {
    value as f64
}

fn mib(value: u64) -> String {
    format!("{:.1} MiB", kib(value) / 1024.0)
}
