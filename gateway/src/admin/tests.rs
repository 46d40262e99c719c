//! Over real sockets, against a gateway that is not there.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::Server;
use super::control::{Control, KillError, Refused};
use super::wire::*;
use crate::admin::key_wire::{Issued, KeyRequest, KeyView, RotateRequest};
use crate::identity::KeyError;
use crate::session::RevokeError;
use crate::session::wire::{SessionList, SessionRevoke, SessionsRevoked};
use crate::telemetry::exposition::Exposition;
use crate::telemetry::stamp::Stamp;

/// Answers as it is told.
#[derive(Default)]
struct Fake {
    broken: bool,
    switches: Mutex<Vec<KillSwitch>>,
    reloads: AtomicUsize,
    slow: Duration,
}

fn config_state() -> ConfigState {
    ConfigState {
        digest: "c0ffee".into(),
        loaded_at: Stamp(1_767_225_600_000),
        last_error: None,
    }
}

#[async_trait]
impl Control for Fake {
    fn readiness(&self) -> Readiness {
        let last_error = LastError {
            at: Stamp(1),
            reason: "invalid_signature".into(),
            detail: "no".into(),
        };
        let bundle = BundleState {
            version: Some(7),
            digest: Some("abc".into()),
            loaded_at: Some(Stamp(2)),
            expires_at: Some(Stamp(3_500)),
            expired: true,
            insecure_unsigned: true,
            last_error: self.broken.then_some(last_error),
        };
        Readiness {
            status: if self.broken {
                ReadyStatus::NotReady
            } else {
                ReadyStatus::Ready
            },
            reasons: if self.broken {
                vec!["bundle_missing".into()]
            } else {
                vec![]
            },
            config: Some(config_state()),
            bundle: Some(bundle),
            warnings: vec!["insecure_unsigned".into()],
        }
    }

    fn status(&self) -> Status {
        Status {
            version: "0".into(),
            pid: 1,
            started_at: Stamp(0),
            readiness: self.readiness(),
            snapshot: Some("s".into()),
            requests_in_flight: 3,
            listeners: vec![],
            upstreams: vec![],
            issuers: vec![],
            kill_switches: 0,
            rollout: None,
            control_plane: None,
        }
    }

    fn config(&self) -> String {
        "listeners: []\n".into()
    }

    fn rollout(&self) -> RolloutStatus {
        RolloutStatus {
            rollout: None,
            last: None,
        }
    }

    async fn rollout_promote(&self) -> Result<RolloutStatus, Refused> {
        Ok(self.rollout())
    }

    fn api_keys(&self) -> Result<Vec<KeyView>, KeyError> {
        Err(KeyError::Unused)
    }

    async fn api_key_issue(&self, request: KeyRequest) -> Result<Issued, KeyError> {
        Err(KeyError::Invalid(request.organisation))
    }

    async fn api_key_rotate(&self, id: &str, _: RotateRequest) -> Result<Issued, KeyError> {
        Err(KeyError::NotFound(id.to_owned()))
    }

    async fn api_key_revoke(&self, id: &str) -> Result<KeyView, KeyError> {
        Err(KeyError::Ended(id.to_owned()))
    }

    async fn rotate_state_key(&self) -> Result<(), Refused> {
        Ok(())
    }

    async fn rollout_abort(&self) -> Result<RolloutStatus, Refused> {
        Err(Refused {
            reason: "rollout_none",
            detail: "no bundle is on trial".into(),
            diagnostics: None,
        })
    }

    async fn reload(&self) -> Result<Reloaded, Refused> {
        tokio::time::sleep(self.slow).await;
        self.reloads.fetch_add(1, SeqCst);
        if self.broken {
            let diagnostics = Some(serde_json::json!({"errors": [{"code": "unknown_key"}], "more": 0}));
            return Err(Refused {
                reason: "config_invalid",
                detail: "one error".into(),
                diagnostics,
            });
        }
        let (snapshot, needs_restart) = ("s2".into(), vec![]);
        Ok(Reloaded {
            changed: true,
            snapshot,
            config: config_state(),
            bundle: None,
            needs_restart,
        })
    }

