//! Policy bundles: the format, signatures and whose count, versions that never go back, the state that survives a
//! restart, sources, and the way from a signed text to [`policies::Policies`].
//!
//! A bundle is verified before it is parsed, and refused whole when one thing in it is wrong. Nothing here knows of
//! requests on a wire, of a runtime, or of who holds the result.

pub mod algorithm;
pub mod attributes;
pub mod author;
pub mod compile;
pub mod cookie;
pub mod diff;
pub mod digest;
pub mod envelope;
pub mod examine;
pub mod explain;
pub mod format;
pub mod inspect;
pub mod kill_document;
pub mod lint;
pub mod loader;
pub mod policies;
pub mod problem;
pub mod requirement;
pub mod runtime;
pub mod sample;
pub mod seal;
pub mod signing;
pub mod source;
pub mod store;
pub mod strict;
pub mod switches;
pub mod timestamp;
pub mod trust;
pub mod version;
pub mod when;

mod index;
mod json;
mod secret_like;
