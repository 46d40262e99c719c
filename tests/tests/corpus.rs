//! The corpus against Portcullis: every case comes to one of its allowed outcomes, the strict origin can account for every
//! byte, and a second client right after each case gets exactly its own answer. What filters must see is in `hostile.rs`.

use portcullis_e2e::corpus::portable;
use portcullis_e2e::mutate;
use portcullis_e2e::proxies::Which;
use portcullis_e2e::suite;

#[test]
fn every_case_is_refused_or_comes_out_canonical() {
    let cases = portable::cases();
    let report = suite::run(Which::Portcullis, &cases, 4).expect("Portcullis starts");
    assert!(
        report.failures.is_empty(),
        "{} failed:\n{}",
        report.failures.len(),
        report.list()
    );
}

#[test]
fn requests_that_are_made_worse_leave_nothing_that_the_origin_cannot_account_for() {
    let tally = mutate::run(Which::Portcullis, 1, 3000, 4).expect("Portcullis starts");
    assert!(
        tally.faults.is_empty(),
        "{} of {}: {:#?}",
        tally.faults.len(),
        tally.sent,
        tally.faults
    );
    assert!(tally.forwarded > 100 && tally.refused > 1000, "{tally:?}");
}
