//! The language of README examples: requests, and what must come of them, line by line.
//!
//! ```text
//! # a comment
//! @ip 203.0.113.7                 the client's address from here on
//! @claims {"sub": "alice"}        verified claims from here on; `@claims` alone takes them away
//! @host api.example.com           the host from here on
//! @tls                            the client speaks TLS from here on
//! @via 10.0.0.1                   a trusted proxy stands between from here on
//! @advance 1500ms                 time passes (ms, s, m, h, d)
//! @now 1767225600                 sets the wall clock, in seconds since 1970
//! @api_key sk_live_... {"organisation": "acme"}   a key that was issued, beside what of it is not as usual
//! @jwks main {"keys": []}         publishes the keys of an issuer
//! @upstream 200                   what the upstream answers from here on, its fields on the lines below
//! @upstream X-Powered-By: PHP
//! @answer {"usage": {}}           the body of what the upstream answers from here on
//! @body {"messages": []}          the body of requests from here on; `@body` alone takes it away
//! > GET /v1/x?a=b                 a request; `x5` behind it sends it five times, with the same result
//! > X-Tenant: a                   its header fields
//! ^ X-User: alice                 the upstream sees this field (`*`: with any value)
//! ^ !Cookie                       the upstream does not see this field
//! < 429 reason=rate_limit_exceeded
//! < Retry-After: 1..2             the client sees this field: the value, a range of numbers, or `*`
//! < !Server                       the client does not see this field
//! ```

mod compare;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use portcullis_bundles::policies::Policies;
use portcullis_config::units::Duration;
use serde_json::{Value, json};

use super::exchange::Upstream;
use super::{Bench, RequestBuilder, START};
use crate::api_key::table::Hasher;
use crate::api_key::{self, KeyTable};
use crate::client::Now;
use crate::secrets::SecretSlot;

use compare::Expected;

/// Runs steps on a chain. `line` is where they begin in their file.
pub fn run_steps(bench: &Bench, bundle: Option<&Arc<Policies>>, steps: &str, line: usize) -> Result<(), String> {
    let mut run = Run {
        bench,
        bundle,
        world: World::default(),
        pending: None,
    };
    for (number, text) in (line..).zip(steps.lines()) {
        run.line(text.trim_end(), number)
            .map_err(|error| format!("line {number}: {error}\n    {text}"))?;
    }
    run.finish()
}

/// What stays from request to request.
struct World {
    now: Now,
    ip: String,
    via: Option<String>,
    host: String,
    tls: bool,
    claims: Option<Value>,
    body: Bytes,
    upstream: Upstream,
}

impl Default for World {
    fn default() -> Self {
        Self {
            now: START,
            ip: "192.0.2.1".to_owned(),
            via: None,
            host: "example.com".to_owned(),
            tls: false,
            claims: None,
            body: Bytes::new(),
            upstream: Upstream::default(),
        }
    }
}

struct Run<'r> {
    bench: &'r Bench,
    bundle: Option<&'r Arc<Policies>>,
    world: World,
    pending: Option<Pending>,
}

/// A request whose lines are being read.
struct Pending {
    line: usize,
    request: RequestBuilder,
    times: usize,
    expected: Expected,
}

