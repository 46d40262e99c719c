//! Ids and their families, logins on their way, limits, the table of sessions, and what of a configuration is refused.

mod build;
mod logins;
mod sessions;
