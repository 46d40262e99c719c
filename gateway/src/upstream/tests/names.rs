//! Names of servers: looked up in the background, kept when a look-up fails, rotated when there are many addresses.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use super::super::Outcome;
use super::super::resolve::{Lookup, resolve};
use super::super::server::MAX_ADDRESSES;
use super::*;

/// Answers in order; the last is repeated.
struct Script(Mutex<VecDeque<Result<Vec<&'static str>, &'static str>>>);

impl Lookup for Script {
    fn lookup<'a>(&'a self, _: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let mut answers = self.0.lock().unwrap();
        let answer = if answers.len() > 1 {
            answers.pop_front()
        } else {
            answers.front().cloned()
        };
        let answer = answer.unwrap().map_err(io::Error::other);
        let with_port = move |ip: &str| SocketAddr::new(ip.parse().unwrap(), port);
        Box::pin(async move { answer.map(|ips| ips.into_iter().map(with_port).collect()) })
    }
}

async fn look_up(upstream: &Upstream, answer: Result<Vec<&'static str>, &'static str>) {
    let script = Script(Mutex::new(VecDeque::from([answer])));
    resolve(&upstream.servers()[0], "app.internal", 80, &script, &Semaphore::new(1)).await;
}

fn named(shape: Value) -> Arc<Upstream> {
    let mut config = json!({ "servers": ["app.internal:80"] });
    config
        .as_object_mut()
        .unwrap()
        .extend(shape.as_object().unwrap().clone());
    app(config)
}

fn addresses(upstream: &Upstream) -> Vec<String> {
    upstream.status().servers[0]
        .addresses
        .iter()
        .map(|address| address.address.clone())
        .collect()
}

#[tokio::test]
async fn before_the_first_look_up_there_is_nothing_to_choose() {
    let upstream = named(json!({}));
    assert!(upstream.select(Choice::default()).is_none());
    let status = upstream.status();
    assert_eq!(
        (status.healthy, status.servers[0].reason.as_deref()),
        (false, Some("not resolved yet"))
    );
    look_up(&upstream, Err("SERVFAIL")).await;
    assert!(upstream.select(Choice::default()).is_none());
    assert_eq!(
        upstream.status().servers[0].reason.as_deref(),
        Some("look-up failed: SERVFAIL")
    );
    look_up(&upstream, Ok(vec!["10.1.0.1"])).await;
    assert_eq!(pick(&upstream).address().to_string(), "10.1.0.1:80");
    assert_eq!(upstream.status().servers[0].reason, None);
}

#[tokio::test]
async fn another_server_serves_meanwhile() {
    let upstream = app(json!({ "servers": ["app.internal:80", "10.0.0.2:80"] }));
    assert_eq!(shares(&upstream, 10, |_| None), [0, 10]);
    look_up(&upstream, Ok(vec!["10.1.0.1"])).await;
    assert_eq!(shares(&upstream, 10, |_| None), [5, 5]);
}

#[tokio::test]
async fn a_failed_look_up_keeps_what_is_known() {
    let upstream = named(json!({}));
    look_up(&upstream, Ok(vec!["10.1.0.1"])).await;
    for answer in [Err("timed out"), Ok(vec![])] {
        look_up(&upstream, answer).await;
        assert_eq!(addresses(&upstream), ["10.1.0.1:80"]);
    }
    assert_eq!(upstream.status().servers[0].totals.lookups_failed, 2);
    assert!(upstream.status().servers[0].healthy);
}

#[tokio::test]
async fn addresses_take_turns_and_keep_their_health() {
    let upstream = named(json!({ "health": quick_health() }));
    look_up(&upstream, Ok(vec!["10.1.0.1", "10.1.0.2", "10.1.0.2", "10.1.0.3"])).await;
    let turns = || {
        let mut seen: Vec<_> = (0..6).map(|_| pick(&upstream).address().to_string()).collect();
        seen.sort();
        seen
    };
    assert_eq!(
        turns().join(" "),
        "10.1.0.1:80 10.1.0.1:80 10.1.0.2:80 10.1.0.2:80 10.1.0.3:80 10.1.0.3:80"
    );
    set_health(&upstream, 0, false);
    assert!(!turns().contains(&"10.1.0.1:80".to_owned()));
    look_up(&upstream, Ok(vec!["10.1.0.4", "10.1.0.1"])).await;
    assert_eq!(turns(), ["10.1.0.4:80"; 6], "10.1.0.1 was unhealthy and still is");
}

#[tokio::test]
async fn a_retry_goes_to_another_address() {
    let upstream = named(json!({ "passive_health": { "failures": 0 } }));
    look_up(&upstream, Ok(vec!["10.1.0.1", "10.1.0.2"])).await;
    for _ in 0..20 {
        let first = pick(&upstream);
        first.report(Outcome::ConnectError);
        // Others take their turns in between.
        let other = pick(&upstream);
        other.report(Outcome::Ok);
        let second = upstream
            .select(Choice {
                hash: None,
                tried: &[0],
            })
            .unwrap();
        assert_ne!(first.address(), second.address());
        second.report(Outcome::Ok);
        pick(&upstream).report(Outcome::Ok);
    }
}

#[tokio::test]
async fn a_name_server_cannot_fill_the_memory() {
    let upstream = named(json!({}));
    let flood: Vec<SocketAddr> = (0..1_000_u16)
        .map(|n| SocketAddr::from(([10, 2, n.to_be_bytes()[0], n.to_be_bytes()[1]], 80)))
        .collect();
    upstream.servers()[0].state.set_addresses(&flood);
    assert_eq!(addresses(&upstream).len(), MAX_ADDRESSES);
}

#[tokio::test]
async fn addresses_outlive_a_reload() {
    let config = json!({ "app": { "servers": ["app.internal:80"] } });
    let first = compile(config.clone());
    look_up(&only(&first), Ok(vec!["10.1.0.1"])).await;
    let second = try_compile(config, &first).unwrap();
    assert_eq!(pick(&only(&second)).address().to_string(), "10.1.0.1:80");
}

// The whole way, with the resolver of the machine: look-up, then a check of what it found.
#[tokio::test]
async fn localhost() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = format!("localhost:{}", address.port());
    let upstreams = compile(json!({ "app": { "servers": [server] } }));
    let (upstream, _tasks, _stop) = checks::watch(upstreams);
    eventually("resolved", || upstream.select(Choice::default()).is_some()).await;
    assert!(
        addresses(&upstream).contains(&address.to_string()),
        "{:?}",
        addresses(&upstream)
    );
}
