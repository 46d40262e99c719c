//! Whom a bundle is for: names of gateways. Whether one of them is this gateway's is asked in `loader`.

use super::Compiler;
use super::scalars::MAX_AUDIENCE;
use crate::problem::Place;

/// Bytes of a name: as many as `control_plane.edge_id` may have.
const MAX_BYTES: usize = 64;

impl Compiler {
    /// Only names that a gateway can have are accepted: any other would quietly be nobody's.
    pub(super) fn audience(&mut self, written: Option<&[String]>) -> Option<Box<[Box<str>]>> {
        let written = written?;
        let list = Place::ROOT.field("audience");
        if written.is_empty() {
            let (message, help) = (
                "no gateway would accept it",
                "without `audience` it is for every gateway",
            );
            self.problems.advise("empty-list", &list, message, help);
        }
        self.at_most(written.len(), MAX_AUDIENCE, &list, "names");
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        for (index, name) in written.iter().enumerate() {
            if !(1..=MAX_BYTES).contains(&name.len()) || !name.bytes().all(plain) {
                let help = "use letters, digits, `_`, `-` and `.`, 1 to 64 of them";
                let message = "no gateway has this name";
                self.problems.advise("invalid-name", &list.item(index), message, help);
            }
        }
        Some(written.iter().map(|name| name.as_str().into()).collect())
    }
}
