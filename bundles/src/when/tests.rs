//! Conditions: what holds, what is refused and where, what cannot be told, and that nothing of that takes long or panics.

use std::borrow::Cow;

use portcullis_config::key::Key;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{Claim, Environment, MAX_DEPTH, MAX_LENGTH, MAX_NODES, When};

struct Fixed {
    path: String,
    header: String,
    claims: Option<Map<String, Value>>,
    /// Texts that were asked for as a whole.
    wholes: std::cell::Cell<usize>,
}

impl Environment for Fixed {
    type Error = &'static str;

    fn method(&self) -> &'static str {
        "POST"
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn host(&self) -> &'static str {
        "api.example.com"
    }

    fn text(&self, key: &Key, whole: bool) -> Result<Option<Cow<'_, str>>, &'static str> {
        self.wholes.set(self.wholes.get() + usize::from(whole));
        match key.to_string().as_str() {
            "header:x-plan" => Ok(Some(Cow::Borrowed(&self.header))),
            "query:page" => Ok(Some("7".into())),
            "query:many" => Err("too many"),
            "ip:address" => Ok(Some("192.0.2.7".into())),
            "ua:bot" => Ok(Some("false".into())),
            _ => Ok(None),
        }
    }

    fn claim(&self, name: &str, _: bool) -> Option<Claim<'_>> {
        self.claims.as_ref()?.get(name).map(Claim::Json)
    }
}

fn fixed() -> Fixed {
    let claims = json!({
        "sub": "alice", "level": 3, "score": 0.5, "admin": true, "none": null, "big": u64::MAX, "roles": ["dev", 7, ["x"]],
        "https://example.com/realm": { "name": "eu", "groups": [{ "id": "g1" }] },
    });
    Fixed {
        path: "/v1/items/42".into(),
        header: "free".into(),
        claims: claims.as_object().cloned(),
        wholes: std::cell::Cell::default(),
    }
}

/// Whether it holds, or what is said.
fn told(text: &str, environment: &Fixed) -> Result<bool, String> {
    let when = When::compile(text).map_err(|error| format!("{error}"))?;
    when.holds(environment).map_err(|error| format!("! {error}"))
}

#[test]
fn what_holds() {
    let environment = fixed();
    for (text, wanted) in [
        ("true", true),
        ("!true || false", false),
        ("!!true", true),
        ("request.method == 'POST'", true),
        (
            "request.path.startsWith(\"/v1/\") && request.host.endsWith(\"example.com\")",
            true,
        ),
        ("request.path.contains('item') // a comment", true),
        ("request.path.matches(r'^/v\\d+/items/\\d+$')", true),
        ("request.path.matches('items') && !request.path.matches('^items')", true),
        ("request.path < '/v2' && request.path >= '/v1'", true),
        ("request.headers[\"X-Plan\"] == \"free\"", true),
        ("request.headers.x_plan in ['paid', 'free']", true),
        ("request.headers['x-plan'] != \"fr\\u0065e\"", false),
        ("'x-plan' in request.headers && !('x-other' in request.headers)", true),
        ("has(request.headers.x_other) || has(request.query.page)", true),
        ("request.query[\"page\"] == '7'", true),
        ("ip.address.startsWith('192.0.2.') && ua.bot == 'false'", true),
        ("jwt.claims.sub == 'alice'", true),
        ("jwt.claims.level >= 3 && jwt.claims.level < 3.5", true),
        ("jwt.claims.score == 0.5 && jwt.claims.big > 9223372036854775807", true),
        ("jwt.claims.level == '3'", false),
        ("jwt.claims.level != '3'", true),
        ("jwt.claims.admin", true),
        ("jwt.claims.none == null && has(jwt.claims.none)", true),
        (
            "'dev' in jwt.claims.roles && 7 in jwt.claims.roles && !('x' in jwt.claims.roles)",
            true,
        ),
        ("jwt.claims.roles[1] == 7 && size(jwt.claims.roles) == 3", true),
        ("jwt.claims['https://example.com/realm'].name == 'eu'", true),
        ("jwt.claims['https://example.com/realm'].groups[0].id == 'g1'", true),
        ("'name' in jwt.claims['https://example.com/realm']", true),
        ("has(jwt.claims['https://example.com/realm'].other)", false),
        ("'sub' in jwt.claims && !('x' in jwt.claims)", true),
        ("request.path.size() == 12 && size('äö') == 2", true),
        ("(request.method == 'GET' ? 1 : 2) == 2", true),
        ("jwt.claims.admin ? request.method == 'POST' : false", true),
        ("-1 < 0 && -0.5 > -1 && 1e3 == 1000", true),
        // What the others settle needs no part that is broken.
        ("request.headers.x_other == 'a' && false", false),
        ("jwt.claims.sub > 3 || true", true),
    ] {
        assert_eq!(told(text, &environment), Ok(wanted), "{text}");
    }
}

