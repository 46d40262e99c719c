//! Courses of events, chosen by hand and by chance, over a clock that only the test turns.

use proptest::prelude::*;

use super::*;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn course() -> Course {
    let intervals = Intervals {
        heartbeat: s(5),
        poll: Some(s(30)),
    };
    Course::new(intervals, Duration::ZERO)
}

/// One that is registered and has nothing to do at `now`.
fn quiet(now: Duration) -> Course {
    let mut course = course();
    for call in [Call::Register, Call::Pull, Call::Heartbeat] {
        assert_eq!(course.next(now), Next::Call(call));
        course.succeeded(call, now, 0.5);
    }
    assert_eq!(course.next(now), Next::Wait(s(5)));
    course
}

#[test]
fn a_hint_brings_the_pull_forward_and_an_answer_goes_first() {
    let mut course = quiet(s(0));
    course.want_pull(s(1));
    assert_eq!(course.next(s(1)), Next::Call(Call::Pull));
    course.want_ack();
    assert_eq!(course.next(s(1)), Next::Call(Call::Ack));
    course.succeeded(Call::Ack, s(1), 0.5);
    course.succeeded(Call::Pull, s(1), 0.5);
    assert_eq!(course.next(s(1)), Next::Wait(s(4)));
}

#[test]
fn each_kind_backs_off_by_itself_and_up_to_a_minute() {
    let mut course = quiet(s(0));
    course.want_ack();
    let mut now = s(1);
    for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
        course.failed(Call::Ack, Failure::Retry(None), now, 0.0);
        // Others go on, so that the breaker stays closed.
        course.succeeded(Call::Heartbeat, now, 0.5);
        assert_eq!(course.kind(Call::Ack).not_before, now + s(pause));
        assert_eq!(course.kind(Call::Heartbeat).not_before, s(0));
        now += s(pause);
    }
    course.failed(Call::Ack, Failure::Retry(Some(s(200))), now, 1.0);
    assert_eq!(course.kind(Call::Ack).not_before, now + s(201), "as it was asked for");
    course.failed(Call::Ack, Failure::Retry(Some(s(9_000))), now, 0.0);
    assert_eq!(course.kind(Call::Ack).not_before, now + s(300), "within bounds");
    course.succeeded(Call::Ack, now, 0.0);
    course.want_ack();
    assert_eq!(course.next(now), Next::Call(Call::Ack));
}

#[test]
fn a_denial_waits_for_another_token() {
    let mut course = quiet(s(0));
    for _ in 0..9 {
        course.failed(Call::Heartbeat, Failure::Denied, s(5), 0.5);
    }
    assert!(course.is_denied() && !course.is_registered());
    assert_eq!(course.link(), Link::Connected);
    // The pull that is due at 30 s is made; the heartbeat is not.
    assert_eq!(course.next(s(6)), Next::Wait(s(24)));
    course.token_changed(s(6));
    assert_eq!(course.next(s(6)), Next::Call(Call::Register));
    course.succeeded(Call::Register, s(6), 0.5);
    assert!(!course.is_denied());
    assert_eq!(course.next(s(6)), Next::Call(Call::Heartbeat));
}

#[test]
fn a_denial_is_tried_again_with_longer_and_longer_pauses_registration_first() {
    let mut course = course();
    let mut now = s(0);
    for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
        course.failed(Call::Register, Failure::Denied, now, 0.0);
        assert_eq!(course.next(now), Next::Wait(s(pause)));
        now += s(pause);
        assert_eq!(course.next(now), Next::Call(Call::Register));
    }
    assert_eq!(course.link(), Link::Connected, "it was there to say no");
}

#[test]
fn nobody_is_told_anything_after_answers_of_the_wrong_one() {
    let mut course = quiet(s(0));
    course.distrust();
    course.failed(Call::Heartbeat, Failure::Retry(None), s(5), 0.0);
    course.want_ack();
    course.want_pull(s(5));
    assert_eq!(course.next(s(5)), Next::Call(Call::Register));
    course.failed(Call::Register, Failure::Retry(None), s(5), 0.0);
    assert_eq!(course.next(s(5)), Next::Wait(s(1)));
}

#[test]
fn events_come_last_and_one_batch_after_the_other() {
    let mut course = quiet(s(0));
    course.want_events();
    course.want_pull(s(1));
    assert_eq!(course.next(s(1)), Next::Call(Call::Pull));
    course.succeeded(Call::Pull, s(1), 0.5);
    assert_eq!(course.next(s(1)), Next::Call(Call::Events));
    course.succeeded(Call::Events, s(1), 0.5);
    course.want_events();
    assert_eq!(course.next(s(1)), Next::Call(Call::Events));
    course.succeeded(Call::Events, s(1), 0.5);
    assert_eq!(course.next(s(1)), Next::Wait(s(4)));
}

