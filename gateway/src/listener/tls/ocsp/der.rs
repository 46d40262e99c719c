//! A reader of DER (X.690) for the few structures of OCSP: one element after the other, definite and minimal lengths, nothing
//! kept and nothing allocated. It knows no types.

/// Elements that stand one after the other.
#[derive(Clone, Copy)]
pub(super) struct Der<'a>(pub(super) &'a [u8]);

/// One element.
#[derive(Clone, Copy)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) body: &'a [u8],
    /// With tag and length.
    pub(super) whole: &'a [u8],
}

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;
/// `[0]`, `[1]`, `[2]` with elements in them.
pub(super) const CONTEXT: [u8; 3] = [0xa0, 0xa1, 0xa2];

impl<'a> Der<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next element, whatever it is.
    pub(super) fn next(&mut self) -> Option<Element<'a>> {
        let all = self.0;
        let (&[tag, first], rest) = all.split_first_chunk::<2>()?;
        // A tag of several bytes.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81 => {
                let (&[low], rest) = rest.split_first_chunk::<1>()?;
                (usize::from(low), rest)
            }
            0x82 => {
                let (bytes, rest) = rest.split_first_chunk::<2>()?;
                (usize::from(u16::from_be_bytes(*bytes)), rest)
            }
            _ => return None,
        };
        let minimal = match first {
            0x81 => length > 0x7f,
            0x82 => length > 0xff,
            _ => true,
        };
        let (body, after) = rest.split_at_checked(length)?;
        let (whole, _) = all.split_at_checked(all.len() - after.len())?;
        self.0 = after;
        minimal.then_some(Element { tag, body, whole })
    }

    /// The next element, which must have this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Option<Element<'a>> {
        self.next().filter(|element| element.tag == tag)
    }

    /// The next element if it has this tag.
    pub(super) fn optional(&mut self, tag: u8) -> Option<Element<'a>> {
        (self.0.first() == Some(&tag)).then(|| self.next()).flatten()
    }

    /// What is in the next element, which must have this tag.
    pub(super) fn enter(&mut self, tag: u8) -> Option<Self> {
        self.expect(tag).map(|element| Self(element.body))
    }
}

/// An element of these parts.
pub(super) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    match u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes() {
        [0, low @ 0..=0x7f] => out.push(low),
        [0, low] => out.extend([0x81, low]),
        [high, low] => out.extend([0x82, high, low]),
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for length in [0, 1, 127, 128, 255, 256, 5000] {
            let body = vec![7; length];
            let whole = element(OCTET_STRING, &[&body]);
            let mut der = Der(&whole);
            let read = der.expect(OCTET_STRING).unwrap();
            assert_eq!((read.body, read.whole), (&*body, &*whole));
            assert!(der.is_empty() && der.next().is_none());
            assert!(Der(&whole[..whole.len() - 1]).next().is_none());
        }
        for wrong in [
            &[0x04, 0x81, 0x01, 0][..],
            &[0x04, 0x82, 0, 1, 0],
            &[0x04, 0x80],
            &[0x1f, 0x81, 0],
            &[0x04],
        ] {
            assert!(Der(wrong).next().is_none(), "{wrong:?}");
        }
    }
}
