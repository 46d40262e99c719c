//! Request paths: [`normalize`] gives the one form that a second, differently written reader gives, and nothing in it can
//! be understood in another way.

use portcullis_config::path::normalize;

use crate::path_model::model;
use crate::seeds::Seed;

/// What must hold for a path.
///
/// # Panics
///
/// When it does not.
pub fn check(data: &[u8]) {
    let Ok(raw) = std::str::from_utf8(data) else { return };
    let found = normalize(raw);
    let expected = model(raw);
    assert_eq!(
        found.as_deref().ok(),
        expected.as_deref(),
        "{raw:?}: {:?}",
        found.as_ref().err()
    );
    if let Ok(path) = &found {
        one_form(path);
        stays_below_the_root(path);
    }
}

fn one_form(path: &str) {
    assert!(path.starts_with('/'), "{path:?}");
    assert!(!path.contains("//"), "{path:?}");
    assert!(
        path.bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#' && byte != b'?'),
        "{path:?}"
    );
    let again = normalize(path);
    assert_eq!(again.as_deref(), Ok(path), "not a fixed point");
    for (at, _) in path.match_indices('%') {
        let digits = path.get(at + 1..at + 3).expect("two digits follow");
        let upper = |byte: u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte);
        assert!(digits.bytes().all(upper), "{path:?}");
        let value = u8::from_str_radix(digits, 16).expect("two digits");
        let unreserved = value.is_ascii_alphanumeric() || b"-._~".contains(&value);
        assert!(!unreserved && value != b'/' && value != 0, "{path:?} hides {value:#x}");
    }
}

/// As a file server below `/srv` would see it, and as one would that cuts parameters off.
fn stays_below_the_root(path: &str) {
    for segment in path.split('/') {
        let name = segment.split(';').next().unwrap_or_default();
        assert!(segment != "." && segment != "..", "{path:?}");
        assert!(!(name != segment && (name == "." || name == "..")), "{path:?}");
    }
    let below = std::path::Path::new("/srv").join(path.trim_start_matches('/'));
    let escapes = |part| matches!(part, std::path::Component::ParentDir);
    assert!(
        below.starts_with("/srv") && !below.components().any(escapes),
        "{path:?}"
    );
}

/// Paths to begin with.
pub fn seeds() -> Vec<Seed> {
    let paths = [
        "/",
        "//",
        "/a/b",
        "//a///b//",
        "/a/./b/.",
        "/a/b/../../..",
        "/../../etc/passwd",
        "/a/%2e%2E/b",
        "/%2e/%2e%2e/%2E.",
        "/%61dmin/%7euser",
        "/a%2fb",
        "/a%5cb\\..\\c",
        "/a%00",
        "/%c0%ae%c0%ae/",
        "/%252e%252e/a",
        "/caf%c3%a9/café",
        "/a/..;/b",
        "/a/%2e%2e;x=1/b",
        "/a/..%3b/b",
        "/.;/a",
        "/a;v=1/b,c=2",
        "/.hidden/.../..a",
        "/a{b}|c^d`e\"<>",
        "/a b",
        "/a#b?c",
        "/%",
        "/%4",
        "/%zz",
        "*",
        "http://example.com/a",
        "/!$&'()*+,;=:@-._~",
    ];
    paths
        .iter()
        .enumerate()
        .map(|(number, path)| Seed::new(format!("path-{number:02}"), *path))
        .collect()
}