#[test]
fn what_cannot_be_told() {
    let environment = fixed();
    for (text, wanted) in [
        ("request.headers['x-other'] == 'a'", "! `header:x-other` is missing"),
        ("!(request.headers['x-other'] == 'a')", "! `header:x-other` is missing"),
        ("jwt.claims.other == 1 || false", "! `jwt:other` is missing"),
        ("jwt.claims.roles[9] == 1", "! `jwt:roles` is missing"),
        ("jwt.claims.sub.name == 1", "! `jwt:sub` is missing"),
        ("request.query.many == 'a'", "! `query:many` cannot be read"),
        ("jwt.claims.sub > 3", "! a value is a number, and not a text"),
        ("jwt.claims.sub", "! a value is a text, and not true or false"),
        (
            "jwt.claims.level.startsWith('3')",
            "! a value is a number, and not a text",
        ),
        (
            "jwt.claims.roles == jwt.claims.roles",
            "! a value is a list, and not a single value",
        ),
        ("'a' in jwt.claims.sub", "! a value is a text, and not a list or a map"),
    ] {
        assert_eq!(told(text, &environment), Err(wanted.to_owned()), "{text}");
    }
    let nobody = Fixed {
        claims: None,
        ..fixed()
    };
    assert_eq!(told("has(jwt.claims.sub)", &nobody), Ok(false));
    assert_eq!(
        told("jwt.claims.sub == 'a'", &nobody),
        Err("! `jwt:sub` is missing".to_owned())
    );
}

#[test]
fn what_is_refused_when_it_is_loaded() {
    for (text, wanted) in [
        ("", "character 1: expected a value, found the end"),
        ("request.method = 'GET'", "character 16: `=` has no meaning here"),
        ("request.method == GET", "character 19: `GET` is no value"),
        ("request.methd == 'GET'", "character 1: a request has no `methd` here"),
        ("reqest.path == 'a'", "character 1: there is no `reqest` here"),
        ("request.path", "character 1: expected true or false, found a text"),
        ("request.path == 5", "character 14: a text is never a number"),
        ("request.path == null", "character 14: a text is never null"),
        ("true < false", "character 6: only numbers and texts have an order"),
        ("1 < 2 < 3", "character 7: comparisons do not follow each other"),
        ("1 + 1 == 2", "character 3: there is no arithmetic in a condition: `+`"),
        (
            "request.path.startsWith(5)",
            "character 25: expected a text, found a number",
        ),
        (
            "request.path.matches(request.host)",
            "character 22: a pattern is a text in quotes, so that it can be checked beforehand",
        ),
        (
            "request.path.matches('(')",
            "character 22: the pattern cannot be used: unclosed group",
        ),
        (
            "request.path.matches('(x{1000}){1000}')",
            "character 22: the pattern cannot be used: Compiled regex exceeds size limit of 262144 bytes.",
        ),
        ("request.path.trim() == ''", "character 1: there is no function `trim`"),
        (
            "request.path in ['a', 5]",
            "character 23: expected a text, found a number",
        ),
        (
            "request.path in request.host",
            "character 17: behind `in` stands a list or a map, and not a text",
        ),
        (
            "request.host in request.headers",
            "character 14: before `in`, and with a map behind it, stands a name in quotes",
        ),
        ("[1] == 1", "character 1: a list can only stand behind `in`"),
        ("request.headers == 'a'", "character 1: this is a map and no value"),
        (
            "request.headers['a b'] == 'a'",
            "character 17: `header:a b`: the name after `header:` may hold letters, digits, `_` and `-` only",
        ),
        ("header.x == 'a'", "character 1: there is no `header` here"),
        (
            "jwt.header.alg == 'none'",
            "character 1: a token has `jwt.claims` here, and nothing else",
        ),
        ("ip.adress == 'a'", "character 1: `ip:adress`: unknown name `adress`"),
        ("ip.address.net == 'a'", "character 1: this is a text; it has no parts"),
        (
            "has(request.path)",
            "character 5: `has` asks for a header, a parameter, a claim or a key",
        ),
        ("has(1)", "character 5: this has no parts"),
        ("jwt.claims.a[-1] == 1", "character 1: no list begins before 0"),
        (
            "true ? 1 : 'a'",
            "character 12: `?:` is a number or a text; both must be the same",
        ),
        ("'abc", "character 1: the text has no end: its quote is missing"),
        ("'\\q' == ''", "character 3: there is no such escape"),
        ("'ä' == 'a' && §", "character 15: `§` has no meaning here"),
        (
            "99999999999999999999 == 1",
            "character 1: `99999999999999999999` is no number that fits",
        ),
        ("1u == 1", "character 1: `1` is no number that fits"),
        ("(true", "character 6: expected `)`, found the end"),
        ("true true", "character 6: `true` is one too many"),
        ("[1, 2].all(x, x > 0)", "character 1: there is no function `all`"),
        ("-request.path == 1", "character 1: only a number can stand behind `-`"),
    ] {
        assert_eq!(
            When::compile(text).map(|_| ()).map_err(|error| error.to_string()),
            Err(wanted.to_owned()),
            "{text}"
        );
    }
    let help = |text: &str| When::compile(text).unwrap_err().help.unwrap();
    assert_eq!(help("request.methd == 'GET'"), "did you mean `method`?");
    assert_eq!(help("reqest.path == 'a'"), "did you mean `request`?");
    assert_eq!(help("header.x == 'a'"), "request.headers[\"x\"]");
    assert_eq!(help("request.path.startWith('/')"), "did you mean `startsWith`?");
}

