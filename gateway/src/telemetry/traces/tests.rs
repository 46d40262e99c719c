//! Spans as a collector gets them, and collectors that do not answer.

use std::io::Read as _;
use std::time::Instant;

use super::*;
use crate::http_client::stub::{Reply, Stub, answer};
use crate::telemetry::access_log::UpstreamRecord;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-";

fn settings(endpoint: String, sample: f64) -> Settings {
    Settings {
        endpoint,
        service_name: "edge".into(),
        sample,
    }
}

fn headers(flags: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(TRACEPARENT, HeaderValue::try_from(format!("{PARENT}{flags}")).unwrap());
    headers.insert(TRACESTATE, HeaderValue::from_static("a=1"));
    headers
}

fn record() -> AccessRecord<'static> {
    AccessRecord {
        request_id: "r-1",
        method: "BREW",
        path: b"/pot",
        query: Some(b"access_token=geheim".into()),
        protocol: "HTTP/2.0",
        route: Some("coffee"),
        status: Some(503),
        reason: Some("upstream_unavailable"),
        duration: Duration::from_millis(3),
        upstream: Some(UpstreamRecord {
            name: "app",
            server: Some("127.0.0.1:9"),
            attempts: 2,
            ..UpstreamRecord::default()
        }),
        ..AccessRecord::default()
    }
}

fn traces(endpoint: String, sample: f64) -> Traces {
    let traces = Traces::off();
    traces.apply(Some(&settings(endpoint, sample))).unwrap();
    traces
}

fn count(traces: &Traces) -> (u64, u64, u64) {
    let counters = &traces.counters;
    (
        counters.exported.load(Relaxed),
        counters.dropped.load(Relaxed),
        counters.failed.load(Relaxed),
    )
}

#[tokio::test]
async fn off_passes_and_costs_nothing() {
    let traces = Traces::off();
    assert!(traces.begin(&headers("01"), true).is_none());
    traces.shutdown(Duration::from_secs(2)).await;
    assert!(matches!(
        Traces::check(&settings("not a url".into(), 1.0)),
        Err(TracesError::Endpoint(_))
    ));
    assert!(traces.apply(Some(&settings("ftp://a/".into(), 1.0))).is_err());
}

#[tokio::test]
async fn a_senders_decision_counts_when_it_is_trusted() {
    let nowhere = "http://127.0.0.1:9/v1/traces".to_owned();
    let (always, never) = (traces(nowhere.clone(), 1.0), traces(nowhere, 0.0));
    for (traces, flags, trusted, sampled) in [
        (&always, "00", true, false),
        (&always, "00", false, true),
        (&never, "01", true, true),
        (&never, "01", false, false),
    ] {
        let span = traces.begin(&headers(flags), trusted).unwrap();
        assert_eq!(span.is_sampled(), sampled, "{flags} {trusted}");
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        request.insert_header(TRACEPARENT, "old").unwrap();
        span.inject(&mut request).unwrap();
        let passed = TraceParent::of(&request.headers).unwrap();
        assert_eq!(
            (passed.trace_id, passed.sampled),
            (TraceParent::of(&headers("00")).unwrap().trace_id, sampled)
        );
        assert_ne!(passed.span_id, TraceParent::of(&headers("00")).unwrap().span_id);
        assert_eq!(request.headers.get(TRACESTATE).unwrap(), "a=1");
    }
    let mut broken = headers("01");
    broken.insert(TRACEPARENT, HeaderValue::from_static("00-0-0-0"));
    let span = always.begin(&broken, true).unwrap();
    let mut request = RequestHeader::build("GET", b"/", None).unwrap();
    request.insert_header(TRACESTATE, "a=1").unwrap();
    span.inject(&mut request).unwrap();
    assert!(
        span.is_sampled() && request.headers.get(TRACESTATE).is_none(),
        "a new trace has no state of another"
    );
}

#[tokio::test]
async fn a_share_is_sampled() {
    let traces = traces("http://127.0.0.1:9/".into(), 0.25);
    let sampled = (0..4000)
        .filter(|_| traces.begin(&HeaderMap::new(), false).unwrap().is_sampled())
        .count();
    assert!((800..1200).contains(&sampled), "{sampled}");
}

