//! What bytes may stand where (RFC 9110, 5.6.2; RFC 3986; RFC 5234), a table look-up each. It knows no grammar.

/// RFC 9110 `tchar`.
const TOKEN: u8 = 1;
/// What may stand in a request target: everything visible but `#`. Letters beyond ASCII are the path's to judge.
const TARGET: u8 = 2;
/// What may stand in a field's value: everything but control characters; the tab is none.
const VALUE: u8 = 4;

static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        #[allow(clippy::cast_possible_truncation)] // below 256
        let letter = byte as u8;
        let mut class = 0;
        if letter.is_ascii_alphanumeric()
            || matches!(
                letter,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            )
        {
            class |= TOKEN;
        }
        if letter > b' ' && letter != 0x7f && letter != b'#' {
            class |= TARGET;
        }
        if (letter >= b' ' && letter != 0x7f) || letter == b'\t' {
            class |= VALUE;
        }
        #[allow(clippy::indexing_slicing)] // at compile time
        {
            classes[byte] = class;
        }
        byte += 1;
    }
    classes
}

fn has(byte: u8, class: u8) -> bool {
    CLASSES
        .get(usize::from(byte))
        .is_some_and(|classes| classes & class != 0)
}

/// Whether a byte may stand in a token.
pub(crate) fn is_token(byte: u8) -> bool {
    has(byte, TOKEN)
}

/// Whether a byte may stand in a request target.
pub(super) fn is_target(byte: u8) -> bool {
    has(byte, TARGET)
}

/// Whether a byte may stand in a field's value.
pub(super) fn is_value(byte: u8) -> bool {
    has(byte, VALUE)
}

/// A space or a tab.
pub(super) const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Whether all bytes may stand in a field's value. Looks at eight at a time, as long as none of them is doubtful.
pub(crate) fn all_value(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    words
        .iter()
        .all(|word| is_plain(u64::from_ne_bytes(*word)) || word.iter().all(|byte| is_value(*byte)))
        && rest.iter().all(|byte| is_value(*byte))
}

/// Whether none of eight bytes is below the space or DEL. May say no to a word that has a byte beyond ASCII.
const fn is_plain(word: u64) -> bool {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    // A borrow only comes from a byte that is below the space itself, and any one is enough.
    let below_space = word.wrapping_sub(ONES * 0x20) & !word;
    let flipped = word ^ (ONES * 0x7f);
    let is_del = flipped.wrapping_sub(ONES) & !flipped;
    (below_space | is_del) & HIGH == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_bytes_agree() {
        for byte in 0..=255_u8 {
            for place in 0..11 {
                for filler in [b' ', b'a', 0xff, b'\t'] {
                    let mut text = [filler; 11];
                    text[place] = byte;
                    assert_eq!(
                        all_value(&text),
                        is_value(byte),
                        "{byte:#x} at {place} among {filler:#x}"
                    );
                }
            }
        }
    }

    #[test]
    fn classes_are_those_of_the_standards() {
        let count = |class| (0..=255).filter(|byte| has(*byte, class)).count();
        assert_eq!((count(TOKEN), count(TARGET), count(VALUE)), (77, 221, 224));
        assert!(is_token(b'~') && !is_token(b':') && !is_token(b'(') && !is_token(0x80));
        assert!(is_target(b'%') && !is_target(b' ') && !is_target(b'#') && is_target(0xc3));
        assert!(is_value(b'\t') && is_value(0x80) && !is_value(b'\r') && !is_value(0));
    }
}
