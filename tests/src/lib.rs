//! What black-box tests stand on: the real binary as a child process, origins that record what reaches them, an identity
//! provider, clients that say exactly what they are told to, and signed bundles. Only loopback, only ephemeral ports.

// All of this is test code, which fails by panicking.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod browser;
pub mod bundle;
pub mod chat;
pub mod chromium;
pub mod control_plane;
pub mod corpus;
pub mod edge;
pub mod evil;
pub mod ext_authz;
pub mod fortress;
pub mod gateway;
pub mod h1;
pub mod h2raw;
pub mod idp;
pub mod leaks;
pub mod llm;
pub mod load;
pub mod mmdb;
pub mod mutate;
pub mod nginx;
pub mod op;
pub mod origin;
pub mod policies;
pub mod ports;
pub mod proxies;
pub mod siege;
pub mod skip;
pub mod source;
pub mod strict;
pub mod suite;
pub mod tls;
pub mod trial;
pub mod witness;
