//! The keeper of one realm: jobs on the background runtime, each asked for once, and changes for the store.

use std::sync::{Arc, Weak};

use portcullis_filters::session::id::{Id, Key, Random};
use portcullis_filters::session::keeper::{Job, Keeper, Keeping, LoggedIn, LoginJob, NotKept};
use portcullis_filters::session::provider::Provider;
use portcullis_filters::session::record::Record;
use portcullis_filters::session::table::{SessionTable, Which};
use portcullis_filters::session::tokens::{self, Doubt, Identity, NotGiven};
use portcullis_filters::verdict::Waiting;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::watch;

use super::provider::{Trouble, discover, exchange, forget};
use super::{Flight, Inner, lock};

pub(super) struct RealmKeeper {
    inner: Weak<Inner>,
    realm: String,
}

impl RealmKeeper {
    pub(super) fn new(inner: &Arc<Inner>, realm: &str) -> Self {
        Self {
            inner: Arc::downgrade(inner),
            realm: realm.to_owned(),
        }
    }

    fn flight(&self, job: &Job) -> Option<Flight> {
        match job {
            Job::Discover(provider) => Some(Flight::Discovery(provider.metadata.source().to_string())),
            Job::Renew(_, _, key, _) => Some(Flight::Renewal(self.realm.clone(), *key)),
            Job::Login(_) | Job::Forget(..) => None,
        }
    }
}

impl Keeper for RealmKeeper {
    fn random(&self) -> Option<Random> {
        random()
    }

    fn remembers(&self) -> bool {
        false
    }

    fn keep(&self, _key: &Key, _record: Option<Vec<u8>>) -> Keeping {
        Box::pin(std::future::ready(Ok::<(), NotKept>(())))
    }

    fn begin(&self, job: Job) -> Waiting {
        let nothing = || -> Waiting { Box::pin(std::future::ready(())) };
        let Some(inner) = self.inner.upgrade() else {
            return nothing();
        };
        let Some(runtime) = lock(&inner.runtime).clone() else {
            return nothing();
        };
        let flight = self.flight(&job);
        let mut flights = lock(&inner.flights);
        if let Some(ended) = flight.as_ref().and_then(|flight| flights.get(flight)) {
            return until(ended.clone());
        }
        let (end, ended) = watch::channel(());
        if let Some(flight) = &flight {
            flights.insert(flight.clone(), ended.clone());
        }
        drop(flights);
        let landing = Landing {
            inner: Weak::clone(&self.inner),
            flight,
            _end: end,
        };
        runtime.spawn(async move {
            // Whoever waits goes on when this is dropped, however the job ended.
            let _landing = landing;
            do_it(&inner, job).await;
        });
        until(ended)
    }
}

/// Ends a flight.
struct Landing {
    inner: Weak<Inner>,
    flight: Option<Flight>,
    _end: watch::Sender<()>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        if let (Some(inner), Some(flight)) = (self.inner.upgrade(), &self.flight) {
            lock(&inner.flights).remove(flight);
        }
    }
}

fn until(mut ended: watch::Receiver<()>) -> Waiting {
    Box::pin(async move {
        // Nothing is ever sent: it is over when the sender is gone.
        while ended.changed().await.is_ok() {}
    })
}

fn random() -> Option<Random> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(bytes)
}

async fn do_it(inner: &Inner, job: Job) {
    match job {
        Job::Discover(provider) => {
            if let Err(trouble) = discover(&provider).await {
                told(&provider, "its endpoints are not known", &trouble);
            }
        }
        Job::Login(job) => {
            let outcome = job.outcome.clone();
            outcome.put(log_in(inner, &job).await);
        }
        Job::Renew(provider, table, key, serial) => renew(inner, &provider, &table, (&key, serial)).await,
        Job::Forget(provider, token) => {
            if let Err(trouble) = forget(&provider, &token).await {
                told(&provider, "it was not told of an end", &trouble);
            }
        }
    }
}

fn told(provider: &Provider, what: &str, trouble: &Trouble) {
    let (issuer, reason) = (&*provider.name, trouble.code());
    tracing::warn!(issuer, reason, error = %trouble, "provider: {what}");
}

