//! Against providers that rotate, stall, fail and lie.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use portcullis_config::identity::Algorithm;
use portcullis_config::units::ByteSize;

use super::*;
use crate::http_client::stub::{Reply, Stub, answer, json};

/// RFC 8037, appendix A.2.
const KEY: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

fn jwks(kid: &str) -> String {
    format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","use":"sig","kid":"{kid}","x":"{KEY}"}}]}}"#)
}

fn clock() -> Now {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let elapsed = START.get_or_init(Instant::now).elapsed();
    let monotonic_ns = 1_000_000_000 + u64::try_from(elapsed.as_nanos()).unwrap();
    Now {
        monotonic_ns,
        unix_ms: Stamp::now().0,
    }
}

fn refresh(interval: &str, cooldown: &str) -> Refresh {
    Refresh {
        interval: interval.parse().unwrap(),
        cooldown: cooldown.parse().unwrap(),
        timeout: "1s".parse().unwrap(),
        max_bytes: ByteSize::kib(64),
        ..Refresh::default()
    }
}

/// One issuer.
struct Bench {
    identity: Identity,
    keys: Arc<KeySet>,
    issuers: BTreeMap<String, Issuer>,
}

impl Bench {
    fn new(url: &str, refresh: Refresh) -> Self {
        let issuer = Issuer {
            issuer: "https://id.example.com/".into(),
            jwks_url: Some(url.into()),
            hmac: Vec::new(),
            ca: None,
            algorithms: vec![Algorithm::EdDSA],
            audiences: vec!["api".into()],
            types: None,
            leeway: portcullis_config::units::Duration::from_secs(30),
            refresh,
        };
        let keys = Arc::new(KeySet::new(KeySource::of("main", &issuer)));
        let issuers = BTreeMap::from([("main".to_owned(), issuer)]);
        let bench = Self {
            identity: Identity::new(clock),
            keys,
            issuers,
        };
        bench.apply();
        bench
    }

    fn apply(&self) {
        self.identity.keep([Arc::clone(&self.keys)].into_iter(), &self.issuers);
    }

    /// As a request with an unknown key id.
    async fn ask(&self) {
        let waiting = self.keys.refresh().expect("nobody can be asked");
        tokio::time::timeout(Duration::from_secs(20), waiting)
            .await
            .expect("nobody answers who asks");
    }

    fn kids(&self) -> Vec<String> {
        let keys = self.keys.status().keys;
        keys.map_or_else(Vec::new, |keys| keys.kids().flatten().map(str::to_owned).collect())
    }

    fn last_reason(&self) -> Option<String> {
        self.identity.status()[0]
            .last_error
            .as_ref()
            .map(|error| error.reason.clone())
    }
}

