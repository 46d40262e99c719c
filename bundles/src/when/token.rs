//! From text to tokens. What they mean together is [`super::parse`]'s.

use super::WhenError;

/// A token, and the byte at which it begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) at: usize,
    pub(super) kind: Kind,
}

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// A name; words of the language are names here.
    Name(Box<str>),
    Text(Box<str>),
    Int(i64),
    Double(f64),
    /// One of [`SIGNS`].
    Sign(&'static str),
    End,
}

/// Longer ones first, so that none is taken for two.
const SIGNS: [&str; 22] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "(", ")", "[", "]", ".", ",", "?", ":", "-", "+", "*", "/", "%",
];

/// Every token, and one for the end.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, WhenError> {
    let mut scanner = Scanner { text, at: 0 };
    let mut tokens = Vec::new();
    loop {
        scanner.skip_space();
        let at = scanner.at;
        let kind = scanner.next()?;
        let last = kind == Kind::End;
        tokens.push(Token { at, kind });
        if last {
            return Ok(tokens);
        }
    }
}

struct Scanner<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Scanner<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    /// The text while `wanted` holds.
    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|next| !wanted(next)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    fn error(&self, message: impl Into<String>) -> WhenError {
        WhenError::at(self.at, message)
    }

    /// White space and comments to the end of a line.
    fn skip_space(&mut self) {
        loop {
            self.take_while(char::is_whitespace);
            if !self.rest().starts_with("//") {
                return;
            }
            self.take_while(|next| next != '\n');
        }
    }

    fn next(&mut self) -> Result<Kind, WhenError> {
        let Some(first) = self.peek() else {
            return Ok(Kind::End);
        };
        let rest = self.rest();
        let raw = rest
            .strip_prefix(['r', 'R'])
            .is_some_and(|rest| rest.starts_with(['"', '\'']));
        if raw {
            self.take();
        }
        match first {
            '"' | '\'' => self.string(false),
            _ if raw => self.string(true),
            '0'..='9' => self.number(),
            'a'..='z' | 'A'..='Z' | '_' => {
                let name = self.take_while(|next| next.is_ascii_alphanumeric() || next == '_');
                Ok(Kind::Name(name.into()))
            }
            _ => {
                let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
                let sign = sign.ok_or_else(|| self.error(format!("`{first}` has no meaning here")))?;
                self.at += sign.len();
                Ok(Kind::Sign(sign))
            }
        }
    }

    fn number(&mut self) -> Result<Kind, WhenError> {
        let begin = self.at;
        let digits = |next: char| next.is_ascii_digit();
        self.take_while(digits);
        let mut whole = true;
        let mut after = self.rest().chars();
        if after.next() == Some('.') && after.next().is_some_and(digits) {
            whole = false;
            self.take();
            self.take_while(digits);
        }
        if self.peek().is_some_and(|next| matches!(next, 'e' | 'E')) {
            whole = false;
            self.take();
            if self.peek().is_some_and(|next| matches!(next, '+' | '-')) {
                self.take();
            }
            self.take_while(digits);
        }
        let text = self.text.get(begin..self.at).unwrap_or_default();
        let glued = self
            .peek()
            .is_some_and(|next| next.is_ascii_alphanumeric() || next == '_');
        let wrong = || WhenError::at(begin, format!("`{text}` is no number that fits")).help("such as 42 or 0.5");
        if glued {
            return Err(wrong());
        }
        if whole {
            return text.parse().map(Kind::Int).map_err(|_| wrong());
        }
        let number = text.parse().ok().filter(|number: &f64| number.is_finite());
        number.map(Kind::Double).ok_or_else(wrong)
    }

    fn string(&mut self, raw: bool) -> Result<Kind, WhenError> {
        let begin = self.at;
        let quote = self.take();
        let mut text = String::new();
        loop {
            match self.take() {
                Some('\n') | None => return Err(WhenError::at(begin, "the text has no end: its quote is missing")),
                next if next == quote => return Ok(Kind::Text(text.into())),
                Some('\\') if !raw => text.push(self.escape()?),
                Some(next) => text.push(next),
            }
        }
    }

    fn escape(&mut self) -> Result<char, WhenError> {
        let begin = self.at;
        let unknown = || {
            let message = "there is no such escape";
            WhenError::at(begin, message).help(r#"write \\, or r"..." for a text without escapes"#)
        };
        let digits = match self.take() {
            Some(plain @ ('\\' | '"' | '\'' | '`' | '?')) => return Ok(plain),
            Some('n') => return Ok('\n'),
            Some('r') => return Ok('\r'),
            Some('t') => return Ok('\t'),
            Some('x' | 'X') => 2,
            Some('u') => 4,
            Some('U') => 8,
            _ => return Err(unknown()),
        };
        let mut code = 0_u32;
        for _ in 0..digits {
            let digit = self.take().and_then(|next| next.to_digit(16)).ok_or_else(unknown)?;
            code = code
                .checked_mul(16)
                .and_then(|code| code.checked_add(digit))
                .ok_or_else(unknown)?;
        }
        char::from_u32(code).ok_or_else(unknown)
    }
}
