//! More is asked than there is: of an upstream, of the gateway's workers, of its memory. Who is refused, what the refused are
//! told, and that everything is as before once it is over.

#![allow(clippy::expect_used, clippy::float_cmp)] // All of this is test code, which fails by panicking.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis_e2e::gateway::{Gateway, PATIENCE, wait};
use portcullis_e2e::h1::Connection;
use portcullis_e2e::origin::Origin;

/// An origin whose answers wait until they are let go.
struct Slow {
    origin: Origin,
    waiting: Arc<AtomicU64>,
    open: Arc<AtomicBool>,
}

impl Slow {
    fn start() -> Self {
        let (waiting, open) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, gate) = (Arc::clone(&waiting), Arc::clone(&open));
        let origin = Origin::with(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            wait("the origin to be let go", || gate.load(Ordering::SeqCst));
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec()
        });
        Self { origin, waiting, open }
    }

    fn wait_for(&self, count: u64) {
        wait("requests at the origin", || {
            self.waiting.load(Ordering::SeqCst) == count
        });
    }

    fn let_go(&self) {
        self.open.store(true, Ordering::SeqCst);
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: app.test\r\n\r\n")
}

fn gateway(origin: &Origin, upstream: &str, rest: &str) -> Gateway {
    Gateway::start(&format!(
        "limits: {{ connections: 100000, connections_per_ip: 100000, connections_per_prefix: 100000, new_connections_per_ip: {{ rate: 100000/s }} }}\n\
         {rest}\nupstreams: {{ app: {{ servers: [\"{}\"]{upstream} }} }}\n\
         sites:\n  - hosts: [app.test]\n    routes:\n      \
         - {{ match: {{ path: /vital }}, priority: critical, proxy: {{ upstream: app }} }}\n      \
         - {{ match: {{ path: /batch }}, priority: sheddable, proxy: {{ upstream: app }} }}\n      \
         - {{ proxy: {{ upstream: app }} }}\n",
        origin.address
    ))
}

/// Asks on a connection of its own, and gives the status and the reason once there is an answer.
fn ask(gateway: &Gateway, path: &'static str) -> std::thread::JoinHandle<(u16, Option<String>, String)> {
    let address = gateway.public;
    std::thread::spawn(move || {
        let mut connection = Connection::open(address);
        let answer = connection.ask(get(path)).expect("an answer");
        let retry_after = answer.header("retry-after").map(str::to_owned);
        let reason = if answer.status == 200 {
            String::new()
        } else {
            answer.reason()
        };
        (answer.status, retry_after, reason)
    })
}

#[test]
fn bounds_of_concurrency() {
    let slow = Slow::start();
    let gateway = gateway(&slow.origin, ", concurrency: { minimum: 2, maximum: 2 }", "");
    assert!((gateway.metric("portcullis_upstream_limit{upstream=\"app\"}") - 2.0).abs() < f64::EPSILON);
    let held = [ask(&gateway, "/a"), ask(&gateway, "/b")];
    slow.wait_for(2);
    let mut refused = Connection::open(gateway.public);
    let answer = refused.ask(get("/c")).expect("an answer");
    assert_eq!((answer.status, answer.reason().as_str()), (503, "upstream_overloaded"));
    let seconds: u32 = answer
        .header("retry-after")
        .expect("Retry-After")
        .parse()
        .expect("seconds");
    assert!((1..=3).contains(&seconds));
    slow.let_go();
    for held in held {
        assert_eq!(held.join().expect("an answer").0, 200);
    }
    // The connection is kept, and there is room again.
    assert_eq!(refused.ask(get("/c")).expect("an answer").status, 200);
    let log = gateway.access_log(4);
    assert!(
        log.iter()
            .any(|line| line["reason"] == "upstream_overloaded" && line["upstream"].is_null())
    );
    assert!(gateway.metric("portcullis_upstream_refused_total{upstream=\"app\"}") >= 1.0);
}

#[test]
fn minimum_of_concurrency() {
    let origin = Origin::start("ok");
    for (bounds, limit) in [("", 4096.0), (", concurrency: { minimum: 5000 }", 5000.0)] {
        let gateway = gateway(&origin, bounds, "");
        let seen = gateway.metric("portcullis_upstream_limit{upstream=\"app\"}");
        assert!((seen - limit).abs() < f64::EPSILON, "{bounds:?}: {seen}");
    }
}