async fn until(what: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !what() {
        assert!(Instant::now() < end, "it never came");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn pause(ms: u64) -> tokio::time::Sleep {
    tokio::time::sleep(Duration::from_millis(ms))
}

#[tokio::test]
async fn at_the_start_and_from_time_to_time_with_a_validator() {
    let stub = Stub::start(|_, head| {
        let same = head.to_lowercase().contains("if-none-match: \"a\"");
        let fields = "Content-Type: application/jwk-set+json\r\nETag: \"a\"\r\n";
        Reply::Bytes(if same {
            b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec()
        } else {
            answer("200 OK", fields, jwks("k1").as_bytes())
        })
    })
    .await;
    let bench = Bench::new(&stub.url("/jwks"), refresh("60ms", "20ms"));
    assert!(bench.kids().is_empty(), "nothing waits for the first fetch");
    until(|| stub.count() >= 3).await;
    assert_eq!(bench.kids(), ["k1"]);
    let heads = stub.requests();
    assert!(!heads[0].to_lowercase().contains("if-none-match"));
    assert!(
        heads[1..]
            .iter()
            .all(|head| head.to_lowercase().contains("if-none-match: \"a\""))
    );
    let mut out = Exposition::new();
    bench.identity.collect(&mut out);
    let text = out.render();
    assert!(
        text.contains("portcullis_jwks_fetches_total{issuer=\"main\",result=\"ok\"} 1\n"),
        "{text}"
    );
    assert!(text.contains("portcullis_jwks_keys{issuer=\"main\"} 1\n"));
    assert!(text.contains("portcullis_jwks_age_seconds{issuer=\"main\"} 0."));
}

const COOLDOWN: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_unknown_key_ids_are_one_fetch() {
    let stub = Stub::start(|_, _| json(&jwks("k1"))).await;
    let started = Instant::now();
    let bench = Arc::new(Bench::new(&stub.url("/jwks"), refresh("1h", "1s")));
    until(|| !bench.kids().is_empty()).await;
    // On a slow machine the asking itself may outlast a cooldown, and then another fetch is right.
    let allowed = |since: Instant| 1 + since.elapsed().as_millis() / COOLDOWN.as_millis();
    for _ in 0..10_000 {
        bench.ask().await;
    }
    assert!(
        stub.count() as u128 <= allowed(started),
        "within the cooldown nobody fetches"
    );
    pause(1050).await;
    let (before, started) = (stub.count(), Instant::now());
    let mut asking = JoinSet::new();
    for _ in 0..10_000 {
        let bench = Arc::clone(&bench);
        asking.spawn(async move { bench.ask().await });
    }
    asking.join_all().await;
    let fetches = stub.count() - before;
    assert!(fetches >= 1 && fetches as u128 <= allowed(started), "{fetches}");
    pause(1200).await;
    assert_eq!(stub.count(), before + fetches, "no fetch is left over");
}

#[tokio::test]
async fn the_cooldown_holds_however_the_asking_goes_on() {
    let stub = Stub::start(|_, _| json(&jwks("k1"))).await;
    let bench = Bench::new(&stub.url("/jwks"), refresh("1h", "100ms"));
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(1) {
        bench.ask().await;
        tokio::task::yield_now().await;
    }
    let (fetches, cooldowns) = (stub.count() as u128, started.elapsed().as_millis() / 100);
    assert!(
        fetches >= 2 && fetches <= 1 + cooldowns,
        "{fetches} fetches in {cooldowns} cooldowns"
    );
}

#[tokio::test]
async fn a_rotated_key_is_there_after_one_fetch() {
    let current = Arc::new(Mutex::new("k1"));
    let served = Arc::clone(&current);
    let stub = Stub::start(move |_, _| json(&jwks(served.lock().unwrap().as_ref()))).await;
    let bench = Bench::new(&stub.url("/jwks"), refresh("1h", "50ms"));
    until(|| bench.kids() == ["k1"]).await;
    *current.lock().unwrap() = "k2";
    pause(60).await;
    bench.ask().await;
    assert_eq!((bench.kids(), stub.count()), (vec!["k2".to_owned()], 2));
}

#[tokio::test]
async fn a_provider_that_is_down_at_the_start_is_found_later() {
    let address = Stub::start(|_, _| json("{}")).await.address;
    let bench = Bench::new(&format!("http://{address}/jwks"), refresh("1h", "50ms"));
    until(|| bench.last_reason().as_deref() == Some("connect")).await;
    assert!(bench.kids().is_empty());
    bench.ask().await;
    let _stub = Stub::bind(address, |_, _| json(&jwks("k1"))).await;
    until(|| bench.kids() == ["k1"]).await;
    until(|| bench.last_reason().is_none()).await;
}

type Bad = fn(&[Vec<u8>]) -> Reply;

#[tokio::test]
async fn bad_answers_leave_the_keys_as_they_are() {
    let html = answer("200 OK", "Content-Type: text/html\r\n", b"<html>Sign in</html>");
    let moved = answer("302 Found", "Location: http://127.0.0.1:1/evil\r\n", b"");
    let endless = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{".to_vec();
    let same = b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec();
    let bad: Vec<(Bad, &str)> = vec![
        (|bytes| Reply::Bytes(bytes[0].clone()), "content_type"),
        (|bytes| Reply::Bytes(bytes[1].clone()), "redirect"),
        (|bytes| Reply::Endless(bytes[2].clone()), "too_large"),
        (|bytes| Reply::Bytes(bytes[3].clone()), "status"),
        (|_| Reply::Silent, "timeout"),
        (
            |_| Reply::Drip(answer("200 OK", "", &[b' '; 200]), Duration::from_millis(10)),
            "timeout",
        ),
        (|_| json("{}"), "invalid"),
        (|_| json("{\"keys\":[]}"), "invalid"),
        (|_| json("not json"), "invalid"),
    ];
    let bytes = vec![html, moved, endless, same];
    let reasons: Vec<_> = bad.iter().map(|(_, reason)| *reason).collect();
    let turn = Arc::new(AtomicUsize::new(usize::MAX));
    let served = Arc::clone(&turn);
    let stub = Stub::start(move |n, _| match bad.get(served.load(SeqCst)) {
        Some((reply, _)) if n > 0 => reply(&bytes),
        _ => json(&jwks("k1")),
    })
    .await;
    let bench = Bench::new(&stub.url("/jwks"), refresh("1h", "10ms"));
    until(|| bench.kids() == ["k1"]).await;
    for (n, reason) in reasons.iter().enumerate() {
        turn.store(n, SeqCst);
        pause(15).await;
        bench.ask().await;
        assert_eq!(bench.last_reason().as_deref(), Some(*reason));
        assert_eq!(bench.kids(), ["k1"], "{reason}");
    }
    let failures = bench.keys.status();
    assert!(failures.failures >= reasons.len() as u64 && failures.last_error.is_some());
    turn.store(usize::MAX, SeqCst);
    pause(15).await;
    bench.ask().await;
    assert_eq!((bench.last_reason(), bench.keys.status().failures), (None, 0));
}

#[tokio::test]
async fn cache_control_is_bounded_both_ways() {
    for (value, often) in [("max-age=0", true), ("no-store", true), ("max-age=99999999999", false)] {
        let fields = format!("Content-Type: application/json\r\nCache-Control: {value}\r\n");
        let stub = Stub::start(move |_, _| Reply::Bytes(answer("200 OK", &fields, jwks("k").as_bytes()))).await;
        let _bench = Bench::new(&stub.url("/jwks"), refresh("1h", "50ms"));
        let started = Instant::now();
        pause(500).await;
        let (fetches, cooldowns) = (stub.count() as u128, started.elapsed().as_millis() / 50);
        let most = if often { 1 + cooldowns } else { 1 };
        assert!(fetches <= most && (fetches >= 2) == often, "{value}: {fetches}");
    }
    let fields = "Content-Type: application/json\r\nCache-Control: max-age=31536000\r\n";
    let stub = Stub::start(move |_, _| Reply::Bytes(answer("200 OK", fields, jwks("k").as_bytes()))).await;
    let _bench = Bench::new(&stub.url("/jwks"), refresh("50ms", "10ms"));
    until(|| stub.count() >= 3).await;
}

#[tokio::test]
async fn a_reload_fetches_nothing_and_what_is_gone_is_left_alone() {
    let stub = Stub::start(|_, _| json(&jwks("k1"))).await;
    let mut bench = Bench::new(&stub.url("/jwks"), refresh("1h", "10ms"));
    until(|| !bench.kids().is_empty()).await;
    for _ in 0..100 {
        bench.apply();
    }
    pause(50).await;
    assert_eq!(stub.count(), 1, "the same again");
    bench.issuers.get_mut("main").unwrap().refresh = refresh("80ms", "10ms");
    bench.apply();
    until(|| stub.count() >= 3).await;
    bench.identity.keep(std::iter::empty(), &bench.issuers);
    pause(20).await;
    let count = stub.count();
    bench.ask().await;
    pause(150).await;
    assert_eq!(stub.count(), count, "nobody uses it any more");
    assert!(bench.identity.status().is_empty());
    bench.issuers.get_mut("main").unwrap().refresh = refresh("1h", "10ms");
    bench.apply();
    pause(50).await;
    assert_eq!(
        (stub.count(), bench.kids()),
        (count, vec!["k1".to_owned()]),
        "its keys are still fresh"
    );
    pause(10).await;
    bench.ask().await;
    assert_eq!(stub.count(), count + 1);
}

#[tokio::test]
async fn who_waits_is_let_go_when_the_task_ends() {
    let stub = Stub::start(|_, _| Reply::Silent).await;
    let bench = Bench::new(&stub.url("/jwks"), refresh("1h", "10ms"));
    until(|| stub.count() == 1).await;
    let waiting = bench.keys.refresh().unwrap();
    bench.identity.keep(std::iter::empty(), &bench.issuers);
    tokio::time::timeout(Duration::from_secs(5), waiting)
        .await
        .expect("still waiting");
}

#[tokio::test]
async fn issuers_do_not_wait_for_each_other() {
    let (slow, quick) = (
        Stub::start(|_, _| Reply::Silent).await,
        Stub::start(|_, _| json(&jwks("k1"))).await,
    );
    let one = Bench::new(&slow.url("/jwks"), refresh("1h", "10s"));
    let two = Bench::new(&quick.url("/jwks"), refresh("1h", "10s"));
    let mut issuers = one.issuers.clone();
    issuers.insert("other".into(), two.issuers["main"].clone());
    let identity = Identity::new(clock);
    let sets: HashMap<_, _> = issuers
        .iter()
        .map(|(name, issuer)| (name, Arc::new(KeySet::new(KeySource::of(name, issuer)))))
        .collect();
    identity.keep(sets.values().cloned(), &issuers);
    until(|| sets[&"other".to_owned()].status().keys.is_some()).await;
    assert!(sets[&"main".to_owned()].status().keys.is_none());
}
