//! Every key of `telemetry`, with two values that write something else, somewhere else or nothing at all. What a line or a
//! span holds is shown beside their code and not here.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use std::path::Path;
use std::process::Command;

use portcullis_e2e::gateway::{Builder, Gateway, wait};
use portcullis_e2e::h1::{self, Connection};
use portcullis_e2e::origin::Origin;

const SITE: &str = "sites: [{ hosts: [\"*\"], routes: [{ respond: { status: 200, body: ok } }] }]\n";

fn with(telemetry: &str) -> String {
    format!("telemetry: {{ {telemetry} }}\n{SITE}")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn format_and_file_of_the_access_log() {
    let log = |name: &str, format: &str| {
        with(&format!(
            "access_log: {{ file: \"{{dir}}/{name}.log\", format: {format} }}"
        ))
    };
    let gateway = Gateway::start(&log("first", "json"));
    let ask = |agent: &str| assert_eq!(h1::get(gateway.public, "a", "/", &[("User-Agent", agent)]).status, 200);
    ask("one");
    wait("the JSON line", || read(&gateway.path("first.log")).ends_with('\n'));
    let line: serde_json::Value = serde_json::from_str(&read(&gateway.path("first.log"))).expect("JSON");
    assert_eq!(line["user_agent"], "one");

    gateway.write_config(&log("second", "combined"));
    assert_eq!(gateway.reload().0, 200);
    ask("two");
    wait("the combined line", || {
        read(&gateway.path("second.log")).ends_with('\n')
    });
    let line = read(&gateway.path("second.log"));
    assert!(
        line.starts_with("127.0.0.1 - - [") && line.ends_with("\"GET / HTTP/1.1\" 200 2 \"-\" \"two\"\n"),
        "{line}"
    );

    gateway.write_config(&with("access_log: { format: off }"));
    assert_eq!(gateway.reload().0, 200);
    ask("three");
    gateway.write_config(&log("third", "json"));
    assert_eq!(gateway.reload().0, 200);
    ask("four");
    wait("a line again", || read(&gateway.path("third.log")).ends_with('\n'));
    assert!(read(&gateway.path("third.log")).contains("four"));
    for name in ["first.log", "second.log", "third.log", "stderr.log"] {
        assert!(!read(&gateway.path(name)).contains("three"), "{name}");
    }
    assert!(!read(&gateway.path("first.log")).contains("two"));
}

#[test]
fn without_a_file_the_access_log_is_standard_output() {
    for (keys, on_standard_output) in [("format: json", true), ("file: \"{dir}/own.log\"", false)] {
        let gateway = Gateway::start(&with(&format!("access_log: {{ {keys} }}")));
        h1::get(gateway.public, "a", "/", &[("User-Agent", "the-test")]);
        let name = if on_standard_output { "stderr.log" } else { "own.log" };
        wait("the line", || read(&gateway.path(name)).contains("the-test"));
        assert_eq!(gateway.log().contains("the-test"), on_standard_output, "{keys}");
    }
}

#[test]
fn buffer_lines_of_the_access_log() {
    // More than the pipe holds, for which nobody is there to read it.
    const LINES: usize = 300;
    let request = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(1000));
    for (buffer, some_are_dropped) in [(1, true), (LINES, false)] {
        let yaml = with(&format!(
            "access_log: {{ file: \"{{dir}}/pipe\", buffer_lines: {buffer} }}"
        ));
        let builder = Builder::new(&yaml);
        let made = Command::new("mkfifo").arg(builder.dir().join("pipe")).status();
        assert!(made.is_ok_and(|status| status.success()), "a named pipe");
        let gateway = builder.start();
        let mut connection = Connection::open(gateway.public);
        for _ in 0..LINES {
            assert_eq!(connection.ask(&request).expect("an answer").status, 200);
        }
        let dropped = || gateway.metric("portcullis_log_dropped_lines_total{log=\"access\"}") > 0.5;
        if some_are_dropped {
            wait("lines that were dropped", dropped);
        } else {
            assert!(!dropped(), "there is room for all of them");
        }
    }
}

#[test]
fn level_of_the_log() {
    for (level, starts, debugs) in [
        ("error", false, false),
        ("warn", false, false),
        ("info", true, false),
        ("debug", true, true),
    ] {
        let gateway = Gateway::start(&with(&format!("log: {{ level: {level} }}")));
        h1::get(gateway.public, "a", "/", &[]);
        gateway.write_config("sites: 7\n");
        assert_eq!(gateway.reload().0, 422);
        // Whatever was logged before is there when this is.
        wait("the error", || gateway.log().contains("configuration refused"));
        let log = gateway.log();
        assert_eq!(log.contains("portcullis starts"), starts, "{level}: {log}");
        assert_eq!(log.contains("\"level\":\"debug\""), debugs, "{level}: {log}");
    }
}

