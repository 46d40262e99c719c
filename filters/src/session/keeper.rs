//! What sessions need of the outside: chance, a store, and somebody who talks to the provider. The gateway provides it; here
//! are the shapes only.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use super::id::{Key, Random};
use super::provider::Provider;
use super::table::SessionTable;
use crate::verdict::Waiting;

/// A change was not written: it is in force, and may be forgotten by a crash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotKept(pub String);

/// Ready when a change survives a crash.
pub type Keeping = Pin<Box<dyn Future<Output = Result<(), NotKept>> + Send>>;

/// The outside.
pub trait Keeper: Send + Sync {
    /// New random bytes.
    fn random(&self) -> Option<Random>;

    /// Whether there is a store, which tells of each row that it has written.
    fn remembers(&self) -> bool;

    /// Has a session written, or its end. Changes are written in the order of calls. Never blocks.
    fn keep(&self, key: &Key, record: Option<Vec<u8>>) -> Keeping;

    /// Begins something that takes time. It is done whether anybody waits or not.
    fn begin(&self, job: Job) -> Waiting;
}

/// Something that takes time.
#[derive(Clone)]
pub enum Job {
    /// Finds out where the provider's endpoints are, unless that is known.
    Discover(Arc<Provider>),
    /// Turns a code into a session.
    Login(Box<LoginJob>),
    /// Renews a session's tokens, unless that was done since they had this serial. Any number may ask, one request answers all.
    Renew(Arc<Provider>, Arc<SessionTable>, Key, u64),
    /// Tells the provider that a refresh token is not used any more (RFC 7009).
    Forget(Arc<Provider>, String),
}

/// Everything that a code is turned into a session with.
#[derive(Clone)]
pub struct LoginJob {
    /// The provider.
    pub provider: Arc<Provider>,
    /// Where the session goes.
    pub table: Arc<SessionTable>,
    /// The provider's answer.
    pub code: String,
    /// The code verifier.
    pub verifier: String,
    /// What the ID token must have.
    pub nonce: String,
    /// The session as far as it is known: no user and no tokens yet.
    pub terms: Terms,
    /// Where the outcome goes.
    pub outcome: Outcome<LoggedIn>,
}

/// On which terms a session begins.
#[derive(Clone)]
pub struct Terms {
    /// A keyed hash of the device.
    pub device: Option<Random>,
    /// See [`super::record::Record::idle_ms`].
    pub idle_ms: u64,
    /// See [`super::record::Record::absolute_ms`].
    pub absolute_ms: u64,
    /// The tenant that the user asked to act for; empty: whichever the provider says.
    pub tenant: String,
    /// Most sessions of the table.
    pub most: usize,
}

/// How a login ended.
#[derive(Clone)]
pub enum LoggedIn {
    /// With a session: the handle and the salt of its ids, and its key.
    Yes {
        /// The random part of its ids.
        handle: Random,
        /// What they are made with.
        salt: Random,
    },
    /// The provider or the token said no: the reason code.
    Refused(&'static str),
    /// Nobody knows: the provider did not answer.
    Unavailable(String),
    /// There is no room for another session.
    Full,
}

/// Where the outcome of a job is left for whoever waited.
pub struct Outcome<T>(Arc<Mutex<Option<T>>>);

impl<T> Outcome<T> {
    /// Leaves it.
    pub fn put(&self, value: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    }

    /// Takes it.
    pub fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<T> Default for Outcome<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Clone for Outcome<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