    fn kill_status(&self) -> KillStatus {
        KillStatus::default()
    }

    fn kill_list(&self) -> KillList {
        KillList {
            switches: self.switches.lock().unwrap().clone(),
            omitted: 0,
        }
    }

    async fn kill_set(&self, request: KillRequest) -> Result<KillSwitch, KillError> {
        match request.value.as_str() {
            "bad" => return Err(KillError::Invalid("value: bad".into())),
            "full" => return Err(KillError::Full(9)),
            "disk" => return Err(KillError::NotPersisted("read-only".into())),
            _ => {}
        }
        let switch = KillSwitch {
            id: Some("k-1".into()),
            origin: "runtime".into(),
            key: request.key,
            value: request.value,
            route: request.route,
            reason: Some(request.reason),
            by: request.by,
            set_at: Some(Stamp(0)),
            expires_at: None,
        };
        self.switches.lock().unwrap().push(switch.clone());
        Ok(switch)
    }

    fn debug_open(&self) -> Option<DebugSession> {
        None
    }

    fn sessions(&self) -> SessionList {
        SessionList {
            total: 0,
            sessions: Vec::new(),
        }
    }

    async fn sessions_revoke(&self, _: SessionRevoke) -> Result<SessionsRevoked, RevokeError> {
        Ok(SessionsRevoked { revoked: 0 })
    }

    fn debug_end(&self) -> usize {
        0
    }

    async fn kill_clear(&self, id: &str) -> Result<KillSwitch, KillError> {
        let mut switches = self.switches.lock().unwrap();
        let place = switches.iter().position(|switch| switch.id.as_deref() == Some(id));
        place
            .map(|place| switches.remove(place))
            .ok_or_else(|| KillError::NotFound(id.into()))
    }

    fn metrics(&self, out: &mut Exposition) {
        out.counter("portcullis_requests_total", "Requests.", &[], 5);
    }
}

struct Running {
    address: SocketAddr,
    fake: Arc<Fake>,
    end: Option<oneshot::Sender<()>>,
}

async fn run(fake: Fake) -> Running {
    let fake = Arc::new(fake);
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), Arc::clone(&fake))
        .await
        .unwrap();
    let address = server.address().unwrap();
    let (end, ended) = oneshot::channel::<()>();
    tokio::spawn(server.serve(async { drop(ended.await) }));
    Running {
        address,
        fake,
        end: Some(end),
    }
}

/// Sends bytes and reads to the end: status, head, body.
async fn send(address: SocketAddr, bytes: &[u8]) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may answer before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all).await;
    let text = String::from_utf8(all).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or(0);
    (status, head.to_lowercase(), body.to_owned())
}

async fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String, String) {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    send(address, request.as_bytes()).await
}

fn value(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body:?}"))
}

const KILL: &str = r#"{"key":"jwt:sub","value":"mallory","ttl":"1h","reason":"stolen"}"#;

