//! Every key of `runtime`, the admin listener's address and `include`, with two values each. That no request is lost on
//! these ways is shown in `live` and not here.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use portcullis_e2e::gateway::{Builder, Gateway, ask, wait};
use portcullis_e2e::h1::{self, Answer, Connection};
use portcullis_e2e::origin::Origin;
use portcullis_e2e::ports;

const SITE: &str = "sites: [{ hosts: [\"*\"], routes: [{ respond: { status: 200, body: here } }] }]\n";

#[test]
fn threads() {
    for threads in [1, 4] {
        let gateway = Gateway::start(&format!("runtime: {{ threads: {threads} }}\n{SITE}"));
        // A thread has the name of the one that made it until it has its own.
        wait("as many threads as were asked for", || {
            let tasks = std::fs::read_dir(format!("/proc/{}/task", gateway.pid())).expect("its threads");
            let names = tasks
                .flatten()
                .map(|task| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default());
            names.filter(|name| name.trim() == "listener public").count() == threads
        });
    }
}

/// A request that stays in flight until it is released.
struct Held {
    origin: Origin,
    gate: Arc<(Mutex<bool>, Condvar)>,
    asking: Option<JoinHandle<Option<Answer>>>,
}

impl Held {
    fn new() -> Self {
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let closed = Arc::clone(&gate);
        let origin = Origin::with(move |_| {
            let mut open = closed.0.lock().expect("the gate");
            while !*open {
                open = closed.1.wait(open).expect("the gate");
            }
            b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nfinished".to_vec()
        });
        Self {
            origin,
            gate,
            asking: None,
        }
    }

    fn gateway(&mut self, runtime: &str) -> Gateway {
        let gateway = Gateway::start(&format!(
            "runtime: {{ {runtime} }}\nupstreams: {{ app: {{ servers: [\"{}\"], timeouts: {{ read: 1h }} }} }}\nsites: [{{ hosts: [\"*\"], routes: [{{ proxy: {{ upstream: app }} }}] }}]\n",
            self.origin.address
        ));
        let address = gateway.public;
        self.asking = Some(std::thread::spawn(move || {
            Connection::open(address).ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        }));
        wait("the request", || !self.origin.seen().is_empty());
        gateway
    }

    fn release(&mut self) -> Option<Answer> {
        *self.gate.0.lock().expect("the gate") = true;
        self.gate.1.notify_all();
        self.asking.take()?.join().expect("the client")
    }
}

fn refuses(gateway: &Gateway) -> bool {
    TcpStream::connect(gateway.public).is_err()
}

#[test]
fn drain_delay() {
    let mut gateway = Gateway::start(&format!("runtime: {{ drain_delay: 1h }}\n{SITE}"));
    gateway.signal("TERM");
    gateway.wait_for("/readyz", |status, body| status == 503 && body.contains("draining"));
    assert_eq!(h1::get(gateway.public, "a", "/", &[]).text(), "here", "while it drains");
    gateway.signal("TERM");
    assert!(gateway.wait_for_exit(), "a second signal ends the wait");

    let mut held = Held::new();
    let mut gateway = held.gateway("drain_delay: 0s, grace_period: 1h");
    gateway.signal("TERM");
    wait("the end of the listener", || refuses(&gateway));
    assert_eq!(held.release().expect("an answer").text(), "finished");
    assert!(gateway.wait_for_exit());
}

#[test]
fn grace_period() {
    let mut held = Held::new();
    let mut gateway = held.gateway("grace_period: 1s");
    gateway.signal("TERM");
    gateway.wait_for_exit();
    assert!(held.release().is_none(), "it was cut off");

    let mut held = Held::new();
    let mut gateway = held.gateway("grace_period: 1h");
    gateway.signal("TERM");
    wait("the end of the listener", || refuses(&gateway));
    // Longer than the other one's grace period.
    sleep(Duration::from_secs(3));
    assert_eq!(held.release().expect("an answer").text(), "finished");
    assert!(gateway.wait_for_exit());
}

#[test]
fn upgrade_socket() {
    let gateway = Gateway::start(SITE);
    gateway.signal("QUIT");
    wait("its word", || {
        gateway.log().contains("runtime.upgrade_socket is not set")
    });
    assert_eq!(h1::get(gateway.public, "a", "/", &[]).text(), "here", "it goes on");
    let refused = Builder::new(SITE).argument("--upgrade").start_expecting_refusal();
    assert!(refused.contains("runtime.upgrade_socket"), "{refused}");

    let mut gateway = Gateway::start(&format!(
        "runtime: {{ upgrade_socket: \"{{dir}}/upgrade.sock\" }}\n{SITE}"
    ));
    let before = gateway.pid();
    let mut old = gateway.upgrade();
    wait("the old process's end", || {
        old.try_wait().expect("the old process").is_some()
    });
    assert_ne!(gateway.pid(), before);
    gateway.wait_for("/-/status", |status, body| {
        status == 200 && body.contains(&format!("\"pid\":{}", gateway.pid()))
    });
    assert_eq!(h1::get(gateway.public, "a", "/", &[]).text(), "here");
}

#[test]
fn address_of_the_admin_listener() {
    let (one, other) = (ports::free(), ports::free());
    for (here, elsewhere) in [(one, other), (other, one)] {
        let gateway = Builder::new(&format!("admin: {{ address: \"{here}\" }}\n{SITE}")).start_without_waiting();
        wait("the admin listener", || {
            ask(here, "GET", "/livez", "").is_ok_and(|(status, _)| status == 200)
        });
        assert!(ask(elsewhere, "GET", "/livez", "").is_err());
        drop(gateway);
    }
}

#[test]
fn include() {
    let site = |host: &str| format!("sites: [{{ hosts: [{host}], routes: [{{ respond: {{ status: 200 }} }}] }}]\n");
    let main = |include: &str| format!("include: [{include}]\n{}", site("main.test"));
    let gateway = Builder::new(&main("\"team-*.yaml\""))
        .file("team-a.yaml", site("a.test"))
        .file("team-b.yaml", site("b.test"))
        .file("other.yaml", site("other.test"))
        .start();
    let hosts = ["main.test", "a.test", "b.test", "other.test"];
    let served = || hosts.map(|host| h1::get(gateway.public, host, "/", &[]).status == 200);
    assert_eq!(served(), [true, true, true, false]);
    for (include, expected) in [
        ("team-b.yaml, other.yaml", [true, false, true, true]),
        ("", [true, false, false, false]),
    ] {
        gateway.write_config(&main(include));
        let (status, body) = gateway.reload();
        assert_eq!(status, 200, "{body}");
        assert_eq!(served(), expected, "{include}");
    }
    // An included file is watched like the file that includes it.
    gateway.write_config(&main("team-a.yaml"));
    assert_eq!(gateway.reload().0, 200);
    std::fs::write(gateway.path("team-a.yaml"), site("b.test")).expect("another content");
    wait("the watcher's reload", || served() == [true, false, true, false]);
}
