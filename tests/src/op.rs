//! An OpenID provider with everything that a client needs: metadata, keys, authorization (everybody is logged in at once),
//! tokens with rotation and reuse detection, revocation. It remembers what it was asked, and can be told to misbehave.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use ring::digest;
use serde_json::{Map, Value, json};

use crate::idp::{Key, encode, now};
use crate::leaks;
use crate::origin::{Origin, Seen};

/// A running provider.
pub struct Provider {
    /// Where it listens. Its issuer is `http://ADDRESS`.
    pub address: SocketAddr,
    /// The key that signs its tokens.
    pub key: Arc<Key>,
    state: Arc<Mutex<State>>,
    origin: Origin,
}

/// What it knows and how it behaves.
pub struct State {
    /// Who logs in next.
    pub user: String,
    /// Claims that every ID token has beside its own; a `null` takes one away.
    pub claims: Map<String, Value>,
    /// How long access tokens last, in seconds.
    pub lifetime: u64,
    /// Whether refresh tokens are given out.
    pub refreshes: bool,
    /// What the token endpoint answers instead: status and body.
    pub token_answer: Option<(u16, String)>,
    /// What the metadata says otherwise.
    pub metadata: Map<String, Value>,
    /// The session's name here: `sid`.
    pub sid: String,
    /// What it was asked, by path.
    pub asked: BTreeMap<String, u64>,
    /// Refresh tokens that it was told are not used any more.
    pub forgotten: Vec<String>,
    /// Access tokens that it gave out.
    pub given: Vec<String>,
    /// Refresh tokens that it gave out, the last one last.
    pub refresh_tokens: Vec<String>,
    /// How the last token request showed who asks.
    pub shown: String,
    codes: BTreeMap<String, Code>,
    used: BTreeSet<String>,
    dead: bool,
    counter: u64,
}

struct Code {
    challenge: String,
    nonce: String,
    redirect: String,
    tenant: Option<String>,
}

impl Provider {
    /// Starts one.
    pub fn start() -> Self {
        let key = Arc::new(Key::es256("op"));
        let state = Arc::new(Mutex::new(State {
            user: "alice".into(),
            claims: Map::new(),
            lifetime: 3600,
            refreshes: true,
            token_answer: None,
            metadata: Map::new(),
            sid: "sid-1".into(),
            asked: BTreeMap::new(),
            forgotten: Vec::new(),
            given: Vec::new(),
            refresh_tokens: Vec::new(),
            shown: String::new(),
            codes: BTreeMap::new(),
            used: BTreeSet::new(),
            dead: false,
            counter: 0,
        }));
        let (shared, signer) = (Arc::clone(&state), Arc::clone(&key));
        let origin = Origin::with(move |seen| {
            let host = seen.all("host").concat();
            let mut state = shared.lock().expect("the state");
            state.answer(seen, &format!("http://{host}"), &signer)
        });
        Self {
            address: origin.address,
            key,
            state,
            origin,
        }
    }

    /// What it knows and how it behaves.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the state")
    }

    /// Refuses connections from now on.
    pub fn stop(&self) {
        self.origin.stop();
    }

    /// The exact `iss` of its tokens.
    pub fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The `identity` section of a configuration.
    pub fn identity(&self) -> String {
        let issuer = self.issuer();
        format!(
            "identity:\n  issuers:\n    op: {{ issuer: \"{issuer}\", jwks_url: \"{issuer}/jwks.json\", algorithms: [ES256], audiences: [api], refresh: {{ timeout: 8s }} }}\n"
        )
    }

    /// A logout token for a client; `more` takes the place of claims.
    pub fn logout_token(&self, client: &str, more: &Value) -> String {
        let mut claims = json!({
            "iss": self.issuer(), "aud": client, "iat": now(), "exp": now() + 120, "jti": format!("jti-{}", rand()),
            "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
        });
        merge(&mut claims, more);
        let header = json!({ "alg": "ES256", "kid": self.key.id, "typ": "logout+jwt" });
        self.key.token_with(&header, &claims)
    }
}

/// Something that differs each time.
fn rand() -> String {
    let mut bytes = [0; 12];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes).expect("random bytes");
    encode(&bytes)
}

fn merge(into: &mut Value, more: &Value) {
    for (name, value) in more.as_object().into_iter().flatten() {
        if value.is_null() {
            into.as_object_mut().expect("an object").remove(name);
        } else {
            into[name] = value.clone();
        }
    }
}

