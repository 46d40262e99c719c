//! Active checks against real servers on loopback: what is sent, what counts, rows, and the end of the tasks.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::super::{Background, spawn_background};
use super::*;

/// A server whose answer can be changed. Status 0: it never answers; 1: it hangs up.
struct Origin {
    address: SocketAddr,
    status: Arc<AtomicU16>,
    asked: Arc<AtomicUsize>,
    last: Arc<Mutex<String>>,
}

impl Origin {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (status, asked, last) = (Arc::new(AtomicU16::new(200)), Arc::default(), Arc::default());
        let origin = Self {
            address,
            status,
            asked,
            last,
        };
        let (status, asked, last) = (
            Arc::clone(&origin.status),
            Arc::clone(&origin.asked),
            Arc::clone(&origin.last),
        );
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                asked.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(answer(stream, status.load(Ordering::SeqCst), Arc::clone(&last)));
            }
        });
        origin
    }

    fn last(&self) -> String {
        self.last.lock().unwrap().clone()
    }

    fn set(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }
}

async fn answer(mut stream: TcpStream, status: u16, last: Arc<Mutex<String>>) {
    let mut seen = vec![0; 4096];
    let read = stream.read(&mut seen).await.unwrap_or(0);
    *last.lock().unwrap() = String::from_utf8_lossy(&seen[..read]).into_owned();
    match status {
        0 => std::future::pending().await,
        1 => {}
        _ => {
            let answer = format!("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 {status} Text\r\nContent-Length: 0\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    }
}

/// Starts the tasks behind the only upstream.
pub(super) fn watch(upstreams: Upstreams) -> (Arc<Upstream>, Background, watch::Sender<bool>) {
    let (stop, stopped) = watch::channel(false);
    let upstream = only(&upstreams);
    (upstream, spawn_background(Arc::new(upstreams), stopped), stop)
}

fn app_at(address: SocketAddr, health: Value) -> Upstreams {
    compile(json!({ "app": { "servers": [address.to_string(), "127.0.0.1:9"], "health": health } }))
}

fn reason(upstream: &Upstream) -> String {
    upstream.status().servers[0].reason.clone().unwrap_or_default()
}

#[tokio::test]
async fn a_server_goes_and_comes_back() {
    let origin = Origin::start().await;
    let (upstream, _tasks, _stop) = watch(app_at(origin.address, quick_health()));
    eventually("checked", || verdict(&upstream, 0) == Verdict::Up).await;
    eventually("the dead one is out", || verdict(&upstream, 1) == Verdict::Down).await;
    assert_eq!(shares(&upstream, 10, |_| None), [10, 0]);
    for (status, expected) in [
        (503, "status 503"),
        (302, "status 302"),
        (0, "no answer within 500 ms"),
        (1, "closed before a status"),
    ] {
        origin.set(status);
        eventually("it goes", || verdict(&upstream, 0) == Verdict::Down).await;
        eventually(expected, || reason(&upstream).contains(expected)).await;
        origin.set(204);
        eventually("it comes back", || verdict(&upstream, 0) == Verdict::Up).await;
    }
    let totals = upstream.status().servers[0].totals;
    assert_eq!((totals.became_unhealthy, totals.became_healthy), (4, 4));
    assert!(totals.checks_failed >= 8, "{totals:?}");
}

#[tokio::test]
async fn the_request_is_what_the_configuration_says() {
    let origin = Origin::start().await;
    let mut health = quick_health();
    let (_, _tasks, _stop) = watch(app_at(origin.address, health.clone()));
    eventually("asked", || !origin.last().is_empty()).await;
    let seen = origin.last();
    assert!(seen.starts_with("GET /healthz HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains(&format!("\r\nHost: {}\r\n", origin.address)), "{seen}");
    health["host"] = json!("app.internal");
    health["path"] = json!("/ready?deep=1");
    let (_, _tasks, _stop) = watch(app_at(origin.address, health));
    eventually("asked otherwise", || {
        origin.last().starts_with("GET /ready?deep=1 HTTP/1.1\r\n")
    })
    .await;
    assert!(origin.last().contains("\r\nHost: app.internal\r\n"));
}

#[tokio::test]
async fn statuses_can_be_chosen() {
    let origin = Origin::start().await;
    origin.set(418);
    let mut health = quick_health();
    health["statuses"] = json!([418]);
    let (upstream, _tasks, _stop) = watch(app_at(origin.address, health));
    eventually("healthy", || verdict(&upstream, 0) == Verdict::Up).await;
}

#[tokio::test]
async fn tasks_end_with_their_snapshot_and_with_a_shutdown() {
    let origin = Origin::start().await;
    for end_by_shutdown in [true, false] {
        let (upstream, tasks, stop) = watch(app_at(origin.address, quick_health()));
        eventually("checked", || verdict(&upstream, 0) == Verdict::Up).await;
        if end_by_shutdown {
            stop.send(true).unwrap();
        } else {
            drop(tasks);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        let asked = origin.asked.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert_eq!(origin.asked.load(Ordering::SeqCst), asked);
    }
}

#[tokio::test]
async fn health_outlives_a_reload() {
    let origin = Origin::start().await;
    let config = json!({ "app": { "servers": [origin.address.to_string(), "127.0.0.1:9"], "health": quick_health() } });
    let first = compile(config.clone());
    let second = try_compile(config, &first).unwrap();
    let (upstream, tasks, _stop) = watch(first);
    eventually("checked", || verdict(&upstream, 1) == Verdict::Down).await;
    drop(tasks);
    assert_eq!(verdict(&only(&second), 1), Verdict::Down);
    assert_eq!(shares(&only(&second), 10, |_| None), [10, 0]);
}

#[tokio::test]
async fn without_checks_an_old_verdict_is_forgotten() {
    let first = compile(json!({ "app": { "servers": servers(&[1]), "health": quick_health() } }));
    set_health(&only(&first), 0, false);
    let second = try_compile(json!({ "app": { "servers": servers(&[1]) } }), &first).unwrap();
    let (upstream, _tasks, _stop) = watch(second);
    eventually("forgotten", || verdict(&upstream, 0) == Verdict::Unknown).await;
}

#[tokio::test]
async fn rows_are_as_long_as_configured() {
    let origin = Origin::start().await;
    let mut health = quick_health();
    (health["unhealthy_after"], health["healthy_after"]) = (json!(4), json!(3));
    let (upstream, _tasks, _stop) = watch(app_at(origin.address, health));
    eventually("checked", || verdict(&upstream, 0) == Verdict::Up).await;
    origin.set(500);
    eventually("it goes", || verdict(&upstream, 0) == Verdict::Down).await;
    assert_eq!(upstream.status().servers[0].totals.checks_failed, 4);
    let asked = origin.asked.load(Ordering::SeqCst);
    origin.set(200);
    eventually("it comes back", || verdict(&upstream, 0) == Verdict::Up).await;
    assert!(origin.asked.load(Ordering::SeqCst) >= asked + 3);
}

#[tokio::test]
async fn checks_keep_their_interval() {
    let origin = Origin::start().await;
    let mut health = quick_health();
    health["interval"] = json!("300ms");
    let (_, _tasks, _stop) = watch(app_at(origin.address, health));
    eventually("checked", || origin.asked.load(Ordering::SeqCst) == 1).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(origin.asked.load(Ordering::SeqCst), 1);
    eventually("checked again", || origin.asked.load(Ordering::SeqCst) == 2).await;
}