impl Run<'_> {
    fn line(&mut self, text: &str, number: usize) -> Result<(), String> {
        let Some((mark, rest)) = text.split_at_checked(1) else {
            return Ok(());
        };
        let rest = rest.trim();
        match (mark, &mut self.pending) {
            ("#", _) => Ok(()),
            ("@", _) => {
                self.finish()?;
                self.directive(rest)
            }
            (">", Some(pending)) if pending.expected.is_empty() => {
                let (name, value) = field(rest)?;
                pending.request = pending.request.clone().header(name, value);
                Ok(())
            }
            (">", _) => {
                self.finish()?;
                self.pending = Some(self.begin(rest, number)?);
                Ok(())
            }
            ("<", Some(pending)) => pending.expected.client(rest),
            ("^", Some(pending)) => pending.expected.upstream(rest),
            ("<" | "^", None) => Err("no request was sent".to_owned()),
            _ => Err("a line begins with one of @ > < ^ #".to_owned()),
        }
    }

    fn begin(&self, text: &str, line: usize) -> Result<Pending, String> {
        let mut words = text.split_whitespace();
        let (method, target) = words.next().zip(words.next()).ok_or("a request is METHOD TARGET")?;
        let times = match words.next() {
            None => 1,
            Some(times) => times
                .strip_prefix('x')
                .and_then(|n| n.parse().ok())
                .ok_or("only `xN` may follow")?,
        };
        let world = &self.world;
        let mut request = RequestBuilder::new(method, target)
            .host(&world.host)
            .ip(&world.ip)
            .at(world.now)
            .body(world.body.clone());
        if let Some(peer) = &world.via {
            request = request.via(peer);
        }
        if world.tls {
            request = request.tls();
        }
        if let Some(claims) = &world.claims {
            request = request.claims(claims.clone());
        }
        if let Some(policies) = self.bundle {
            request = request.policies(Arc::clone(policies));
        }
        Ok(Pending {
            line,
            request,
            times,
            expected: Expected::default(),
        })
    }

    /// Sends the request whose lines have been read.
    fn finish(&mut self) -> Result<(), String> {
        let Some(Pending {
            line,
            request,
            times,
            expected,
        }) = self.pending.take()
        else {
            return Ok(());
        };
        if expected.is_empty() {
            return Err(format!("line {line}: the request has no expected status"));
        }
        for round in 1..=times {
            let answered = self.bench.send_to(&request, &self.world.upstream);
            let round = if times > 1 {
                format!(" (number {round})")
            } else {
                String::new()
            };
            expected
                .compare(&answered)
                .map_err(|error| format!("line {line}: the request{round} {error}"))?;
        }
        Ok(())
    }

    fn directive(&mut self, text: &str) -> Result<(), String> {
        let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
        let rest = rest.trim();
        let world = &mut self.world;
        match name {
            "ip" => rest.clone_into(&mut world.ip),
            "host" => rest.clone_into(&mut world.host),
            "via" => world.via = Some(rest.to_owned()),
            "tls" => world.tls = true,
            "body" => world.body = Bytes::copy_from_slice(rest.as_bytes()),
            "answer" => world.upstream.body = vec![Bytes::copy_from_slice(rest.as_bytes())],
            "claims" if rest.is_empty() => world.claims = None,
            "claims" => world.claims = Some(serde_json::from_str(rest).map_err(|error| error.to_string())?),
            "advance" => {
                let time: Duration = rest.parse().map_err(|error| format!("{error}"))?;
                let milliseconds = u64::try_from(time.get().as_millis()).map_err(|error| error.to_string())?;
                world.now = super::after(world.now, milliseconds);
            }
            "now" => {
                let seconds: u64 = rest.parse().map_err(|_| "seconds since 1970")?;
                world.now.unix_ms = seconds * 1000;
            }
            "jwks" => return self.publish(rest),
            "api_key" => return self.issue(rest),
            "upstream" => return world.answer(rest),
            _ => return Err(format!("there is no `@{name}`")),
        }
        Ok(())
    }

    fn issue(&self, text: &str) -> Result<(), String> {
        let (key, rest) = text.split_once(' ').ok_or("a key and its record")?;
        let said = api_key::text::parse(key.as_bytes()).ok_or("that is no key")?;
        let (_, slot) = self
            .bench
            .zones
            .each::<SecretSlot>()
            .next()
            .ok_or("no link has a secret")?;
        let secret = slot.get().map_err(|error| error.to_string())?;
        let hash = Hasher::new(secret.expose()).hex(key.as_bytes());
        let mut record = json!({
            "id": "key_1", "organisation": "acme", "class": said.class, "environment": said.environment,
            "created_at": 0, "versions": [{ "hash": hash, "created_at": 0 }],
        });
        let more: Value = serde_json::from_str(rest).map_err(|error| error.to_string())?;
        if let (Value::Object(record), Value::Object(more)) = (&mut record, more) {
            record.extend(more);
        }
        let record = serde_json::from_value(record).map_err(|error| error.to_string())?;
        let (_, table) = self.bench.zones.each::<KeyTable>().next().ok_or("no link knows keys")?;
        table.put(record).map_err(|error| error.to_string())
    }

    fn publish(&self, text: &str) -> Result<(), String> {
        let (issuer, keys) = text.split_once(' ').ok_or("an issuer and its keys")?;
        let mut sets = self
            .bench
            .zones
            .key_sets()
            .filter(|(_, set)| &*set.source().issuer == issuer);
        let (_, set) = sets
            .next()
            .ok_or_else(|| format!("no link uses the issuer `{issuer}`"))?;
        set.publish(keys.as_bytes(), self.world.now)
            .map_err(|error| error.to_string())?;
        Ok(())
    }
}

impl World {
    fn answer(&mut self, text: &str) -> Result<(), String> {
        if let Ok(status) = text.parse::<StatusCode>() {
            self.upstream = Upstream {
                status,
                ..Upstream::default()
            };
            return Ok(());
        }
        let (name, value) = field(text)?;
        let name: HeaderName = name.parse().map_err(|_| "not a header name")?;
        let value = HeaderValue::from_str(value).map_err(|_| "not a header value")?;
        self.upstream.headers.append(name, value);
        Ok(())
    }
}

fn field(text: &str) -> Result<(&str, &str), String> {
    let (name, value) = text.split_once(':').ok_or("a header field is NAME: VALUE")?;
    Ok((name.trim(), value.trim()))
}
