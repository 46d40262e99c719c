//! What the README's examples do not show: errors of configuration, shared zones, reloads, odd requests.

use http::StatusCode;
use serde_json::json;

use crate::buckets::BucketTable;
use crate::limit_stats::LimitStats;
use crate::testing::{Bench, ENTROPY, RequestBuilder, START, after, filler, try_bench};
use crate::zones::Zones;

fn limit(keys: &str) -> String {
    format!("filters: [{{ rate_limit: {{ {keys} }} }}]")
}

fn error(yaml: &str) -> String {
    match try_bench(&Zones::new(ENTROPY), yaml) {
        Ok(_) => panic!("accepted: {yaml}"),
        Err(error) => error,
    }
}

fn passes(bench: &Bench, request: &RequestBuilder) -> bool {
    bench.send(request).status == StatusCode::OK
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (keys, code, text) in [
        ("rate: 1/s", "missing-key", "key"),
        ("key: ip:address", "missing-key", "rate"),
        ("key: ip:adress, rate: 1/s", "invalid-value", "did you mean `address`?"),
        ("key: [], rate: 1/s", "invalid-value", "no key is listed"),
        (
            "key: [ip:address, ip:address], rate: 1/s",
            "invalid-value",
            "listed twice",
        ),
        (
            "key: [query:a, query:b, query:c, query:d, query:e, query:f, query:g, query:h, query:i], rate: 1/s",
            "invalid-value",
            "at most 8",
        ),
        ("key: 7, rate: 1/s", "wrong-type", "a list of keys"),
        ("key: ip:country, rate: 1/s", "unsupported-key", "has no source for it"),
        (
            "key: [jwt:sub, ip:tor], rate: 1/s",
            "unsupported-key",
            "`ip:tor` cannot be used",
        ),
        ("key: ip:address, rate: 10", "wrong-type", "rate"),
        ("key: ip:address, rate: 1/s, burst: 0", "out-of-range", "burst"),
        ("key: ip:address, rate: 1/s, burst: 1000000001", "out-of-range", "burst"),
        ("key: ip:address, rate: 1/s, cost: 0", "out-of-range", "more than 0"),
        ("key: ip:address, rate: 1/s, cost: -1", "out-of-range", "cost"),
        (
            "key: ip:address, rate: 1/s, burst: 2, cost: 2.5",
            "out-of-range",
            "at most the burst (2)",
        ),
        ("key: ip:address, rate: 1/s, status: 200", "out-of-range", "400 to 599"),
        (
            "key: ip:address, rate: 1/s, zone: 'a b'",
            "invalid-value",
            "name of a zone",
        ),
        (
            "key: ip:address, rate: 1/s, zone: ''",
            "invalid-value",
            "name of a zone",
        ),
        ("key: ip:address, rate: 1/s, max_keys: 0", "out-of-range", "room"),
        ("key: ip:address, rate: 1/s, max_keys: 16777217", "out-of-range", "room"),
        (
            "key: ip:address, rate: 1/s, on_missing: ignore",
            "unknown-variant",
            "skip",
        ),
        (
            "key: ip:address, rate: 1/s, brust: 5",
            "unknown-key",
            "did you mean `burst`?",
        ),
    ] {
        let error = error(&limit(keys));
        assert!(error.contains(code) && error.contains(text), "{keys}: {error}");
        assert!(error.contains("example.yaml:1:"), "{keys}: {error}");
    }
}

#[test]
fn the_default_burst_is_a_second_s_worth_and_one_at_least() {
    for (rate, burst) in [
        ("10/s", "10"),
        ("2.5/s", "3"),
        ("600/m", "10"),
        ("1000/h", "1"),
        ("1/d", "1"),
    ] {
        let bench = Bench::new(&limit(&format!("key: ip:address, rate: {rate}")));
        assert_eq!(
            bench.send(&RequestBuilder::get("/")).headers["ratelimit-limit"],
            burst,
            "{rate}"
        );
    }
}

