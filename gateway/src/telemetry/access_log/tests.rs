//! Lines as they come out.

use std::borrow::Cow;
use std::fs;
use std::time::Instant;

use portcullis_config::site::Mode;
use portcullis_filters::receipt::Receipt;
use portcullis_filters::record::{Action, Decision, LogRecord};
use portcullis_filters::verdict::Reason;
use serde_json::{Value, json};

use super::*;
use crate::telemetry::stamp::Stamp;

fn record() -> AccessRecord<'static> {
    AccessRecord {
        time: Stamp(1_767_225_600_123),
        request_id: "0198c0de",
        listener: "http",
        method: "GET",
        host: b"api.example.com",
        path: b"/v1/items",
        protocol: "HTTP/1.1",
        status: Some(200),
        duration: Duration::from_micros(12_345),
        response_bytes: 42,
        receipt: Receipt(5),
        snapshot: "abc-def",
        ..AccessRecord::default()
    }
}

fn json_of(record: &AccessRecord<'_>) -> (String, Value) {
    let mut out = Vec::new();
    json::line(&mut out, record);
    let text = String::from_utf8(out).unwrap();
    assert!(text.ends_with("}\n") && text.matches('\n').count() == 1, "{text}");
    let value = serde_json::from_str(&text).unwrap();
    (text, value)
}

#[test]
fn the_smallest_line() {
    assert_eq!(
        json_of(&record()).0,
        concat!(
            r#"{"time":"2026-01-01T00:00:00.123Z","request_id":"0198c0de","listener":"http","method":"GET","#,
            r#""host":"api.example.com","path":"/v1/items","protocol":"HTTP/1.1","status":200,"#,
            r#""duration_ms":12.345,"request_bytes":0,"response_bytes":42,"receipt":"5","snapshot":"abc-def","#,
            r#""decisions":[]}"#,
            "\n"
        )
    );
}

#[test]
fn the_whole_line() {
    let decision = |policy: Option<&str>| Decision {
        link: "rate_limit".into(),
        action: Action::Deny,
        reason: Reason("rate_limited"),
        mode: Mode::Shadow,
        policy: policy.map(Into::into),
        rule: policy.map(Into::into),
        detail: policy.map(|_| "3 of 2".into()),
    };
    let mut fields = LogRecord::default();
    fields.fields.push(("jwt_sub", Cow::Borrowed("a\"b")));
    let decisions = [decision(None), decision(Some("p1"))];
    let record = AccessRecord {
        trace_id: Some([0xab; 16]),
        client: Some("2001:db8::1".parse().unwrap()),
        peer: Some("[2001:db8::1]:4711".parse().unwrap()),
        tls: Some(TlsRecord {
            client: None,
            version: "TLSv1_3",
            server_name: Some("api.example.com"),
        }),
        query: Some(b"a=b&access_token=secret".into()),
        status: None,
        reason: Some("client_closed"),
        upstream: Some(UpstreamRecord {
            name: "app",
            server: Some("127.0.0.1:9000"),
            attempts: 2,
            status: Some(502),
            connect: Some(Duration::from_micros(1)),
            ..UpstreamRecord::default()
        }),
        route: Some("api /v1"),
        missing: Receipt(4),
        bundle_version: Some(7),
        decisions: &decisions,
        user_agent: Some(b"curl/8 \xff\x1b[31m"),
        referer: Some(b"https://a/?token=x"),
        fields: Some(&fields),
        ..record()
    };
    let (_, line) = json_of(&record);
    let expected = json!({
        "time": "2026-01-01T00:00:00.123Z", "request_id": "0198c0de", "trace_id": "ab".repeat(16),
        "client": "2001:db8::1", "peer": "[2001:db8::1]:4711", "listener": "http",
        "tls": {"version": "TLSv1_3", "server_name": "api.example.com"},
        "method": "GET", "host": "api.example.com", "path": "/v1/items", "query": "a=b&access_token=-hidden-",
        "protocol": "HTTP/1.1", "reason": "client_closed", "duration_ms": 12.345,
        "request_bytes": 0, "response_bytes": 42,
        "upstream": {"name": "app", "server": "127.0.0.1:9000", "attempts": 2, "status": 502, "connect_ms": 0.001},
        "route": "api /v1", "receipt": "5", "missing": "4", "snapshot": "abc-def", "bundle_version": 7,
        "decisions": [
            {"link": "rate_limit", "action": "deny", "mode": "shadow", "reason": "rate_limited"},
            {"link": "rate_limit", "action": "deny", "mode": "shadow", "reason": "rate_limited", "policy": "p1", "rule": "p1",
             "detail": "3 of 2"},
        ],
        "user_agent": "curl/8 \u{fffd}\u{1b}[31m", "referer": "https://a/?token=-hidden-",
        "fields": {"jwt_sub": "a\"b"},
    });
    assert_eq!(line, expected);
}