#[test]
fn format_of_the_log() {
    for (format, is_json) in [("json", true), ("text", false)] {
        let gateway = Gateway::start(&with(&format!(
            "access_log: {{ format: off }}, log: {{ format: {format} }}"
        )));
        wait("the first lines", || gateway.log().contains("portcullis starts"));
        let log = gateway.log();
        let line = log.lines().find(|line| line.contains("portcullis starts"));
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(line.expect("the line"));
        assert_eq!(parsed.is_ok(), is_json, "{line:?}");
    }
}

fn collector() -> Origin {
    Origin::start("")
}

fn traced(collector: &Origin, app: &Origin, keys: &str) -> Gateway {
    Gateway::start(&format!(
        "trusted_proxies: [127.0.0.1]\ntelemetry: {{ traces: {{ endpoint: \"http://{}/v1/traces\"{keys} }} }}\nupstreams: {{ app: {{ servers: [\"{}\"] }} }}\nsites: [{{ hosts: [\"*\"], routes: [{{ proxy: {{ upstream: app }} }}] }}]\n",
        collector.address, app.address
    ))
}

/// What a collector was sent, as text as far as it is text.
fn sent(collector: &Origin) -> String {
    collector
        .seen()
        .iter()
        .map(|seen| String::from_utf8_lossy(&seen.body).into_owned())
        .collect()
}

#[test]
fn endpoint_of_traces() {
    let (one, other) = (collector(), collector());
    let config = |endpoint: &str| with(&format!("traces: {{ endpoint: \"{endpoint}\" }}"));
    let gateway = Gateway::start(&config(&format!("http://{}/v1/traces", one.address)));
    h1::get(gateway.public, "a", "/first", &[]);
    wait("spans at the first collector", || sent(&one).contains("/first"));
    gateway.write_config(&config(&format!("http://{}/other/path", other.address)));
    assert_eq!(gateway.reload().0, 200);
    h1::get(gateway.public, "a", "/second", &[]);
    wait("spans at the second collector", || sent(&other).contains("/second"));
    assert!(!sent(&one).contains("/second") && !sent(&other).contains("/first"));
    assert!(one.seen().iter().all(|seen| seen.target() == "/v1/traces"));
    assert!(other.seen().iter().all(|seen| seen.target() == "/other/path"));
    gateway.write_config(SITE);
    assert_eq!(gateway.reload().0, 200);
    h1::get(gateway.public, "a", "/third", &[]);
    assert!(gateway.access_log(1)[0].get("trace_id").is_none(), "without traces");
}

#[test]
fn service_name_of_traces() {
    for (keys, name) in [
        ("", "portcullis"),
        (", service_name: edge-of-the-test", "edge-of-the-test"),
    ] {
        let (collector, app) = (collector(), Origin::start("ok"));
        let gateway = traced(&collector, &app, keys);
        h1::get(gateway.public, "a", "/", &[]);
        wait("spans", || !sent(&collector).is_empty());
        let text = sent(&collector);
        let (_, value) = text.split_once("service.name").expect("service.name");
        assert!(
            value.chars().take(name.len() + 8).collect::<String>().contains(name),
            "{value}"
        );
    }
}

#[test]
fn sample_of_traces() {
    const ID: &str = "0123456789abcdef0123456789abcdef";
    for (sample, flag) in [("0", "00"), ("1", "01")] {
        let (collector, app) = (collector(), Origin::start("ok"));
        let gateway = traced(&collector, &app, &format!(", sample: {sample}"));
        for _ in 0..20 {
            h1::get(gateway.public, "a", "/unasked", &[]);
        }
        // Of a proxy that is believed, its own decision counts.
        let parent = format!("00-{ID}-0123456789abcdef-01");
        h1::get(gateway.public, "a", "/asked-for", &[("traceparent", &parent)]);
        let flags: Vec<String> = app.seen()[..20]
            .iter()
            .map(|seen| seen.all("traceparent").join(",").chars().skip(53).collect())
            .collect();
        assert!(flags.iter().all(|seen| seen == flag), "{sample}: {flags:?}");
        wait("the span that was asked for", || {
            sent(&collector).contains("/asked-for")
        });
        assert_eq!(sent(&collector).contains("/unasked"), sample == "1", "{sample}");
    }
}
