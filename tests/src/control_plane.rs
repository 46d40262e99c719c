//! A control plane for one gateway: knows tokens, hands out a bundle, remembers every byte that it was sent. It is as
//! healthy, slow, absent or dishonest as the test wants it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::bundle::Signer;
use crate::origin::{Origin, Seen};

/// How it behaves. Every field may change at any time.
#[derive(Debug, Clone)]
pub struct Conduct {
    /// Bearer tokens that it knows.
    pub tokens: Vec<String>,
    /// The region that it names in its answers.
    pub region: Option<String>,
    /// Whether heartbeats are told that there is a bundle.
    pub hint: bool,
    /// How far its clock is ahead, in seconds.
    pub clock_ahead: f64,
    /// How long each answer takes.
    pub delay: Duration,
    /// The status, more of the header and the body of every answer, in place of the right one.
    pub answer: Option<(u16, String, String)>,
    /// The status with which batches of events are answered, in place of 200.
    pub events: Option<u16>,
    bundle: Option<(Vec<u8>, String)>,
}

/// A running control plane.
pub struct ControlPlane {
    /// Where it listens.
    pub address: SocketAddr,
    conduct: Arc<Mutex<Conduct>>,
    origin: Mutex<Origin>,
    before: Mutex<Vec<Seen>>,
}

impl ControlPlane {
    /// The token that it knows at the start.
    pub const TOKEN: &'static str = "token-of-edge-1";

    /// A healthy one without a bundle.
    pub fn start() -> Self {
        let conduct = Arc::new(Mutex::new(Conduct {
            tokens: vec![Self::TOKEN.into()],
            region: None,
            hint: false,
            clock_ahead: 0.0,
            delay: Duration::ZERO,
            answer: None,
            events: None,
            bundle: None,
        }));
        let origin = serve(SocketAddr::from(([127, 0, 0, 1], 0)), &conduct);
        Self {
            address: origin.address,
            conduct,
            origin: Mutex::new(origin),
            before: Mutex::default(),
        }
    }

    /// Changes how it behaves.
    pub fn be(&self, change: impl FnOnce(&mut Conduct)) {
        change(&mut self.conduct.lock().expect("the conduct"));
    }

    /// Hands out this bundle from now on, and tells so at the next heartbeat.
    pub fn publish(&self, bundle: &[u8]) {
        let tag = format!(
            "\"{}\"",
            bundle
                .iter()
                .fold(5381_u64, |hash, byte| hash.wrapping_mul(33) ^ u64::from(*byte))
        );
        self.be(|conduct| {
            conduct.bundle = Some((bundle.to_vec(), tag));
            conduct.hint = true;
        });
    }

    /// Refuses connections from now on.
    pub fn stop(&self) {
        self.origin.lock().expect("the origin").stop();
    }

    /// Is there again after [`Self::stop`].
    pub fn resume(&self) {
        let mut origin = self.origin.lock().expect("the origin");
        self.before.lock().expect("the list").extend(origin.seen());
        *origin = serve(self.address, &self.conduct);
    }

    /// Everything that it was sent.
    pub fn seen(&self) -> Vec<Seen> {
        let mut seen = self.before.lock().expect("the list").clone();
        seen.extend(self.origin.lock().expect("the origin").seen());
        seen
    }

    /// The bodies that were sent to a path that ends so.
    pub fn bodies(&self, path: &str) -> Vec<Value> {
        let all = self.seen();
        let of = all.iter().filter(|seen| seen.target().ends_with(path));
        of.map(|seen| serde_json::from_slice(&seen.body).expect("JSON"))
            .collect()
    }

    /// How often it was asked for a bundle.
    pub fn pulls(&self) -> usize {
        self.seen().iter().filter(|seen| seen.head.starts_with("GET ")).count()
    }

    /// What it was told of bundles: `applied`, or the reason of a rejection. The same once more (since no answer came in
    /// time) is nothing new.
    pub fn acks(&self) -> Vec<String> {
        let mut all = self.bodies("/config/ack");
        for ack in &mut all {
            ack["timestamp"] = Value::Null;
        }
        all.dedup();
        let said = |ack: &Value| {
            ack["error"]
                .as_str()
                .or(ack["status"].as_str())
                .unwrap_or("?")
                .to_owned()
        };
        all.iter().map(said).collect()
    }

