//! The normal form of a path, written a second time and in another way than the gateway's: segment by segment and decoded,
//! slowly and plainly. It is what the gateway's answer is compared with, and serves nobody else.

/// A byte of a path and whether it was escaped.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Byte {
    value: u8,
    escaped: bool,
}

/// The normal form, `None` where the path has to be refused.
pub(crate) fn model(raw: &str) -> Option<String> {
    let bytes = decode(raw.as_bytes())?;
    if bytes.first()
        != Some(&Byte {
            value: b'/',
            escaped: false,
        })
    {
        return None;
    }
    let values: Vec<u8> = bytes.iter().map(|byte| byte.value).collect();
    String::from_utf8(values).ok()?;
    let segments: Vec<&[Byte]> = bytes.split(|byte| byte.value == b'/').collect();
    let mut stack: Vec<&[Byte]> = Vec::new();
    for segment in &segments {
        let text: Vec<u8> = segment.iter().map(|byte| byte.value).collect();
        match text.as_slice() {
            b"" | b"." => {}
            b".." => drop(stack.pop()),
            _ if has_dots_and_a_parameter(segment) => return None,
            _ => stack.push(segment),
        }
    }
    let last: Vec<u8> = segments.last()?.iter().map(|byte| byte.value).collect();
    let mut out: String = stack
        .iter()
        .flat_map(|segment| ["/".to_owned(), encode(segment)])
        .collect();
    if stack.is_empty() || matches!(last.as_slice(), b"" | b"." | b"..") {
        out.push('/');
    }
    Some(out)
}

/// Every byte with its escape undone.
fn decode(raw: &[u8]) -> Option<Vec<Byte>> {
    let mut bytes = Vec::new();
    let mut rest = raw;
    loop {
        rest = match rest {
            [] => return Some(bytes),
            [b'%', high, low, rest @ ..] => {
                let text = [*high, *low];
                if !text.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                let value = u8::from_str_radix(std::str::from_utf8(&text).ok()?, 16).ok()?;
                if value == b'/' || value == 0 {
                    return None;
                }
                bytes.push(Byte { value, escaped: true });
                rest
            }
            [b'%' | b'#' | 0..=b' ' | 0x7f, ..] => return None,
            [value, rest @ ..] => {
                bytes.push(Byte {
                    value: *value,
                    escaped: false,
                });
                rest
            }
        }
    }
}

/// `.` or `..`, then `;`: a dot segment to those who cut parameters off.
fn has_dots_and_a_parameter(segment: &[Byte]) -> bool {
    let semicolon = Byte {
        value: b';',
        escaped: false,
    };
    let name = segment.split(|byte| *byte == semicolon).next().unwrap_or_default();
    let dots = name.iter().all(|byte| byte.value == b'.') && (1..=2).contains(&name.len());
    dots && name.len() < segment.len()
}

fn encode(segment: &[Byte]) -> String {
    segment
        .iter()
        .map(|byte| {
            let value = byte.value;
            let unreserved = value.is_ascii_alphanumeric() || b"-._~".contains(&value);
            let plain = !byte.escaped && b"!$&'()*+,;=:@".contains(&value);
            if unreserved || plain {
                char::from(value).to_string()
            } else {
                format!("%{value:02X}")
            }
        })
        .collect()
}
