//! Logins on their way, and places to return to.

use proptest::prelude::*;
use ring::hmac;

use crate::session::login::{LIFETIME_MS, Login, MAX_RETURN, form, local, with_query};

fn key(bytes: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, bytes)
}

proptest! {
    #[test]
    fn a_login_is_good_for_its_key_its_client_and_its_time(
        random: [u8; 32],
        begun in 0_u64..1 << 50,
        later in 0_u64..2 * LIFETIME_MS,
        place in "/[!-~]{0,200}",
        tenant in "[a-z]{0,20}",
        flipped: prop::sample::Index,
    ) {
        let login = Login::begin(random, begun, &place, &tenant);
        let text = login.seal(&key(b"one"), "client");
        let open = |with: &[u8], client: &str, text: &[u8], now| Login::open(&key(with), client, text, now);
        let then = begun + later;
        let opened = open(b"one", "client", text.as_bytes(), then);
        prop_assert_eq!(opened.is_some(), later <= LIFETIME_MS);
        prop_assert!(opened.is_none_or(|opened| opened == login));
        prop_assert_eq!(open(b"two", "client", text.as_bytes(), begun), None);
        prop_assert_eq!(open(b"one", "other", text.as_bytes(), begun), None);
        let mut bytes = text.clone().into_bytes();
        let place = flipped.index(bytes.len());
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        prop_assert_eq!(open(b"one", "client", &bytes, begun), None);
        prop_assert_eq!(open(b"one", "client", &text.as_bytes()[..place], begun), None);
    }

    #[test]
    fn what_goes_to_the_provider_hangs_on_the_login_and_the_key(one: [u8; 32], other: [u8; 32]) {
        let derive = |random, with: &[u8]| Login::begin(random, 0, "/", "").derive(&key(with));
        let derived = derive(one, b"one");
        prop_assert!(derived == derive(one, b"one"));
        prop_assert!(derived.state != derived.nonce && derived.nonce != derived.verifier && derived.state != derived.verifier);
        prop_assert_eq!((derived.state.len(), derived.verifier.len(), derived.challenge().len()), (43, 43, 43));
        prop_assert!(derived.state != derive(one, b"two").state);
        prop_assert_eq!(one == other, derived.verifier == derive(other, b"one").verifier);
    }

    #[test]
    fn a_place_to_return_to_is_on_the_same_host(place in "[/\\\\a:.%?#\t\n -]{0,12}") {
        if let Some(place) = local(&place) {
            prop_assert!(place.starts_with('/'));
            prop_assert!(!place.starts_with("//") && !place.contains('\\'));
            prop_assert!(!place.contains(['\t', '\n', ' ', '#']));
        }
    }

    #[test]
    fn nothing_that_is_sent_makes_it_panic(text: Vec<u8>, now: u64) {
        prop_assert_eq!(Login::open(&key(b"one"), "client", &text, now), None);
    }
}

#[test]
fn places() {
    for (place, good) in [
        ("/", true),
        ("/a/b?c=d&e=%2F", true),
        ("", false),
        ("a", false),
        ("//evil.example", false),
        ("/\\evil.example", false),
        ("/a\\b", false),
        ("https://evil.example/", false),
        ("/a b", false),
        ("/ä", false),
    ] {
        assert_eq!(local(place).is_some(), good, "{place}");
    }
    let longest = format!("/{}", "a".repeat(MAX_RETURN - 1));
    assert!(local(&longest).is_some() && local(&format!("{longest}a")).is_none());
}

#[test]
fn forms_and_queries() {
    let text = form([("a", "b c"), ("d&", "ä=+/~-._"), ("e", "")]);
    assert_eq!(text, "a=b%20c&d%26=%C3%A4%3D%2B%2F~-._&e=");
    assert_eq!(with_query("https://a/b", "c=d"), "https://a/b?c=d");
    assert_eq!(with_query("https://a/b?x=y", "c=d"), "https://a/b?x=y&c=d");
    assert_eq!(with_query("https://a/b?", "c=d"), "https://a/b?c=d");
}

#[test]
fn the_challenge_of_the_standard() {
    // RFC 7636, appendix B.
    let derived = crate::session::login::Derived {
        state: String::new(),
        nonce: String::new(),
        verifier: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned(),
    };
    assert_eq!(derived.challenge(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
}