async fn log_in(inner: &Inner, job: &LoginJob) -> LoggedIn {
    let provider = &job.provider;
    let form = [
        ("grant_type", "authorization_code"),
        ("code", &job.code),
        ("redirect_uri", &provider.redirect_url),
        ("code_verifier", &job.verifier),
    ];
    let given = match exchange(provider, &form, (inner.clock)().unix_ms).await {
        Ok(given) => given,
        Err(Trouble::NotGiven(NotGiven::InvalidGrant)) => return LoggedIn::Refused("invalid_grant"),
        Err(trouble) => {
            told(provider, "a code was not turned into tokens", &trouble);
            return LoggedIn::Unavailable(trouble.to_string());
        }
    };
    let Some(id_token) = &given.id_token else {
        return LoggedIn::Refused("id_token_missing");
    };
    let identity = match judged(inner, provider, |now| {
        tokens::identity(provider, id_token, &job.nonce, &job.terms.tenant, now)
    })
    .await
    {
        Ok(identity) => identity,
        Err(Doubt::Refused(reason)) => return LoggedIn::Refused(reason),
        Err(Doubt::Key) => return LoggedIn::Refused("unknown_key"),
        Err(Doubt::NoKeys) => return LoggedIn::Unavailable("its keys are not known".to_owned()),
    };
    let (Some(handle), Some(salt)) = (random(), random()) else {
        return LoggedIn::Unavailable("the system gives no random bytes".to_owned());
    };
    let now_ms = (inner.clock)().unix_ms;
    let record = record(job, identity, given.tokens, salt, now_ms);
    if record.to_bytes().is_none() {
        return LoggedIn::Refused("session_too_large");
    }
    match job.table.insert(Id::key_of(&handle), record, job.terms.most) {
        Ok(()) => LoggedIn::Yes { handle, salt },
        Err(_) => LoggedIn::Full,
    }
}

fn record(
    job: &LoginJob,
    identity: Identity,
    tokens: portcullis_filters::session::record::Tokens,
    salt: Random,
    now_ms: u64,
) -> Record {
    Record {
        version: 0,
        salt,
        family: portcullis_filters::session::id::Family {
            number: 0,
            since_ms: now_ms,
        },
        created_ms: now_ms,
        seen_ms: now_ms,
        idle_ms: job.terms.idle_ms,
        absolute_ms: job.terms.absolute_ms,
        issuer: job.provider.name.to_string(),
        subject: identity.subject,
        sid: identity.sid,
        tenant: identity.tenant,
        device: job.terms.device,
        claims: identity.claims,
        tokens,
    }
}

/// Judges a token; when its key is not known, once more with newer keys.
async fn judged<T>(
    inner: &Inner,
    provider: &Provider,
    judge: impl Fn(portcullis_filters::client::Now) -> Result<T, Doubt>,
) -> Result<T, Doubt> {
    match judge((inner.clock)()) {
        Err(doubt @ (Doubt::Key | Doubt::NoKeys)) => {
            let Some(waiting) = provider.id_tokens.keys.refresh() else {
                return Err(doubt);
            };
            waiting.await;
            judge((inner.clock)())
        }
        other => other,
    }
}

async fn renew(inner: &Inner, provider: &Arc<Provider>, table: &SessionTable, (key, serial): (&Key, u64)) {
    let Some(before) = table.refresh_token(key, serial, (inner.clock)().unix_ms) else {
        return;
    };
    let form = [("grant_type", "refresh_token"), ("refresh_token", &*before)];
    let mut given = match exchange(provider, &form, (inner.clock)().unix_ms).await {
        Ok(given) => given,
        Err(Trouble::NotGiven(NotGiven::InvalidGrant)) => {
            // The provider has ended it, perhaps because somebody used an old token again: RFC 9700, 4.14.2.
            tracing::warn!(
                issuer = &*provider.name,
                "a session ended: its refresh token is not good any more"
            );
            table.not_renewed();
            drop(table.revoke(&Which::Key(*key)));
            return;
        }
        Err(trouble) => {
            told(provider, "tokens were not renewed", &trouble);
            table.not_renewed();
            return;
        }
    };
    if let Some(token) = &given.id_token {
        let Some(subject) = table.subject(key) else { return };
        let same = judged(inner, provider, |now| {
            tokens::is_same_user(provider, token, &subject, now)
        })
        .await;
        if same != Ok(true) {
            tracing::warn!(
                issuer = &*provider.name,
                "a session ended: its renewed ID token is not good"
            );
            table.not_renewed();
            drop(table.revoke(&Which::Key(*key)));
            return;
        }
    }
    given.tokens.refresh = given.tokens.refresh.or(Some(before));
    table.renewed(key, given.tokens);
}