#[test]
fn several_keys_count_together_and_values_never_run_into_each_other() {
    let bench = Bench::new(&limit("key: [query:a, query:b], rate: 1/h, burst: 1"));
    let send = |target: &str| passes(&bench, &RequestBuilder::get(target));
    assert!(send("/?a=x%7Cy&b=z") && send("/?a=x&b=y%7Cz") && send("/?a=xy&b=z") && send("/?a=x&b=yz"));
    assert!(!send("/?b=z&a=x%7cy"), "the same values, written otherwise");
    assert!(send("/?a=x") && !send("/?a=x&b="), "empty is missing");
    assert!(send("/?b=x") && send("/") && !send("/?c=1"));
}

#[test]
fn a_missing_key_is_counted_by_what_becomes_of_it() {
    let bench = Bench::new(
        "filters: [{ rate_limit: { name: skip, key: jwt:sub, rate: 1/h, on_missing: skip } }, { rate_limit: { name: anon, key: \
         jwt:sub, rate: 1/h, burst: 2 } }, { rate_limit: { name: deny, key: jwt:team, rate: 1/h, burst: 9, on_missing: deny } }]",
    );
    let anonymous = RequestBuilder::get("/");
    let known = anonymous.clone().claims(json!({ "sub": "a", "team": "t" }));
    assert_eq!(bench.send(&anonymous).reason.unwrap().0, "limit_key_missing");
    assert!(passes(&bench, &known) && !passes(&bench, &known));
    assert_eq!(bench.send(&anonymous).status, 403);
    assert_eq!(bench.send(&anonymous).status, 429, "they share one bucket");
    let stats = |link: &str| bench.zones.get::<LimitStats>(&format!("test {link}")).unwrap();
    assert_eq!(
        (
            stats("skip").missing_skipped(),
            stats("anon").missing_anonymous(),
            stats("deny").missing_denied()
        ),
        (3, 3, 2)
    );
}

#[test]
fn a_claim_that_is_a_list_is_an_error_of_the_link() {
    let request = RequestBuilder::get("/").claims(json!({ "sub": ["a"], "id": 12_345_678_901_234_567_890_u64 }));
    let closed = Bench::new(&limit("key: jwt:sub, rate: 1/h, on_missing: skip"));
    let answered = closed.send(&request);
    assert_eq!(
        (answered.status.as_u16(), answered.reason.unwrap().0),
        (500, "limit_key")
    );
    let open = Bench::new(&limit("key: jwt:sub, rate: 1/h, on_error: allow"));
    assert!(passes(&open, &request) && passes(&open, &request));
    let digits = Bench::new(&limit("key: jwt:id, rate: 1/h"));
    assert!(passes(&digits, &request));
    let next = RequestBuilder::get("/").claims(json!({ "id": 12_345_678_901_234_567_891_u64 }));
    assert!(passes(&digits, &next), "numbers keep all their digits");
}

#[test]
fn too_many_parameters_do_not_evade_the_limit() {
    let bench = Bench::new(&limit("key: query:k, rate: 1/h, on_missing: skip"));
    let many = filler(100);
    let answered = bench.send(&RequestBuilder::get(&format!("/?{many}k=v")));
    assert_eq!(
        (answered.status.as_u16(), answered.reason.unwrap().0),
        (500, "limit_key")
    );
    assert!(
        passes(&bench, &RequestBuilder::get(&format!("/?k=v&{many}"))),
        "it is found before"
    );
}

#[test]
fn links_that_name_a_zone_share_one_limit() {
    let bench = Bench::new(
        "filters: [{ rate_limit: { name: a, key: ip:address, rate: 1/h, burst: 3, zone: z } }, { rate_limit: { name: b, key: \
         ip:address, rate: 1/h, burst: 3, zone: z } }]",
    );
    let request = RequestBuilder::get("/");
    assert!(passes(&bench, &request));
    let second = bench.send(&request);
    assert_eq!(
        (second.status.as_u16(), &*second.facts.decisions[0].link),
        (429, "b"),
        "two tokens a request"
    );
    let other = error(
        "filters: [{ rate_limit: { name: a, key: ip:address, rate: 1/h, zone: z } }, { rate_limit: { name: b, key: ip:address, rate: \
         2/h, zone: z } }]",
    );
    assert!(
        other.contains("conflicting-keys") && other.contains("do not agree"),
        "{other}"
    );
}

