//! A small HTTP/1.1 client for documents that the gateway itself needs: key sets, bundles, and the answers of a trace collector.
//! It is not on the path of requests: no pool, no proxy, no redirect, no decompression; one connection an exchange.
//!
//! What it guarantees: TLS is always verified, plaintext goes to loopback only (unless [`Url::parse_any`] was asked for), every
//! step has a deadline, and no more than the caller's limit is ever held of an answer.

mod cache_control;
mod connect;
mod error;
mod exchange;
mod fetch;
mod tls;
mod url;

#[cfg(test)]
pub(crate) mod stub;
#[cfg(test)]
mod tests;

pub use error::FetchError;
pub use exchange::{Client, USER_AGENT};
pub use fetch::{Document, Fetched, Validator, get};
pub use url::Url;
