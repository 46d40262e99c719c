//! A response as filters see it, on its way back.

use http::{HeaderMap, StatusCode};

use crate::facts::Facts;
use crate::request::Head;

/// A response on its way back through a chain. Changes to it are made through `facts.response_headers`.
pub struct Response<'a> {
    /// The request it answers.
    pub head: &'a Head<'a>,
    /// Its status.
    pub status: StatusCode,
    /// Its header fields as the upstream sent them.
    pub headers: &'a HeaderMap,
    /// What filters found out.
    pub facts: &'a mut Facts,
}
