#![doc = include_str!("README.md")]

mod body;
mod config;
mod filter;
mod pattern;
mod places;
mod scope;
mod stats;
#[cfg(test)]
mod tests;

pub use config::TenantConfig;
pub use filter::Tenant;
pub use scope::{NotATenant, Scope, Scoped, TenantId};
pub use stats::{REASONS, TenantStats};
