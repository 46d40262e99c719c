//! What a request costs, for every algorithm that counts more than requests. Reading the number out of a request is the
//! evaluator's.

use http::HeaderName;

/// What a request costs.
#[derive(Debug, Clone, PartialEq)]
pub enum Cost {
    /// Always the same.
    Fixed(f64),
    /// The number in a header field; `default` when it is absent, not a number, not finite or not positive.
    Header {
        /// The field.
        name: HeaderName,
        /// The cost without a usable number.
        default: f64,
    },
    /// The number in a query parameter, likewise.
    Query {
        /// The parameter.
        name: Box<str>,
        /// The cost without a usable number.
        default: f64,
    },
}
