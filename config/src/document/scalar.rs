//! What a plain scalar means in the core schema of YAML 1.2 (10.3.2): only `true` and `false` are booleans.

use super::{Kind, Number, NumberValue};

/// The value of a plain scalar.
pub(super) fn resolve(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "true" | "True" | "TRUE" => Kind::Bool(true),
        "false" | "False" | "FALSE" => Kind::Bool(false),
        _ => match number(text) {
            Some(value) => Kind::Number(Number {
                text: text.into(),
                value,
            }),
            None => Kind::String(text.into()),
        },
    }
}

fn number(text: &str) -> Option<NumberValue> {
    let first = text.bytes().next()?;
    if !(first.is_ascii_digit() || matches!(first, b'-' | b'+' | b'.')) {
        return None;
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    match unsigned {
        ".inf" | ".Inf" | ".INF" => {
            return Some(NumberValue::Float(if text.starts_with('-') {
                f64::NEG_INFINITY
            } else {
                f64::INFINITY
            }));
        }
        ".nan" | ".NaN" | ".NAN" if unsigned.len() == text.len() => return Some(NumberValue::Float(f64::NAN)),
        _ => {}
    }
    if !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit()) {
        return Some(whole(text));
    }
    is_float(unsigned)
        .then(|| text.parse().ok().map(NumberValue::Float))
        .flatten()
}

/// A whole number in decimal. One that no machine integer holds becomes a float.
pub(super) fn whole(text: &str) -> NumberValue {
    let plain = text.strip_prefix('+').unwrap_or(text);
    plain
        .parse()
        .map(NumberValue::Unsigned)
        .or_else(|_| plain.parse().map(NumberValue::Signed))
        .unwrap_or_else(|_| NumberValue::Float(plain.parse().unwrap_or(f64::INFINITY)))
}

fn radix(digits: &str, radix: u32) -> Option<NumberValue> {
    let plain = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    plain.then(|| u64::from_str_radix(digits, radix).map_or(NumberValue::Float(f64::INFINITY), NumberValue::Unsigned))
}

/// `( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`
fn is_float(text: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (text, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mantissa_fits = digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    mantissa_fits && exponent.is_none_or(|exponent| !exponent.is_empty() && digits(exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(text: &str, value: &NumberValue) -> bool {
        matches!(resolve(text), Kind::Number(number) if number.value == *value)
    }

    #[test]
    fn only_the_core_schema_counts() {
        for text in [
            "yes", "no", "on", "off", "y", "1_000", "0b1", "1:30", "tRue", "-", ".", "+", "1e", "e1", "0x", "-0x1",
            "+.nan",
        ] {
            assert!(matches!(resolve(text), Kind::String(_)), "{text}");
        }
        assert!(matches!(resolve("~"), Kind::Null) && matches!(resolve(""), Kind::Null));
        assert!(matches!(resolve("TRUE"), Kind::Bool(true)));
        assert!(is("0x1F", &NumberValue::Unsigned(31)) && is("0o17", &NumberValue::Unsigned(15)));
        assert!(is("010", &NumberValue::Unsigned(10)) && is("+5", &NumberValue::Unsigned(5)));
        assert!(is("-7", &NumberValue::Signed(-7)) && is("1.", &NumberValue::Float(1.0)));
        assert!(is(".5", &NumberValue::Float(0.5)) && is("-1e3", &NumberValue::Float(-1000.0)));
        assert!(is("18446744073709551615", &NumberValue::Unsigned(u64::MAX)));
        assert!(is(
            "18446744073709551616",
            &NumberValue::Float(18_446_744_073_709_551_616.0)
        ));
        assert!(is("-.inf", &NumberValue::Float(f64::NEG_INFINITY)));
    }
}