#[test]
fn priorities() {
    let slow = Slow::start();
    let gateway = gateway(&slow.origin, ", concurrency: { minimum: 5, maximum: 5 }", "");
    let mut held: Vec<_> = (0..4).map(|_| ask(&gateway, "/a")).collect();
    slow.wait_for(4);
    let refused = |path| ask(&gateway, path).join().expect("an answer");
    assert_eq!(
        refused("/batch").2,
        "upstream_overloaded",
        "the least important ones leave room to others"
    );
    held.push(ask(&gateway, "/a"));
    slow.wait_for(5);
    assert_eq!(refused("/a").2, "upstream_overloaded");
    held.push(ask(&gateway, "/vital"));
    slow.wait_for(6);
    slow.let_go();
    for held in held {
        assert_eq!(held.join().expect("an answer").0, 200);
    }
    assert_eq!(refused("/batch").0, 200);
}

#[test]
fn the_learnt_limit_and_its_requests_outlive_a_reload() {
    let slow = Slow::start();
    let yaml = |name: &str| {
        format!(
            "upstreams: {{ app: {{ servers: [\"{}\"], concurrency: {{ minimum: 1, maximum: 1 }} }} }}\n\
             sites: [{{ hosts: [\"*\"], routes: [{{ name: {name}, proxy: {{ upstream: app }} }}] }}]\n",
            slow.origin.address
        )
    };
    let gateway = Gateway::start(&yaml("one"));
    let held = ask(&gateway, "/a");
    slow.wait_for(1);
    gateway.write_config(&yaml("two"));
    assert_eq!(gateway.reload().0, 200);
    assert_eq!(ask(&gateway, "/b").join().expect("an answer").2, "upstream_overloaded");
    slow.let_go();
    assert_eq!(held.join().expect("an answer").0, 200);
    assert_eq!(ask(&gateway, "/b").join().expect("an answer").0, 200);
}

