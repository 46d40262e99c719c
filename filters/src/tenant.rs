//! Tenants: whose a request and a piece of state are.

mod scope;

pub use scope::{NotATenant, Scope, Scoped, TenantId};
