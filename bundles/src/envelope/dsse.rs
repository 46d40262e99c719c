//! The one JSON shape that is read before anything is verified, by a reader that can read nothing else:
//! `{"payload": "..", "payloadType": "..", "signatures": [{"keyid": "..", "sig": ".."}]}` in any order.
//!
//! It allocates nothing but the short list of signatures. Names it does not know, names given twice, escapes, and
//! anything after the envelope but one line feed are refused.

use smallvec::SmallVec;

use super::MAX_SIGNATURES;

/// An envelope; all texts as they stand, still in base64.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Envelope<'a> {
    pub(super) payload: &'a str,
    pub(super) payload_type: &'a str,
    pub(super) signatures: SmallVec<[Signature<'a>; 4]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Signature<'a> {
    pub(super) key_id: &'a str,
    pub(super) signature: &'a str,
}

/// Why bytes are not an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum DsseError {
    #[error("the envelope is not JSON of the shape DSSE has (byte {0})")]
    Syntax(usize),
    #[error("the envelope has an escape in a string, where none is ever needed (byte {0})")]
    Escape(usize),
    #[error("the envelope has a name that DSSE does not know, or a known one twice (byte {0})")]
    Name(usize),
    #[error("the envelope lacks `{0}`")]
    Missing(&'static str),
    #[error("the envelope has an empty `{0}`")]
    Empty(&'static str),
    #[error("the envelope has no signature")]
    NoSignature,
    #[error("the envelope has more than {MAX_SIGNATURES} signatures")]
    TooManySignatures,
    #[error("there is something after the envelope (byte {0})")]
    Trailing(usize),
}

/// Whether the first name in an object is one of an envelope's. A bundle has none of them.
pub(super) fn looks_like_one(bytes: &[u8]) -> bool {
    let mut reader = Reader { bytes, at: 0 };
    reader.eat(b'{').is_ok()
        && reader
            .string()
            .is_ok_and(|name| matches!(name, "payload" | "payloadType" | "signatures"))
}

/// Reads an envelope.
pub(super) fn parse(bytes: &[u8]) -> Result<Envelope<'_>, DsseError> {
    let mut reader = Reader { bytes, at: 0 };
    let mut payload = None;
    let mut payload_type = None;
    let mut signatures = None;
    reader.object(|reader, name, at| match name {
        "payload" if payload.is_none() => {
            payload = Some(reader.string()?);
            Ok(())
        }
        "payloadType" if payload_type.is_none() => {
            payload_type = Some(reader.string()?);
            Ok(())
        }
        "signatures" if signatures.is_none() => {
            signatures = Some(reader.signatures()?);
            Ok(())
        }
        _ => Err(DsseError::Name(at)),
    })?;
    // Editors and tools end files with a line feed.
    let rest = bytes.get(reader.at..).unwrap_or_default();
    if !matches!(rest, b"" | b"\n") {
        return Err(DsseError::Trailing(reader.at));
    }
    let signatures = signatures.ok_or(DsseError::Missing("signatures"))?;
    if signatures.is_empty() {
        return Err(DsseError::NoSignature);
    }
    Ok(Envelope {
        payload: payload.ok_or(DsseError::Missing("payload"))?,
        payload_type: payload_type.ok_or(DsseError::Missing("payloadType"))?,
        signatures,
    })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> Result<(), DsseError> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(DsseError::Syntax(self.at))
        }
    }

    /// Whether another element follows; eats the comma or the end.
    fn more(&mut self, end: u8) -> Result<bool, DsseError> {
        if self.eat(b',').is_ok() {
            return Ok(true);
        }
        self.eat(end).map(|()| false)
    }

    fn string(&mut self) -> Result<&'a str, DsseError> {
        self.eat(b'"')?;
        let start = self.at;
        let rest = self.bytes.get(start..).unwrap_or_default();
        let special = |byte: &u8| *byte < 0x20 || matches!(byte, b'"' | b'\\');
        let length = rest
            .iter()
            .position(special)
            .ok_or(DsseError::Syntax(self.bytes.len()))?;
        self.at = start + length;
        match self.bytes.get(self.at) {
            Some(b'"') => self.at += 1,
            Some(b'\\') => return Err(DsseError::Escape(self.at)),
            _ => return Err(DsseError::Syntax(self.at)),
        }
        let text = rest.get(..length).unwrap_or_default();
        std::str::from_utf8(text).map_err(|_| DsseError::Syntax(start))
    }

    /// Reads an object that is not empty; `field` reads the value of each name.
    fn object(
        &mut self,
        mut field: impl FnMut(&mut Self, &'a str, usize) -> Result<(), DsseError>,
    ) -> Result<(), DsseError> {
        self.eat(b'{')?;
        loop {
            let at = self.at;
            let name = self.string()?;
            self.eat(b':')?;
            field(self, name, at)?;
            if !self.more(b'}')? {
                return Ok(());
            }
        }
    }

    fn signatures(&mut self) -> Result<SmallVec<[Signature<'a>; 4]>, DsseError> {
        let mut signatures = SmallVec::new();
        self.eat(b'[')?;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(signatures);
        }
        loop {
            if signatures.len() >= MAX_SIGNATURES {
                return Err(DsseError::TooManySignatures);
            }
            signatures.push(self.signature()?);
            if !self.more(b']')? {
                return Ok(signatures);
            }
        }
    }

    fn signature(&mut self) -> Result<Signature<'a>, DsseError> {
        let mut key_id = None;
        let mut signature = None;
        self.object(|reader, name, at| {
            let place = match name {
                "keyid" => &mut key_id,
                "sig" => &mut signature,
                _ => return Err(DsseError::Name(at)),
            };
            if place.is_some() {
                return Err(DsseError::Name(at));
            }
            *place = Some(reader.string()?);
            Ok(())
        })?;
        let filled = |text: Option<&'a str>, name| match text {
            None => Err(DsseError::Missing(name)),
            Some("") => Err(DsseError::Empty(name)),
            Some(text) => Ok(text),
        };
        Ok(Signature {
            key_id: filled(key_id, "keyid")?,
            signature: filled(signature, "sig")?,
        })
    }
}