#[test]
fn it_is_short_flat_and_cheap() {
    let nested = |depth: usize| format!("{}true{}", "(".repeat(depth), ")".repeat(depth));
    assert!(When::compile(&nested(MAX_DEPTH - 1)).is_ok());
    for too_much in [
        nested(MAX_DEPTH),
        nested(1000),
        "[".repeat(1000),
        "size(".repeat(300),
        "!".repeat(2000) + "true " + &"x".repeat(100),
        ["true"; MAX_NODES + 1].join("||"),
        " ".repeat(MAX_LENGTH + 1),
        format!("request.a{}", ".a".repeat(MAX_NODES)),
        format!("jwt.claims{} == 1", "[1]".repeat(MAX_NODES)),
    ] {
        assert!(When::compile(&too_much).is_err(), "{too_much}");
    }
    let large = Fixed {
        header: "ab".repeat(30_000),
        ..fixed()
    };
    let once = "request.headers.x_plan.contains('aa')";
    assert_eq!(told(once, &large), Ok(false));
    let often = [once; 30].join(" || ");
    assert_eq!(told(&often, &large), Err("! it costs too much to tell".to_owned()));
    let patterns = ["request.headers.x_plan.matches('(a|b)*c')"; 10].join(" || ");
    assert_eq!(told(&patterns, &large), Err("! it costs too much to tell".to_owned()));
}

#[test]
fn keys_and_what_they_are_compared_with() {
    let text = "request.headers.x_plan == 'free' && (jwt.claims.sub in ['a', 'b'] || 'z' != request.query.page) \
                && jwt.claims['https://x/y'] == 'c' && ip.address.startsWith('10.') && has(ua.bot)";
    let when = When::compile(text).unwrap();
    let keys: Vec<String> = when.keys().map(ToString::to_string).collect();
    assert_eq!(keys, ["header:x-plan", "jwt:sub", "query:page", "ip:address", "ua:bot"]);
    let compared: Vec<String> = when.compared().map(|(key, text)| format!("{key}={text}")).collect();
    assert_eq!(
        compared,
        [
            "header:x-plan=free",
            "jwt:sub=a",
            "jwt:sub=b",
            "query:page=z",
            "jwt:https://x/y=c"
        ]
    );
    let environment = fixed();
    for (text, wholes) in [
        ("request.headers.x_plan == 'a' || 'b' == request.headers.x_plan", 0),
        (
            "request.headers.x_plan in ['a', 'b'] || !has(request.headers.x_plan)",
            0,
        ),
        ("request.headers.x_plan == request.query.page", 2),
        ("request.headers.x_plan > 'a'", 1),
        ("request.headers.x_plan.contains('a')", 1),
        ("request.headers.x_plan in ['a', request.host]", 1),
    ] {
        environment.wholes.set(0);
        let _ = told(text, &environment);
        assert_eq!(environment.wholes.get(), wholes, "{text}");
    }
}

/// Expressions, most of them sound.
fn expression() -> impl Strategy<Value = String> {
    let atoms = [
        "true",
        "request.path",
        "request.method",
        "request.headers['x-plan']",
        "jwt.claims.roles",
        "jwt.claims.level",
        "has(request.query.page)",
        "'a'",
        "5",
        "-0.5",
        "null",
        "ip.address",
    ];
    let leaf = prop::sample::select(atoms.to_vec()).prop_map(str::to_owned);
    leaf.prop_recursive(5, 60, 3, |inner| {
        let sign = prop::sample::select(vec!["==", "!=", "<", ">=", "&&", "||", "in"]);
        prop_oneof![
            (inner.clone(), sign, inner.clone()).prop_map(|(a, sign, b)| format!("({a} {sign} {b})")),
            inner.clone().prop_map(|a| format!("!({a})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} in [{b}, {a}])")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            inner.clone().prop_map(|a| format!("size({a})")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("({a}).contains({b})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(text in "[a-z .()\\[\\]'\"\\\\!&|<>=?:,0-9é-]{0,80}") {
        let _ = told(&text, &fixed());
    }

    #[test]
    fn what_compiles_can_be_judged(text in expression()) {
        let environment = fixed();
        if let Ok(when) = When::compile(&text) {
            let first = when.holds(&environment).map_err(|error| error.to_string());
            let again = when.holds(&environment).map_err(|error| error.to_string());
            prop_assert_eq!(first, again);
        }
    }
}