/// Asks over many connections at once until `done` or the patience is over; gives the reasons of refusals.
fn crowd(gateway: &Gateway, clients: usize, requests: usize, path: &'static str) -> Vec<String> {
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let threads: Vec<_> = (0..clients)
        .map(|_| {
            let (address, reasons) = (gateway.public, Arc::clone(&reasons));
            std::thread::spawn(move || {
                let mut connection = Connection::open(address);
                for _ in 0..requests {
                    let answer = connection.ask(get(path)).expect("an answer");
                    if answer.status != 200 {
                        assert!(answer.header("retry-after").is_some());
                        reasons.lock().expect("the list").push(answer.reason());
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("a client");
    }
    std::mem::take(&mut reasons.lock().expect("the list"))
}

fn crowd_until_refused(gateway: &Gateway) {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let reasons = crowd(gateway, 48, 40, "/a");
        if !reasons.is_empty() {
            assert!(reasons.iter().all(|reason| reason == "overloaded"), "{reasons:?}");
            return;
        }
        assert!(std::time::Instant::now() < deadline, "nobody was refused");
    }
}

#[test]
fn without_critical_routes_nobody_looks_at_what_is_refused() {
    let origin = Origin::start("ok");
    let gateway = Gateway::start(&format!(
        "overload: {{ lag: 1ms }}\nruntime: {{ threads: 1 }}\nupstreams: {{ app: {{ servers: [\"{}\"] }} }}\n\
         sites: [{{ hosts: [\"*\"], routes: [{{ proxy: {{ upstream: app }} }}] }}]\n",
        origin.address
    ));
    crowd_until_refused(&gateway);
    let refused = gateway.metric("portcullis_shed_total{reason=\"overloaded\"}");
    assert!(refused >= 1.0);
    // They are counted, and leave no line.
    let answered = gateway.metric("portcullis_requests_total{listener=\"public\",route=\"*\",status_class=\"5xx\"}");
    assert!(answered < refused, "{answered} {refused}");
}

#[test]
fn lag() {
    let origin = Origin::start("ok");
    let gateway = gateway(&origin, "", "overload: { lag: 0s }\nruntime: { threads: 1 }");
    assert_eq!(crowd(&gateway, 48, 20, "/a"), Vec::<String>::new(), "switched off");

    // So little that a crowd makes every request wait longer.
    let text = std::fs::read_to_string(gateway.path("portcullis.yaml")).expect("the configuration");
    std::fs::write(gateway.path("portcullis.yaml"), text.replace("lag: 0s", "lag: 1ms")).expect("the configuration");
    assert_eq!(gateway.reload().0, 200);
    crowd_until_refused(&gateway);
    assert!(gateway.metric("portcullis_shed_total{reason=\"overloaded\"}") >= 1.0);
    assert_eq!(crowd(&gateway, 48, 20, "/vital"), Vec::<String>::new(), "never refused");
    // Whoever comes alone is served again, soon.
    let mut connection = Connection::open(gateway.public);
    wait("the crowd to be forgotten", || {
        std::thread::sleep(Duration::from_millis(50));
        connection.ask(get("/a")).is_some_and(|answer| answer.status == 200)
    });
    let (status, _) = gateway.admin("GET", "/readyz", "");
    assert_eq!(status, 200);
}

#[test]
fn memory() {
    let origin = Origin::start("ok");
    let gateway = gateway(&origin, "", "overload: { memory: 0B }");
    let set = |memory: &str, now: &str| {
        let path = gateway.path("portcullis.yaml");
        let text = std::fs::read_to_string(&path).expect("the configuration");
        std::fs::write(&path, text.replace(memory, now)).expect("the configuration");
        assert_eq!(gateway.reload().0, 200);
    };
    let pressure = || gateway.metric("portcullis_memory_pressure");
    let mut idle = Connection::open(gateway.public);
    assert_eq!(idle.ask(get("/a")).expect("an answer").status, 200);
    let mut begun = Connection::open(gateway.public);
    begun.send("GET /a HTTP/1.1\r\n");
    let mut vital = Connection::open(gateway.public);
    vital.send("GET /vital HTTP/1.1\r\n");
    wait("what was sent", || {
        gateway.metric("portcullis_connections{listener=\"public\"}") >= 3.0
    });
    std::thread::sleep(Duration::from_millis(200));

    // Less than the process needs.
    set("memory: 0B", "memory: 16MiB");
    wait("pressure", || pressure() >= 2.0);
    assert!(idle.is_closed(), "who waits for nothing goes");
    assert!(
        Connection::open(gateway.public).is_closed(),
        "who is new does not come in"
    );
    let answer = begun.ask("Host: app.test\r\n\r\n").expect("an answer");
    assert_eq!((answer.status, answer.reason().as_str()), (503, "memory_low"));
    assert_eq!(vital.ask("Host: app.test\r\n\r\n").expect("an answer").status, 200);
    let (status, body) = gateway.admin("GET", "/readyz", "");
    assert!(status == 200 && body.contains("\"memory_low\""), "{status} {body}");
    assert!(gateway.metric("portcullis_connections_refused_total{listener=\"public\",reason=\"memory_low\"}") >= 1.0);

    set("memory: 16MiB", "memory: 0B");
    wait("no pressure", || pressure() == 0.0);
    assert_eq!(ask(&gateway, "/a").join().expect("an answer").0, 200);
}

#[test]
fn a_crowd_stays_below_the_ceiling() {
    let origin = Origin::start("ok");
    let gateway = gateway(&origin, "", "overload: { memory: 0B }");
    assert_eq!(ask(&gateway, "/a").join().expect("an answer").0, 200);
    let ceiling_mib = gateway.resident_kib() / 1024 + 24;
    let path = gateway.path("portcullis.yaml");
    let text = std::fs::read_to_string(&path).expect("the configuration");
    std::fs::write(&path, text.replace("memory: 0B", &format!("memory: {ceiling_mib}MiB"))).expect("the configuration");
    assert_eq!(gateway.reload().0, 200);

    // Each holds its header back, so that it cannot be sent away as one that waits for nothing.
    let mut crowd = Vec::new();
    for _ in 0..3000 {
        let mut connection = Connection::open(gateway.public);
        connection.send("GET /a HTTP/1.1\r\nX: ");
        crowd.push(connection);
        if gateway.metric("portcullis_memory_pressure") > 0.0 {
            break;
        }
    }
    wait("pressure", || gateway.metric("portcullis_memory_pressure") > 0.0);
    assert!(Connection::open(gateway.public).is_closed());
    assert!(
        gateway.resident_kib() < ceiling_mib * 1024,
        "{} KiB",
        gateway.resident_kib()
    );
    drop(crowd);
    wait("no pressure", || gateway.metric("portcullis_memory_pressure") == 0.0);
    assert_eq!(ask(&gateway, "/a").join().expect("an answer").0, 200);
}
