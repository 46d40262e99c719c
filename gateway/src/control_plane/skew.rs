//! Whether this machine's clock and the control plane's agree. Pure.

/// Seconds of difference that are nothing to speak of.
const TOLERATED_S: f64 = 10.0;

/// The difference, in seconds: above 0, the control plane's clock is ahead. `None`: they agree, as far as can be told.
///
/// `before` and `after` are this clock's times around the call in which the control plane said `theirs`; a slow answer is
/// no difference. A time that is no number says nothing.
pub(super) fn of(theirs: f64, before: f64, after: f64) -> Option<f64> {
    let difference = if theirs > after {
        theirs - after
    } else if theirs < before {
        theirs - before
    } else {
        0.0
    };
    (difference.is_finite() && difference.abs() > TOLERATED_S).then_some(difference)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ahead_behind_and_in_between() {
        assert_eq!(of(1000.0, 995.0, 996.0), None);
        assert_eq!(of(1011.0, 999.0, 1000.0), Some(11.0));
        assert_eq!(of(988.0, 999.0, 1000.0), Some(-11.0));
        // It took 40 s: the control plane may have read its clock at any time in between.
        assert_eq!(of(975.0, 960.0, 1000.0), None);
        for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(of(odd, 1.0, 2.0), None);
        }
    }
}