    /// The batches of events, by their idempotency keys. The same key with another body is an error.
    pub fn batches(&self) -> BTreeMap<String, Value> {
        let mut batches = BTreeMap::new();
        for seen in self
            .seen()
            .iter()
            .filter(|seen| seen.target().ends_with("/edge/events"))
        {
            let keys = seen.all("idempotency-key");
            let key = keys.first().expect("a key").to_string();
            let body: Value = serde_json::from_slice(&seen.body).expect("JSON");
            assert_eq!(body["edge_id"], "edge-1");
            let before = batches.insert(key, body.clone());
            assert!(before.is_none_or(|before| before == body), "one key, two bodies");
        }
        batches
    }

    /// The events of one kind, each once.
    pub fn events(&self, kind: &str) -> Vec<Value> {
        let batches = self.batches().into_values();
        let all = batches.flat_map(|batch| batch["events"].as_array().expect("a list").clone());
        all.filter(|event| event["kind"] == kind).collect()
    }

    /// The sections `control_plane` and `policy` of a gateway that has its bundles from here. `more` is added to the former.
    /// The token is in `{dir}/token`.
    pub fn yaml(&self, signer: &Signer, more: &str) -> String {
        let policy = signer
            .policy()
            .replace("file: \"{dir}/policy.bundle\"", "control_plane: true");
        self.yaml_with(&policy, &format!(", poll_interval: 100ms{more}"))
    }

    /// The same with another `policy` section.
    pub fn yaml_with(&self, policy: &str, more: &str) -> String {
        let interval = if more.contains("heartbeat_interval") {
            ""
        } else {
            ", heartbeat_interval: 100ms"
        };
        let token = if more.contains("token:") {
            ""
        } else {
            ", token: { current: \"file:{dir}/token\" }"
        };
        format!(
            "control_plane: {{ url: \"http://{}\", edge_id: edge-1{token}{interval}{more} }}\n{policy}",
            self.address
        )
    }
}

fn serve(address: SocketAddr, conduct: &Arc<Mutex<Conduct>>) -> Origin {
    let conduct = Arc::clone(conduct);
    Origin::at(address, move |seen| {
        let conduct = conduct.lock().expect("the conduct").clone();
        std::thread::sleep(conduct.delay);
        let (status, more, body) = answer(&conduct, seen);
        let region = conduct
            .region
            .as_ref()
            .map_or_else(String::new, |region| format!("Portcullis-Region: {region}\r\n"));
        let mut bytes = format!(
            "HTTP/1.1 {status} Status\r\nConnection: close\r\nContent-Length: {}\r\n{region}{more}\r\n",
            body.len()
        )
        .into_bytes();
        bytes.extend(body);
        bytes
    })
}

fn answer(conduct: &Conduct, seen: &Seen) -> (u16, String, Vec<u8>) {
    if let Some((status, more, body)) = &conduct.answer {
        return (*status, more.clone(), body.clone().into_bytes());
    }
    let token = seen.all("authorization").first().copied().unwrap_or_default();
    if !conduct.tokens.iter().any(|known| token == format!("Bearer {known}")) {
        return (401, String::new(), Vec::new());
    }
    let json = |value: Value| {
        (
            200,
            "Content-Type: application/json\r\n".to_owned(),
            value.to_string().into_bytes(),
        )
    };
    match seen.target() {
        "/api/v1/edge/register" => json(json!({ "edge_id": "edge-1" })),
        "/api/v1/edge/heartbeat" => {
            let now = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .expect("a clock");
            json(json!({
                "server_time": now.as_secs_f64() + conduct.clock_ahead,
                "config_update_available": conduct.hint,
            }))
        }
        "/api/v1/edge/config" => match &conduct.bundle {
            None => (204, String::new(), Vec::new()),
            Some((_, tag)) if seen.all("if-none-match").contains(&tag.as_str()) => (304, String::new(), Vec::new()),
            Some((bundle, tag)) => (200, format!("ETag: {tag}\r\n"), bundle.clone()),
        },
        "/api/v1/edge/events" => (conduct.events.unwrap_or(200), String::new(), Vec::new()),
        "/api/v1/edge/config/ack" => (200, String::new(), Vec::new()),
        _ => (404, String::new(), Vec::new()),
    }
}
