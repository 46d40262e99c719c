//! What a server may answer over HTTP/1: every byte of an answer is read here, before Pingora's more forgiving reading sees it.
//!
//! [`Scanner`] finds the end of each answer and refuses what breaks the rules of [`Fault`]'s table; it changes nothing and keeps
//! no more than an unfinished line. What an answer means is for others.

mod chunk;
mod grammar;
mod scan;
mod table;
#[cfg(test)]
mod tests;

pub use self::scan::Expect;
pub(super) use self::scan::Scanner;
pub use self::table::{Fault, Row, TABLE};