#[test]
fn without_bundles_from_there_nothing_is_pulled() {
    let intervals = Intervals {
        heartbeat: s(5),
        poll: None,
    };
    let mut course = Course::new(intervals, s(0));
    course.succeeded(Call::Register, s(0), 0.5);
    course.want_pull(s(0));
    assert_eq!(course.next(s(0)), Next::Call(Call::Heartbeat));
    course.succeeded(Call::Heartbeat, s(0), 0.5);
    assert_eq!(course.next(s(0)), Next::Wait(s(5)));
}

/// What happens to a call, or beside it.
#[derive(Debug, Clone, Copy)]
enum Event {
    Good,
    Bad(Option<u64>),
    Denied,
    Hint,
    Token,
    Ack,
    Events,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Good),
        4 => prop::option::of(0..1000_u64).prop_map(Event::Bad),
        1 => Just(Event::Denied),
        1 => Just(Event::Hint),
        1 => Just(Event::Token),
        1 => Just(Event::Ack),
        1 => Just(Event::Events),
    ]
}

proptest! {
    /// Whatever happens: nothing before a registration has worked, no call during a pause, no call twice before it was
    /// due again, no busy loop, and never a wait without end.
    #[test]
    fn any_course(events in prop::collection::vec((event(), 0.0..1.0_f64), 1..200)) {
        let (mut course, mut now) = (course(), s(100));
        let mut vetted = false;
        let mut earliest = [Duration::ZERO; Call::ALL.len()];
        let mut opened = None;
        for (event, chance) in events {
            match event {
                Event::Hint => course.want_pull(now),
                Event::Token => {
                    course.token_changed(now);
                    earliest = [Duration::ZERO; Call::ALL.len()];
                }
                Event::Ack => course.want_ack(),
                Event::Events => course.want_events(),
                Event::Good | Event::Bad(_) | Event::Denied => {
                    let call = loop {
                        match course.next(now) {
                            Next::Call(call) => break call,
                            Next::Wait(wait) => {
                                prop_assert!(!wait.is_zero() && wait <= LONGEST_ASKED);
                                now += wait;
                            }
                        }
                    };
                    prop_assert!(vetted || call == Call::Register);
                    prop_assert!(now >= earliest[call.index()], "{call:?} too early");
                    if let Some(opened) = opened.take() {
                        prop_assert!(now >= opened + s(30));
                    }
                    match event {
                        Event::Good => {
                            course.succeeded(call, now, chance);
                            vetted |= call == Call::Register;
                            if call == Call::Register {
                                earliest = [Duration::ZERO; Call::ALL.len()];
                            }
                        }
                        Event::Bad(asked) => {
                            course.failed(call, Failure::Retry(asked.map(s)), now, chance);
                            earliest[call.index()] = now + s(1);
                        }
                        _ => {
                            course.failed(call, Failure::Denied, now, chance);
                            earliest[call.index()] = now + s(1);
                        }
                    }
                    if course.link() == Link::Disconnected {
                        opened = Some(now);
                    }
                }
            }
        }
    }

    /// However long the outage was, once answers come again the gateway is connected and registered within the longest
    /// pause and a few calls.
    #[test]
    fn every_outage_ends(failures in 1..200_u32, denied in any::<bool>()) {
        let (mut course, mut now) = (quiet(s(0)), s(1));
        for _ in 0..failures {
            let call = settle(&mut course, &mut now);
            let failure = if denied { Failure::Denied } else { Failure::Retry(None) };
            course.failed(call, failure, now, 1.0);
        }
        let back = now;
        let mut calls = 0;
        while !(course.is_registered() && course.link() == Link::Connected && !course.is_denied()) {
            let call = settle(&mut course, &mut now);
            course.succeeded(call, now, 0.5);
            calls += 1;
            prop_assert!(calls < 20 && now <= back + s(130), "{calls} calls, from {back:?} to {now:?}");
        }
    }
}

/// Lets time pass until a call is due.
fn settle(course: &mut Course, now: &mut Duration) -> Call {
    loop {
        match course.next(*now) {
            Next::Call(call) => return call,
            Next::Wait(wait) => *now += wait,
        }
    }
}