#[tokio::test]
async fn spans_reach_the_collector() {
    let bodies = Arc::new(std::sync::Mutex::new(Vec::new()));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let seen = Arc::clone(&bodies);
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut all = Vec::new();
        let mut piece = [0; 4096];
        // The last attribute of the last span of the batch tells that it is whole.
        while !contains(&all, b"portcullis.upstream") {
            let n = stream.read(&mut piece).unwrap();
            all.extend_from_slice(&piece[..n]);
        }
        seen.lock().unwrap().push(all);
        let reply = answer("200 OK", "Content-Type: application/x-protobuf\r\n", b"");
        std::io::Write::write_all(&mut stream, &reply).unwrap();
    });
    let traces = traces(endpoint, 1.0);
    let span = traces.begin(&headers("01"), true).unwrap();
    let trace_id = span.trace_id();
    span.end(&record());
    traces.shutdown(Duration::from_secs(2)).await;
    assert_eq!(count(&traces), (2, 0, 0));
    let bodies = bodies.lock().unwrap();
    let body = &bodies[0];
    assert!(body.starts_with(b"POST /v1/traces HTTP/1.1\r\n"));
    for part in [
        &trace_id[..],
        b"application/x-protobuf",
        b"_OTHER coffee",
        b"http.request.method_original",
        b"BREW",
        b"access_token=-hidden-",
        b"upstream_unavailable",
        b"http.request.resend_count",
        b"service.name",
        b"edge",
    ] {
        assert!(contains(body, part), "{}", String::from_utf8_lossy(part));
    }
    assert!(!contains(body, b"geheim"));
}

fn contains(all: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(all, part).is_some()
}

#[tokio::test]
async fn a_collector_that_is_silent_delays_nothing() {
    let stub = Stub::start(|_, _| Reply::Silent).await;
    let traces = traces(stub.url("/v1/traces"), 1.0);
    let started = Instant::now();
    for _ in 0..CAPACITY_AND_MORE {
        traces.begin(&HeaderMap::new(), false).unwrap().end(&record());
    }
    assert!(started.elapsed() < Duration::from_secs(2));
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let started = Instant::now();
    traces.shutdown(Duration::from_millis(300)).await;
    assert!(started.elapsed() < Duration::from_secs(2));
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let (exported, dropped, failed) = count(&traces);
        assert!(exported == 0 && dropped > 0 && dropped + failed <= 2 * CAPACITY_AND_MORE);
        if dropped + failed == 2 * CAPACITY_AND_MORE {
            break;
        }
        assert!(
            Instant::now() < until,
            "each span is counted once: {dropped} and {failed}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

const CAPACITY_AND_MORE: u64 = 3000;

#[tokio::test]
async fn a_collector_that_refuses_costs_spans_only() {
    let stub = Stub::start(|_, _| Reply::Bytes(answer("503 Busy", "Retry-After: 30\r\n", b""))).await;
    let traces = traces(stub.url("/v1/traces"), 1.0);
    traces.begin(&HeaderMap::new(), false).unwrap().end(&record());
    let started = Instant::now();
    traces.shutdown(Duration::from_secs(2)).await;
    assert!(
        started.elapsed() < Duration::from_millis(500),
        "nothing sleeps on a retry"
    );
    assert_eq!(count(&traces), (0, 0, 2));
    let mut out = Exposition::new();
    traces.collect(&mut out);
    assert!(
        out.render()
            .contains("portcullis_trace_spans_total{result=\"failed\"} 2\n")
    );
}

#[tokio::test]
async fn other_settings_while_it_runs() {
    let stub = Stub::start(|_, _| Reply::Bytes(answer("200 OK", "", b""))).await;
    let traces = traces(stub.url("/one"), 1.0);
    let span = traces.begin(&HeaderMap::new(), false).unwrap();
    traces.apply(Some(&settings(stub.url("/two"), 1.0))).unwrap();
    span.end(&record());
    traces.begin(&HeaderMap::new(), false).unwrap().end(&record());
    traces.apply(None).unwrap();
    assert!(traces.begin(&HeaderMap::new(), false).is_none());
    let until = Instant::now() + Duration::from_secs(5);
    while count(&traces).0 < 4 {
        assert!(Instant::now() < until, "{:?}", count(&traces));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