#[tokio::test]
async fn the_table() {
    let running = run(Fake::default()).await;
    let at = running.address;
    for (method, path, body, status, part) in [
        ("GET", "/livez", "", 200, r#"{"status":"ok"}"#),
        ("GET", "/livez?x=y", "", 200, r#"{"status":"ok"}"#),
        ("GET", "/readyz", "", 200, r#""status":"ready""#),
        ("GET", "/metrics", "", 200, "portcullis_ready 1\n"),
        ("GET", "/-/status", "", 200, r#""requests_in_flight":3"#),
        ("GET", "/-/config", "", 200, "listeners: []"),
        ("POST", "/-/reload", "", 200, r#""snapshot":"s2""#),
        ("GET", "/-/kill", "", 200, r#"{"switches":[]}"#),
        (
            "GET",
            "/-/kill/status",
            "",
            200,
            r#""active":{"runtime":0,"document":0,"bundle":0}"#,
        ),
        ("POST", "/-/kill", KILL, 201, r#""id":"k-1""#),
        ("DELETE", "/-/kill/k-1", "", 200, r#""id":"k-1""#),
        ("DELETE", "/-/kill/k-1", "", 404, "kill_switch_not_found"),
        ("DELETE", "/-/kill/a%2Fb", "", 404, "not_found"),
        ("DELETE", "/-/kill/", "", 404, "not_found"),
        ("DELETE", "/-/kill", "", 405, "method_not_allowed"),
        ("POST", "/livez", "", 405, "method_not_allowed"),
        ("GET", "/-/reload", "", 405, "method_not_allowed"),
        ("PUT", "/-/kill", "", 405, "method_not_allowed"),
        ("GET", "/-/kill/k-1", "", 405, "method_not_allowed"),
        ("GET", "/", "", 404, "not_found"),
        ("GET", "/livez/", "", 404, "not_found"),
        ("GET", "/-/../livez", "", 404, "not_found"),
        ("POST", "/-/kill", "{", 400, "json_invalid"),
        ("POST", "/-/kill", "", 400, "json_invalid"),
        ("POST", "/-/kill", r#"{"key":"a"}"#, 422, "missing field"),
        (
            "POST",
            "/-/kill",
            r#"{"key":"a","value":"b","ttl":"1h","reason":"c","typo":1}"#,
            422,
            "typo",
        ),
        (
            "POST",
            "/-/kill",
            r#"{"key":"a","value":"bad","ttl":"1h","reason":"c"}"#,
            422,
            "value: bad",
        ),
        (
            "POST",
            "/-/kill",
            r#"{"key":"a","value":"full","ttl":"1h","reason":"c"}"#,
            409,
            "kill_switches_full",
        ),
        (
            "POST",
            "/-/kill",
            r#"{"key":"a","value":"disk","ttl":"1h","reason":"c"}"#,
            500,
            "state_not_persisted",
        ),
    ] {
        let (got, head, answer) = ask(at, method, path, body).await;
        assert_eq!(got, status, "{method} {path}: {answer}");
        assert!(answer.contains(part), "{method} {path}: {answer}");
        assert!(
            head.contains("cache-control: no-store") && head.contains("nosniff"),
            "{head}"
        );
        if got >= 400 {
            assert!(head.contains("content-type: application/problem+json"), "{head}");
            assert_eq!(value(&answer)["status"], got);
        }
        assert_eq!(got == 405, head.contains("\r\nallow: "), "{head}");
    }
    assert_eq!(running.fake.reloads.load(SeqCst), 1);
}

#[tokio::test]
async fn what_is_wrong_is_told() {
    let running = run(Fake {
        broken: true,
        ..Fake::default()
    })
    .await;
    let (status, head, body) = ask(running.address, "GET", "/readyz", "").await;
    assert_eq!((status, head.contains("content-type: application/json")), (503, true));
    let ready = value(&body);
    assert_eq!(ready["status"], "not_ready");
    assert_eq!(ready["reasons"], serde_json::json!(["bundle_missing"]));
    assert_eq!(ready["warnings"], serde_json::json!(["insecure_unsigned"]));
    assert_eq!(ready["config"]["loaded_at"], "2026-01-01T00:00:00.000Z");
    assert_eq!(ready["bundle"]["last_error"]["reason"], "invalid_signature");
    let read: Readiness = serde_json::from_str(&body).unwrap();
    assert_eq!(read, running.fake.readiness());

    let (status, _, body) = ask(running.address, "POST", "/-/reload", "").await;
    assert_eq!((status, &value(&body)["reason"]), (422, &"config_invalid".into()));
    assert_eq!(value(&body)["diagnostics"]["errors"][0]["code"], "unknown_key");

    let (_, head, body) = ask(running.address, "GET", "/metrics", "").await;
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"));
    for line in [
        "portcullis_ready 0",
        "portcullis_config_info{digest=\"c0ffee\"} 1",
        "portcullis_bundle_refused 1",
        "portcullis_bundle_expires_timestamp_seconds 3.5",
        "portcullis_requests_total 5",
    ] {
        assert!(body.contains(&format!("\n{line}\n")), "{line}\n{body}");
    }
    let (_, _, body) = ask(running.address, "GET", "/-/status", "").await;
    assert_eq!(serde_json::from_str::<Status>(&body).unwrap(), running.fake.status());
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let running = run(Fake::default()).await;
    for path in [
        "/livez",
        "/readyz",
        "/metrics",
        "/-/status",
        "/-/config",
        "/-/kill",
        "/nowhere",
        "/-/reload",
    ] {
        let (get, get_head, body) = ask(running.address, "GET", path, "").await;
        let (head, head_head, none) = ask(running.address, "HEAD", path, "").await;
        let fields = |head: &str| {
            head.lines()
                .filter(|line| !line.starts_with("date"))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!((get, fields(&get_head)), (head, fields(&head_head)), "{path}");
        assert!(none.is_empty() && !body.is_empty());
        assert!(get_head.contains(&format!("content-length: {}", body.len())));
    }
}

#[tokio::test]
async fn web_pages_change_nothing() {
    let running = run(Fake::default()).await;
    let at = running.address;
    for (fields, status) in [
        (format!("Host: {at}\r\n"), 200),
        ("Host: localhost\r\n".to_owned(), 200),
        ("Host: rebound.evil.example\r\n".to_owned(), 403),
        (format!("Host: {at}\r\nOrigin: http://{at}\r\n"), 403),
        (format!("Host: {at}\r\nOrigin: null\r\n"), 403),
        (String::new(), 403),
    ] {
        let request = format!("POST /-/reload HTTP/1.1\r\n{fields}Content-Length: 0\r\n\r\n");
        let (got, _, body) = send(at, request.as_bytes()).await;
        assert_eq!(got, status, "{fields} {body}");
    }
    assert_eq!(running.fake.reloads.load(SeqCst), 2);
    let form = format!(
        "POST /-/kill HTTP/1.1\r\nHost: {at}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{KILL}",
        KILL.len()
    );
    assert_eq!(send(at, form.as_bytes()).await.0, 415);
    let (got, _, _) = send(
        at,
        b"GET /metrics HTTP/1.1\r\nHost: portcullis.svc\r\nOrigin: x\r\n\r\n",
    )
    .await;
    assert_eq!(got, 200, "reading is for any name");
}

#[tokio::test]
async fn bodies_and_headers_are_bounded() {
    let running = run(Fake::default()).await;
    let at = running.address;
    let large = "x".repeat((64 << 10) + 1);
    assert_eq!(ask(at, "POST", "/-/kill", &large).await.0, 413);
    let many = format!("GET /livez HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(100));
    assert_eq!(send(at, many.as_bytes()).await.0, 431);
    let long = format!("GET /livez HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "b".repeat(20_000));
    assert_eq!(send(at, long.as_bytes()).await.0, 431);
    assert_eq!(send(at, b"SSH-2.0-OpenSSH\r\n\r\n").await.0, 400);
    assert_eq!(ask(at, "GET", "/livez", "").await.0, 200);
}

#[tokio::test]
async fn silent_connections_keep_nobody_out_for_long() {
    let running = run(Fake::default()).await;
    let mut silent = Vec::new();
    for _ in 0..64 {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(b"GET /livez HT").await.unwrap();
        silent.push(stream);
    }
    let started = Instant::now();
    assert_eq!(ask(running.address, "GET", "/livez", "").await.0, 200);
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_reload_goes_on_when_who_asked_is_gone() {
    let running = run(Fake {
        slow: Duration::from_millis(200),
        ..Fake::default()
    })
    .await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let request = format!(
        "POST /-/reload HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n",
        running.address
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(stream);
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(running.fake.reloads.load(SeqCst), 1);
}

#[tokio::test]
async fn at_the_end_the_address_is_free_at_once_and_answers_under_way_are_given() {
    let mut running = run(Fake {
        slow: Duration::from_millis(300),
        ..Fake::default()
    })
    .await;
    let at = running.address;
    let asked = tokio::spawn(async move { ask(at, "POST", "/-/reload", "").await.0 });
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(running.end.take());
    tokio::time::sleep(Duration::from_millis(50)).await;
    let next = Server::bind(at, Arc::clone(&running.fake)).await;
    assert!(next.is_ok(), "another process can take over");
    assert_eq!(asked.await.unwrap(), 200);
}