impl State {
    fn answer(&mut self, seen: &Seen, issuer: &str, key: &Key) -> Vec<u8> {
        let (path, query) = seen.target().split_once('?').unwrap_or((seen.target(), ""));
        *self.asked.entry(path.to_owned()).or_default() += 1;
        let form = String::from_utf8_lossy(&seen.body).into_owned();
        match path {
            "/.well-known/openid-configuration" => {
                let mut metadata = json!({
                    "issuer": issuer,
                    "authorization_endpoint": format!("{issuer}/authorize"),
                    "token_endpoint": format!("{issuer}/token"),
                    "revocation_endpoint": format!("{issuer}/revoke"),
                    "end_session_endpoint": format!("{issuer}/logout"),
                    "jwks_uri": format!("{issuer}/jwks.json"),
                    "response_types_supported": ["code"],
                    "code_challenge_methods_supported": ["S256"],
                    "authorization_response_iss_parameter_supported": true,
                });
                merge(&mut metadata, &Value::Object(self.metadata.clone()));
                answer(200, &metadata.to_string())
            }
            "/jwks.json" => answer(200, &json!({ "keys": [key.jwk()] }).to_string()),
            "/authorize" => self.authorize(&parse(query), issuer),
            "/token" => {
                let basic = seen.all("authorization").concat();
                self.token(&parse(&form), &basic, issuer, key)
            }
            "/revoke" => {
                self.forgotten.extend(parse(&form).remove("token"));
                answer(200, "{}")
            }
            _ => answer(404, "{}"),
        }
    }

    fn authorize(&mut self, query: &BTreeMap<String, String>, issuer: &str) -> Vec<u8> {
        let of = |name: &str| query.get(name).cloned().unwrap_or_default();
        assert_eq!((&*of("response_type"), &*of("code_challenge_method")), ("code", "S256"));
        let code = format!("code-{}", rand());
        let redirect = of("redirect_uri");
        self.codes.insert(
            code.clone(),
            Code {
                challenge: of("code_challenge"),
                nonce: of("nonce"),
                redirect: redirect.clone(),
                tenant: query.get("organization").cloned(),
            },
        );
        let (state, issuer) = (of("state"), issuer.replace(':', "%3A").replace('/', "%2F"));
        format!(
            "HTTP/1.1 303 See Other\r\nLocation: {redirect}?code={code}&state={state}&iss={issuer}\r\nContent-Length: 0\r\n\r\n"
        )
        .into_bytes()
    }

    fn token(&mut self, form: &BTreeMap<String, String>, basic: &str, issuer: &str, key: &Key) -> Vec<u8> {
        let of = |name: &str| form.get(name).map_or("", String::as_str);
        self.shown = format!("{basic}|{}|{}", of("client_id"), of("client_secret"));
        if let Some((status, body)) = &self.token_answer {
            return answer(*status, body);
        }
        let refused = || answer(400, "{\"error\":\"invalid_grant\"}");
        let (nonce, tenant) = if of("grant_type") == "authorization_code" {
            let Some(code) = self.codes.remove(of("code")) else {
                return refused();
            };
            let hash = digest::digest(&digest::SHA256, of("code_verifier").as_bytes());
            if encode(hash.as_ref()) != code.challenge || of("redirect_uri") != code.redirect {
                return refused();
            }
            self.dead = false;
            (Some(code.nonce), code.tenant)
        } else {
            let token = of("refresh_token").to_owned();
            let known = self.refresh_tokens.contains(&token) && !self.forgotten.contains(&token);
            // A token that was used before: somebody has a copy, and all of them end.
            if !self.used.insert(token) {
                self.dead = true;
            }
            if !known || self.dead {
                return refused();
            }
            (None, None)
        };
        self.counter += 1;
        let access = format!("access-{}-{}", self.counter, rand());
        leaks::used(&access);
        self.given.push(access.clone());
        let mut claims = json!({
            "iss": issuer, "aud": "app", "sub": self.user, "sid": self.sid, "iat": now(), "exp": now() + 600, "nonce": nonce,
            "org": tenant.unwrap_or_else(|| "home".into()),
        });
        merge(&mut claims, &Value::Object(self.claims.clone()));
        let header = json!({ "alg": "ES256", "kid": key.id });
        let mut body = json!({
            "access_token": access, "token_type": "Bearer", "expires_in": self.lifetime,
            "id_token": key.token_with(&header, &claims),
        });
        if self.refreshes {
            let refresh = format!("refresh-{}-{}", self.counter, rand());
            leaks::used(&refresh);
            self.refresh_tokens.push(refresh.clone());
            body["refresh_token"] = json!(refresh);
        }
        answer(200, &body.to_string())
    }
}

fn answer(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// The parameters of a query or a form, decoded.
pub fn parse(query: &str) -> BTreeMap<String, String> {
    let decode = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            bytes.push(match byte {
                b'+' => b' ',
                b'%' => {
                    let digits: String = rest.by_ref().take(2).map(char::from).collect();
                    u8::from_str_radix(&digits, 16).expect("two digits")
                }
                byte => byte,
            });
        }
        String::from_utf8(bytes).expect("UTF-8")
    };
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decode(name), decode(value))).collect()
}
