//! Debug sessions: for whom answers say by which policy and rule they were decided. A session is named by a cookie that cannot
//! be made without this process's key, ends by itself, and can be ended before. What the fields say is in [`fields`].

pub mod fields;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, header};
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};

/// The cookie's name, unless this process stands in for another gateway.
pub const COOKIE: &str = "portcullis-debug";
/// Seconds that a session lasts.
pub const LASTS: u64 = 900;
/// Sessions at once.
const MOST_SESSIONS: usize = 256;
/// Addresses whose failures are remembered, failures of one of them in a minute, and of all of them together.
const MOST_ADDRESSES: usize = 1024;
const MOST_FAILURES: u32 = 5;
const MOST_FAILURES_OF_ALL: u32 = 100;
/// The span over which failures count, in seconds.
const MINUTE: u64 = 60;

/// Names a session.
type Id = [u8; 16];

/// The sessions of a process. A restart ends all of them.
pub struct Sessions {
    /// The cookie's name.
    cookie: &'static str,
    key: hmac::Key,
    /// Sessions and the second at which each ends.
    open: Mutex<HashMap<Id, u64>>,
    /// How many there are, for requests that only ask whether there is any.
    count: AtomicUsize,
    failures: Mutex<Failures>,
}

#[derive(Default)]
struct Failures {
    since: u64,
    all: u32,
    by_address: HashMap<IpAddr, u32>,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sessions(..)")
    }
}

/// Why there is no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoSession {
    /// The secret is not the one that is asked for.
    #[error("the secret is wrong")]
    Wrong,
    /// There were too many wrong ones in the last minute.
    #[error("too many attempts; try again in {0} s")]
    TooMany(u64),
    /// There are as many sessions as may be, or no random bytes.
    #[error("no session can be opened now")]
    Unavailable,
}

impl Sessions {
    /// None yet. `None`: the system gives no random bytes.
    pub fn new(cookie: &'static str) -> Option<Self> {
        let mut key = [0; 32];
        SystemRandom::new().fill(&mut key).ok()?;
        Some(Self {
            cookie,
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            open: Mutex::default(),
            count: AtomicUsize::new(0),
            failures: Mutex::default(),
        })
    }

    /// The cookie's name.
    pub fn cookie(&self) -> &'static str {
        self.cookie
    }

    /// Opens a session for whoever knows the secret; gives the cookie's value. `now` in seconds since 1970.
    pub fn log_in(&self, secret: &[u8], offered: Option<&[u8]>, from: IpAddr, now: u64) -> Result<String, NoSession> {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.forget(now);
        if failures.are_too_many(from) {
            return Err(NoSession::TooMany((failures.since + MINUTE).saturating_sub(now).max(1)));
        }
        // Of two values under a key that nobody knows, only equality shows, and in no time that depends on them.
        let expected = hmac::sign(&self.key, secret);
        if offered.is_none_or(|offered| hmac::verify(&self.key, offered, expected.as_ref()).is_err()) {
            failures.add(from);
            return Err(NoSession::Wrong);
        }
        drop(failures);
        self.open(now)
    }

    /// Opens a session; gives the cookie's value.
    pub fn open(&self, now: u64) -> Result<String, NoSession> {
        let mut id = Id::default();
        SystemRandom::new().fill(&mut id).map_err(|_| NoSession::Unavailable)?;
        let ends = now + LASTS;
        let mut open = self.open_sessions();
        open.retain(|_, ends| *ends > now);
        if open.len() >= MOST_SESSIONS {
            return Err(NoSession::Unavailable);
        }
        open.insert(id, ends);
        self.count.store(open.len(), Relaxed);
        let mut value = format!("{ends}.{}.", URL_SAFE_NO_PAD.encode(id));
        // Writing to a string cannot fail.
        let _ = write!(value, "{}", URL_SAFE_NO_PAD.encode(self.signature(ends, &id)));
        Ok(value)
    }

    /// Whether a request belongs to a session.
    pub fn is_open(&self, headers: &HeaderMap, now: u64) -> bool {
        if self.count.load(Relaxed) == 0 {
            return false;
        }
        self.named(headers)
            .is_some_and(|id| self.open_sessions().get(&id).is_some_and(|ends| *ends > now))
    }

    /// Ends the session that a request belongs to, if it belongs to one.
    pub fn log_out(&self, headers: &HeaderMap) {
        if let Some(id) = self.named(headers) {
            let mut open = self.open_sessions();
            open.remove(&id);
            self.count.store(open.len(), Relaxed);
        }
    }

    /// Ends all of them. How many.
    pub fn end_all(&self) -> usize {
        let mut open = self.open_sessions();
        let ended = open.len();
        open.clear();
        self.count.store(0, Relaxed);
        ended
    }

    /// The session that a cookie with a good signature names.
    fn named(&self, headers: &HeaderMap) -> Option<Id> {
        let values = headers.get_all(header::COOKIE).into_iter();
        let mut pairs = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'));
        let value = pairs.find_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            (name.trim() == self.cookie).then(|| value.trim())
        })?;
        let mut parts = value.splitn(3, '.');
        let ends = parts.next()?.parse().ok()?;
        let id = Id::try_from(URL_SAFE_NO_PAD.decode(parts.next()?).ok()?).ok()?;
        let signature = URL_SAFE_NO_PAD.decode(parts.next()?).ok()?;
        hmac::verify(&self.key, &signed(ends, &id), &signature).ok()?;
        Some(id)
    }

    fn signature(&self, ends: u64, id: &Id) -> hmac::Tag {
        hmac::sign(&self.key, &signed(ends, id))
    }

    fn open_sessions(&self) -> MutexGuard<'_, HashMap<Id, u64>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a signature is about.