#[test]
fn any_bytes_make_a_proper_line() {
    let every: Vec<u8> = (0..=255).collect();
    let long = "ä".repeat(5000).into_bytes();
    for bytes in [
        &every[..],
        b"\xf0\x9f\x92",
        b"\xed\xa0\x80",
        "a\u{2028}b\u{85}\u{0}".as_bytes(),
        &long,
    ] {
        let record = AccessRecord {
            host: bytes,
            path: bytes,
            query: Some(bytes.into()),
            user_agent: Some(bytes),
            referer: Some(bytes),
            ..record()
        };
        let (text, _) = json_of(&record);
        assert!(
            text.chars().all(|letter| letter == '\n' || !letter.is_control()),
            "{text:?}"
        );
        assert!(text.len() < 16_000);
        let mut line = Vec::new();
        combined::line(&mut line, &record);
        assert!(line.ends_with(b"\"\n") && line.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n')));
    }
    let (_, line) = json_of(&AccessRecord {
        path: &long,
        ..record()
    });
    assert!(line["path"].as_str().unwrap().ends_with("ää\u{2026}"));
}

#[test]
fn combined_is_as_nginx_writes_it() {
    let record = AccessRecord {
        client: Some("192.0.2.7".parse().unwrap()),
        query: Some(b"q=\"\\\xc3\xa4".into()),
        user_agent: Some(b"curl/8"),
        ..record()
    };
    let mut line = Vec::new();
    combined::line(&mut line, &record);
    let expected = "192.0.2.7 - - [01/Jan/2026:00:00:00 +0000] \"GET /v1/items?q=\\x22\\x5C\\xC3\\xA4 HTTP/1.1\" 200 42 \"-\" \"curl/8\"\n";
    assert_eq!(String::from_utf8(line).unwrap(), expected);
}

fn settings(path: &std::path::Path) -> Settings {
    Settings {
        file: Some(path.to_owned()),
        ..Settings::default()
    }
}

#[test]
fn settings_change_while_it_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let log = AccessLog::off();
    log.write(&record());
    assert!(!log.is_on());
    log.commit(log.prepare(&settings(&one)).unwrap());
    log.write(&record());
    assert!(log.prepare(&settings("/no/such/folder/x".as_ref())).is_err());
    log.write(&record());
    let combined = Settings {
        format: AccessFormat::Combined,
        buffer_lines: 9,
        ..settings(&two)
    };
    assert!(log.flush(Duration::from_secs(5)));
    log.commit(log.prepare(&combined).unwrap());
    log.write(&record());
    assert!(log.is_on() && log.flush(Duration::from_secs(5)));
    log.commit(
        log.prepare(&Settings {
            format: AccessFormat::Off,
            ..settings(&two)
        })
        .unwrap(),
    );
    log.write(&record());
    assert!(!log.is_on() && log.flush(Duration::from_secs(5)));
    assert_eq!(fs::read_to_string(&one).unwrap().lines().count(), 2);
    assert!(fs::read_to_string(&two).unwrap().starts_with("- - - [01/Jan/2026"));
    assert_eq!(log.counters().written(), 3);
}

#[test]
fn a_full_disk_holds_nobody_up() {
    let log = AccessLog::off();
    log.commit(
        log.prepare(&Settings {
            buffer_lines: 16,
            ..settings("/dev/full".as_ref())
        })
        .unwrap(),
    );
    let started = Instant::now();
    for _ in 0..10_000 {
        log.write(&record());
    }
    // Who waited for this disk would wait for ever.
    assert!(started.elapsed() < Duration::from_secs(20));
    let mut out = Exposition::new();
    log.collect(&mut out);
    assert!(log.counters().dropped() > 5000, "{}", out.render());
}
