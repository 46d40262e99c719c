//! The YAML language of Portcullis: what an operator writes, as typed values with places.
//!
//! Text becomes a [`document::Document`] (a tree that knows where each node stands), the tree becomes typed
//! configuration ([`gateway::Config`] and its parts), and everything wrong on the way becomes a
//! [`diagnostic::Diagnostic`]. This crate knows nothing of Pingora, of tokio or of what a filter does with its keys.

pub mod activation;
pub mod address;
pub mod codes;
pub mod control_plane;
pub mod decode;
pub mod diagnostic;
pub mod document;
pub mod gateway;
pub mod geoip;
mod http_text;
pub mod identity;
pub mod key;
mod link;
pub mod listener;
pub mod load;
pub mod matcher;
pub mod overload;
pub mod path;
pub mod policy;
pub mod rollout;
pub mod schema;
pub mod secret;
pub mod site;
pub mod span;
pub mod state;
pub mod telemetry;
pub mod text;
pub mod units;
pub mod upstream;
pub mod validate;
