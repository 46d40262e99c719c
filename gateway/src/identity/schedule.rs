//! When the next fetch is due. Pure: time and chance are passed in.

use std::time::Duration;

use portcullis_config::identity::Refresh;

/// After a fetch that worked: the interval, or less where the provider says that its answer is fresh for less. Up to a tenth is left off
/// by chance, so that many gateways do not ask at once.
pub(super) fn after_success(refresh: &Refresh, fresh_for: Option<Duration>, chance: f64) -> Duration {
    let (interval, cooldown) = bounds(refresh);
    let wanted = fresh_for.map_or(interval, |fresh| fresh.min(interval));
    wanted.mul_f64(1.0 - 0.1 * chance).clamp(cooldown, interval)
}

/// After the `failures`-th failure in a row: the cooldown, doubled each time, up to the interval; by chance between a half and the whole of it.
pub(super) fn after_failure(refresh: &Refresh, failures: u32, chance: f64) -> Duration {
    let (interval, cooldown) = bounds(refresh);
    let doubled = cooldown.saturating_mul(2_u32.saturating_pow(failures.clamp(1, 31) - 1));
    doubled
        .min(interval)
        .mul_f64(0.5 + 0.5 * chance)
        .clamp(cooldown, interval)
}

/// The longest and the shortest time between two fetches.
fn bounds(refresh: &Refresh) -> (Duration, Duration) {
    // What is not bounded by anything else still ends some day, and never becomes a busy loop.
    let cooldown = refresh.cooldown.get().clamp(Duration::from_millis(10), LONGEST);
    (refresh.interval.get().clamp(cooldown, LONGEST), cooldown)
}

const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

#[cfg(test)]
mod tests {
    use portcullis_config::units;

    use super::*;

    fn refresh(interval: u64, cooldown: u64) -> Refresh {
        let (interval, cooldown) = (
            units::Duration::from_secs(interval),
            units::Duration::from_secs(cooldown),
        );
        Refresh {
            interval,
            cooldown,
            ..Refresh::default()
        }
    }

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_provider_may_shorten_the_interval_to_the_cooldown_and_never_stretch_it() {
        let refresh = refresh(300, 10);
        for (fresh_for, chance, due) in [
            (None, 0.0, s(300)),
            (None, 1.0, s(270)),
            (Some(s(60)), 0.0, s(60)),
            (Some(s(0)), 0.0, s(10)),
            (Some(s(5)), 1.0, s(10)),
            (Some(s(u64::MAX)), 0.0, s(300)),
        ] {
            assert_eq!(
                after_success(&refresh, fresh_for, chance),
                due,
                "{fresh_for:?} {chance}"
            );
        }
    }

    #[test]
    fn failures_back_off_up_to_the_interval() {
        let refresh = refresh(300, 10);
        for (failures, chance, due) in [
            (1, 1.0, 10),
            (1, 0.0, 10),
            (2, 1.0, 20),
            (3, 1.0, 40),
            (3, 0.0, 20),
            (6, 1.0, 300),
            (u32::MAX, 1.0, 300),
        ] {
            assert_eq!(after_failure(&refresh, failures, chance), s(due), "{failures} {chance}");
        }
    }

    #[test]
    fn odd_settings_are_no_busy_loop() {
        assert_eq!(after_success(&refresh(0, 0), None, 0.0), Duration::from_millis(10));
        assert_eq!(after_success(&refresh(5, 10), None, 0.0), s(10));
        assert_eq!(after_failure(&refresh(u64::MAX, u64::MAX), 3, 1.0), LONGEST);
    }
}