#[test]
fn reloads_refill_nothing() {
    let yaml = |rate: &str, burst: u32| limit(&format!("key: ip:address, rate: {rate}, burst: {burst}"));
    let first = Bench::new(&yaml("1/h", 4));
    let request = RequestBuilder::get("/");
    for _ in 0..3 {
        assert!(passes(&first, &request));
    }
    let same = Bench::reloaded(&first.zones, &yaml("1/h", 4));
    assert_eq!(same.send(&request).headers["ratelimit-remaining"], "0");
    let larger = Bench::reloaded(&same.zones, &yaml("10/s", 100));
    assert!(!passes(&larger, &request.clone().at(after(START, 50))));
    assert!(
        passes(&larger, &request.clone().at(after(START, 150))),
        "the new rate counts from here on"
    );
    let gone = Bench::reloaded(&larger.zones, "filters: []");
    let back = Bench::reloaded(&gone.zones, &yaml("1/h", 4));
    assert!(!passes(&back, &request.clone().at(after(START, 160))));
    // Requests that began under the old configuration count on the same buckets.
    assert!(!passes(&first, &request.at(after(START, 160))));
}

#[test]
fn the_room_of_a_zone_cannot_change_while_it_is_in_use() {
    let first = Bench::new(&limit("key: ip:address, rate: 1/h, max_keys: 100"));
    let Err(error) = try_bench(&first.zones, &limit("key: ip:address, rate: 1/h, max_keys: 200")) else {
        panic!("accepted")
    };
    assert!(
        error.contains("conflicting-keys") && error.contains("another shape (100)"),
        "{error}"
    );
    let table = first.zones.get::<BucketTable>("test rate_limit").unwrap();
    assert_eq!(table.capacity(), 100);
    let renamed = limit("name: other, key: ip:address, rate: 1/h, max_keys: 200");
    assert!(try_bench(&first.zones, &renamed).is_ok());
}

#[test]
fn a_flood_of_values_limits_itself() {
    let bench = Bench::new(&limit("key: query:k, rate: 1/h, burst: 5, max_keys: 10"));
    let victim = RequestBuilder::get("/?k=victim");
    while passes(&bench, &victim) {}
    let passed = (0..1000)
        .filter(|number| passes(&bench, &RequestBuilder::get(&format!("/?k=v{number}"))))
        .count();
    assert_eq!(passed, 9 + 5, "nine more keys, and one bucket for all others");
    assert!(!passes(&bench, &victim));
}

#[test]
fn clients_that_were_refused_together_do_not_come_back_together() {
    let bench = Bench::new(&limit("key: query:k, rate: 1/h"));
    let seconds = |address: &str| -> u32 {
        let request = RequestBuilder::get("/?k=1").ip(address);
        bench.send(&request);
        bench.send(&request).headers["retry-after"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap()
    };
    let all: std::collections::BTreeSet<u32> = (1..20).map(|last| seconds(&format!("192.0.2.{last}"))).collect();
    assert!(
        all.len() > 10 && all.iter().all(|seconds| (3600..=5400).contains(seconds)),
        "{all:?}"
    );
    assert_eq!(
        seconds("192.0.2.1"),
        seconds("192.0.2.1"),
        "the same client is told the same"
    );
}

#[test]
fn cost_and_status_are_heeded() {
    for (keys, passed, status) in [
        ("", 6, 429),
        (", cost: 2", 3, 429),
        (", cost: 1.5, status: 503", 4, 503),
    ] {
        let bench = Bench::new(&limit(&format!("key: ip:address, rate: 1/h, burst: 6{keys}")));
        let request = RequestBuilder::get("/");
        let statuses: Vec<u16> = (0..8).map(|_| bench.send(&request).status.as_u16()).collect();
        assert_eq!(
            statuses.iter().filter(|status| **status == 200).count(),
            passed,
            "{keys}"
        );
        assert_eq!(statuses.last(), Some(&status), "{keys}");
    }
}
