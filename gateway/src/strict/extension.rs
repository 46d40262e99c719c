//! Chunk extensions (RFC 9112, 7.1.1), byte by byte: `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )`. Of requests
//! and of answers alike; how long they may be is the readers' to say.

use super::class::{is_blank, is_token, is_value};

/// What is expected next, behind a semicolon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ext {
    BeforeName,
    Name,
    AfterName,
    BeforeValue,
    Token,
    Quoted,
    Escaped,
    /// Behind the closing quote.
    Closed,
    AfterValue,
}

/// What a byte made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// It goes on.
    On(Ext),
    /// It was the carriage return behind a whole extension.
    Ended,
    /// It has no place there.
    Wrong,
}

impl Ext {
    /// The next byte.
    pub(crate) fn step(self, byte: u8) -> Step {
        let next = match (self, byte) {
            (Self::BeforeName | Self::AfterName | Self::BeforeValue | Self::AfterValue, b' ' | b'\t') => self,
            (Self::BeforeName | Self::Name, _) if is_token(byte) => Self::Name,
            (Self::BeforeValue | Self::Token, _) if is_token(byte) => Self::Token,
            (Self::Name, b' ' | b'\t') => Self::AfterName,
            (Self::Token | Self::Closed, b' ' | b'\t') => Self::AfterValue,
            (Self::Name | Self::AfterName, b'=') => Self::BeforeValue,
            (Self::Name | Self::AfterName | Self::Token | Self::Closed | Self::AfterValue, b';') => Self::BeforeName,
            (Self::Name | Self::Token | Self::Closed, b'\r') => return Step::Ended,
            (Self::BeforeValue, b'"') => Self::Quoted,
            (Self::Quoted, b'"') => Self::Closed,
            (Self::Quoted, b'\\') => Self::Escaped,
            (Self::Quoted | Self::Escaped, _) if is_value(byte) => Self::Quoted,
            _ => return Step::Wrong,
        };
        Step::On(next)
    }
}

/// Whether a text is nothing but extensions, its line's end not included.
pub(crate) fn are_extensions(text: &[u8]) -> bool {
    let blanks = text.iter().take_while(|byte| is_blank(**byte)).count();
    let Some((b';', rest)) = text.get(blanks..).and_then(<[u8]>::split_first) else {
        return false;
    };
    let mut at = Ext::BeforeName;
    for byte in rest {
        match at.step(*byte) {
            Step::On(next) => at = next,
            Step::Ended | Step::Wrong => return false,
        }
    }
    at.step(b'\r') == Step::Ended
}

#[cfg(test)]
mod tests {
    use super::are_extensions;

    #[test]
    fn of_a_line() {
        for good in [
            ";a",
            " ; a",
            ";a=b",
            ";a = b;c",
            ";a=\"b c\"",
            ";a=\"\\\"\";b",
            ";a;b=\"\"",
            "\t;\ta\t=\t\"x\"",
        ] {
            assert!(are_extensions(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "a",
            ";",
            ";a ",
            ";a=",
            ";a=\"b",
            ";a=\"b\\",
            ";a b",
            ";=b",
            ";a=b c",
            ";a=\"b\"c",
            ";a\r",
            ";a;",
            "\n;a",
            ";\u{c}a",
        ] {
            assert!(!are_extensions(bad.as_bytes()), "{bad:?}");
        }
    }
}
