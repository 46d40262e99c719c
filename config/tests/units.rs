//! Durations, sizes and rates: what is written is what is meant, and comes back as it was.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)] // a test may

use portcullis_config::units::{ByteSize, Duration, Rate};
use proptest::prelude::*;

#[test]
fn durations() {
    for (text, milliseconds, shown) in [
        ("0s", 0, "0s"),
        ("250ms", 250, "250ms"),
        ("1000ms", 1000, "1s"),
        ("90s", 90_000, "90s"),
        ("60s", 60_000, "1m"),
        ("2h", 7_200_000, "2h"),
        ("7d", 604_800_000, "7d"),
        ("007s", 7000, "7s"),
    ] {
        let duration: Duration = text.parse().unwrap();
        assert_eq!(duration.get().as_millis(), milliseconds);
        assert_eq!(duration.to_string(), shown);
    }
    for text in [
        "",
        "5",
        "s",
        "-5s",
        "+5s",
        "5 s",
        "5S",
        "5us",
        "5sec",
        "1.5s",
        "1,5s",
        "1m30s",
        "٣s",
        "18446744073709551615d",
        "99999999999999999999s",
    ] {
        assert!(text.parse::<Duration>().is_err(), "{text}");
    }
    assert_eq!(
        "18446744073709551615ms".parse::<Duration>().unwrap().get().as_millis(),
        u128::from(u64::MAX)
    );
}

#[test]
fn sizes() {
    for (text, bytes, shown) in [
        ("0", 0, "0B"),
        ("512", 512, "512B"),
        ("512B", 512, "512B"),
        ("32KiB", 32 << 10, "32KiB"),
        ("1024KiB", 1 << 20, "1MiB"),
        ("1536KiB", 1536 << 10, "1536KiB"),
        ("3GiB", 3 << 30, "3GiB"),
    ] {
        let size: ByteSize = text.parse().unwrap();
        assert_eq!(size.get(), bytes);
        assert_eq!(size.to_string(), shown);
    }
    for text in [
        "",
        "B",
        "-1",
        "1KB",
        "1k",
        "1 KiB",
        "1.5KiB",
        "1TiB",
        "0x10",
        "17179869184GiB",
    ] {
        assert!(text.parse::<ByteSize>().is_err(), "{text}");
    }
}

#[test]
fn rates() {
    for (text, per_second) in [
        ("10/s", 10.0),
        ("600/m", 10.0),
        ("3600/h", 1.0),
        ("86400/d", 1.0),
        ("0.5/s", 0.5),
        ("1./s", 1.0),
    ] {
        assert!(
            (text.parse::<Rate>().unwrap().per_second - per_second).abs() < 1e-12,
            "{text}"
        );
    }
    for text in [
        "",
        "10",
        "/s",
        "10/",
        "10/w",
        "-1/s",
        "+1/s",
        "1e3/s",
        "inf/s",
        "nan/s",
        "NaN/s",
        "./s",
        "1.2.3/s",
        "10 /s",
        "0/s",
        "0.0/d",
        "1000000001/s",
        "99999999999999999999999999999999999999/s",
    ] {
        assert!(text.parse::<Rate>().is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn durations_round_trip(milliseconds: u64) {
        let duration = Duration::from_millis(milliseconds);
        prop_assert_eq!(duration.to_string().parse::<Duration>(), Ok(duration));
    }

    #[test]
    fn sizes_round_trip(bytes: u64) {
        let size = ByteSize::bytes(bytes);
        prop_assert_eq!(size.to_string().parse::<ByteSize>(), Ok(size));
    }

    #[test]
    fn rates_round_trip(per_second in Rate::LEAST..=Rate::MOST) {
        let rate = Rate { per_second };
        prop_assert_eq!(rate.to_string().parse::<Rate>(), Ok(rate));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,24}") {
        let _ = (text.parse::<Duration>(), text.parse::<ByteSize>(), text.parse::<Rate>());
    }

    #[test]
    fn any_number_with_any_unit(number in "[0-9.]{0,24}", unit in "(ms|s|m|h|d|B|KiB|MiB|GiB|/s|/m|/h|/d|)") {
        let text = format!("{number}{unit}");
        if let Ok(duration) = text.parse::<Duration>() {
            prop_assert_eq!(duration.to_string().parse::<Duration>(), Ok(duration));
        }
        if let Ok(rate) = text.parse::<Rate>() {
            prop_assert!(rate.per_second > 0.0 && rate.per_second.is_finite());
        }
        let _ = text.parse::<ByteSize>();
    }
}