fn signed(ends: u64, id: &Id) -> Vec<u8> {
    let mut bytes = b"debug session".to_vec();
    bytes.extend_from_slice(&ends.to_be_bytes());
    bytes.extend_from_slice(id);
    bytes
}

impl Failures {
    fn forget(&mut self, now: u64) {
        // A clock that went back forgets too: nobody is locked out for longer than a minute.
        if now >= self.since + MINUTE || now < self.since {
            *self = Self {
                since: now,
                ..Self::default()
            };
        }
    }

    fn are_too_many(&self, from: IpAddr) -> bool {
        self.all >= MOST_FAILURES_OF_ALL
            || self
                .by_address
                .get(&from)
                .is_some_and(|failed| *failed >= MOST_FAILURES)
    }

    fn add(&mut self, from: IpAddr) {
        self.all = self.all.saturating_add(1);
        if self.by_address.len() < MOST_ADDRESSES || self.by_address.contains_key(&from) {
            *self.by_address.entry(from).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn with(cookie: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, format!("a=b; fv_dbg={cookie}; c").parse().unwrap());
        headers
    }

    #[test]
    fn a_session_lasts_until_its_end_or_its_logout() {
        let sessions = Sessions::new("fv_dbg").unwrap();
        assert!(!sessions.is_open(&with("1.2.3"), 1000));
        let first = sessions.log_in(b"s", Some(b"s"), ME, 1000).unwrap();
        let second = sessions.open(1000).unwrap();
        assert_ne!(first, second);
        assert!(sessions.is_open(&with(&first), 1899) && !sessions.is_open(&with(&first), 1900));
        sessions.log_out(&with(&first));
        assert!(!sessions.is_open(&with(&first), 1000) && sessions.is_open(&with(&second), 1000));
        assert_eq!(sessions.end_all(), 1);
        assert!(!sessions.is_open(&with(&second), 1000));
    }

    #[test]
    fn a_cookie_that_was_touched_names_nobody() {
        let sessions = Sessions::new("fv_dbg").unwrap();
        let cookie = sessions.open(1000).unwrap();
        let (ends, rest) = cookie.split_once('.').unwrap();
        let later = format!("{}.{rest}", ends.parse::<u64>().unwrap() + 1);
        let cut = cookie.get(..cookie.len() - 2).unwrap();
        for forged in [&*later, ends, "", ".", "..", "1900..", cut] {
            assert!(!sessions.is_open(&with(forged), 1000), "{forged}");
        }
        let other = Sessions::new("fv_dbg").unwrap();
        let _ = other.open(1000).unwrap();
        assert!(!other.is_open(&with(&cookie), 1000));
        assert_eq!(
            URL_SAFE_NO_PAD
                .decode(cookie.rsplit('.').next().unwrap())
                .unwrap()
                .len(),
            32
        );
    }

    #[test]
    fn attempts_are_limited_and_forgotten() {
        let sessions = Sessions::new("fv_dbg").unwrap();
        for _ in 0..MOST_FAILURES {
            assert_eq!(sessions.log_in(b"s", Some(b"x"), ME, 1000), Err(NoSession::Wrong));
        }
        assert_eq!(sessions.log_in(b"s", Some(b"s"), ME, 1010), Err(NoSession::TooMany(50)));
        let other = IpAddr::from([192, 0, 2, 1]);
        assert!(sessions.log_in(b"s", Some(b"s"), other, 1010).is_ok());
        assert_eq!(sessions.log_in(b"s", None, other, 1010), Err(NoSession::Wrong));
        assert!(sessions.log_in(b"s", Some(b"s"), ME, 1060).is_ok());
        for n in 0..MOST_FAILURES_OF_ALL {
            let [a, b] = u16::try_from(n).unwrap().to_be_bytes();
            let _ = sessions.log_in(b"s", None, IpAddr::from([198, 51, a, b]), 1060);
        }
        assert!(matches!(
            sessions.log_in(b"s", Some(b"s"), other, 1070),
            Err(NoSession::TooMany(_))
        ));
    }

    #[test]
    fn sessions_are_bounded() {
        let sessions = Sessions::new("fv_dbg").unwrap();
        for _ in 0..MOST_SESSIONS {
            sessions.open(1000).unwrap();
        }
        assert_eq!(sessions.open(1000), Err(NoSession::Unavailable));
        assert!(sessions.open(1000 + LASTS).is_ok());
    }
}
