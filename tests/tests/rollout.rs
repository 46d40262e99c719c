//! A new bundle is tried on a part of the requests: it judges its share and nobody else, comes into force or goes by itself,
//! and no crash makes it skip a step.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests fail by panicking, as tests do

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portcullis_e2e::bundle::{Signer, bucket};
use portcullis_e2e::control_plane::ControlPlane;
use portcullis_e2e::gateway::{Builder, Gateway, binary, replace, wait};
use portcullis_e2e::h1::{self, Connection};
use portcullis_e2e::load::Load;
use serde_json::Value;

/// Whoever asks says for whom, so that one client can be many.
const SITE: &str = "trusted_proxies: [127.0.0.1]\nsites: [{ hosts: [\"*\"], answers: { limit_headers: [classic] }, filters: [{ policy: {} }], routes: [{ respond: { status: 200, body: here } }] }]\n";

/// Lets everybody pass; its limit tells which bundle it was.
fn open(version: u32) -> String {
    bucket(
        version.into(),
        "ip:address",
        f64::from(version) * 1e6,
        f64::from(version) * 1e6,
    )
}

/// Refuses everybody with 403.
fn closed(version: u32) -> String {
    open(version).replace(
        "limit_keys: [\"ip:address\"]",
        "limit_keys: [\"header:x-absent\"], on_missing: deny",
    )
}

fn rollout(settings: &str) -> String {
    format!("  rollout: {{ {settings} }}\n")
}

/// Under version 1.
fn start(signer: &Signer, settings: &str) -> Gateway {
    Builder::new(&format!("{}{}{SITE}", signer.policy(), rollout(settings)))
        .file("policy.bundle", signer.sign(&open(1)))
        .start()
}

fn publish(gateway: &Gateway, bundle: &[u8]) -> (u16, String) {
    replace(&gateway.path("policy.bundle"), bundle);
    gateway.reload()
}

fn json(gateway: &Gateway, path: &str) -> Value {
    serde_json::from_str(&gateway.admin("GET", path, "").1).expect("JSON")
}

/// The versions in force and on trial.
fn versions(gateway: &Gateway) -> (Option<u64>, Option<u64>) {
    let status = json(gateway, "/-/status");
    let in_force = status["readiness"]["bundle"]["version"].as_u64();
    (in_force, status["rollout"]["version"].as_u64())
}

/// How the last trial ended.
fn last(gateway: &Gateway) -> (Option<u64>, String) {
    let last = &json(gateway, "/-/rollout")["last"];
    let outcome = last["outcome"].as_str().unwrap_or_default().to_owned();
    (last["version"].as_u64(), outcome)
}

/// The identity of a number.
fn address(number: u32) -> String {
    format!("10.{}.{}.{}", number >> 16 & 255, number >> 8 & 255, number & 255)
}

/// Asks as this identity: the status, and the version that decided, as far as the answer tells.
fn ask(connection: &mut Connection<std::net::TcpStream>, number: u32) -> (u16, Option<u64>) {
    let address = address(number);
    let answer = connection
        .ask(format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {address}\r\n\r\n"
        ))
        .expect("an answer");
    let limit = answer
        .header("ratelimit-limit")
        .and_then(|limit| limit.parse::<u64>().ok());
    (answer.status, limit.map(|limit| limit / 1_000_000))
}

/// The identities below `all` that this version decides about.
fn judged_by(gateway: &Gateway, version: u64, all: u32) -> BTreeSet<u32> {
    let mut connection = Connection::open(gateway.public);
    let mut judged = BTreeSet::new();
    for number in 0..all {
        let (status, by) = ask(&mut connection, number);
        assert_eq!(status, 200);
        if by == Some(version) {
            judged.insert(number);
        }
    }
    judged
}

#[test]
fn a_share_of_identities_is_judged_by_the_new_bundle_and_always_the_same_over_a_crash() {
    let signer = Signer::new("k1");
    let mut gateway = start(&signer, "percent: 5, guard: { window: 1h }");
    assert_eq!(publish(&gateway, &signer.sign(&open(2))).0, 200);
    assert_eq!(versions(&gateway), (Some(1), Some(2)));
    let all = 2000;
    let share = judged_by(&gateway, 2, all);
    // 100 are to be expected, with a deviation of 10.
    assert!((40..=160).contains(&share.len()), "{} of {all}", share.len());
    assert_eq!(judged_by(&gateway, 2, all), share, "sticky");
    // The log says the same.
    let lines = gateway.access_log(2 * all as usize);
    for number in 0..all {
        let of = |line: &&Value| line["client"] == address(number).as_str();
        let version = if share.contains(&number) { 2 } else { 1 };
        assert!(lines.iter().filter(of).all(|line| line["bundle_version"] == version));
    }
    let status = json(&gateway, "/-/rollout");
    assert_eq!(status["rollout"]["on_trial"]["requests"], 2 * share.len());
    assert_eq!(
        status["rollout"]["in_force"]["requests"],
        2 * (all as usize - share.len())
    );
    assert!((gateway.metric("portcullis_rollout_active") - 1.0).abs() < 0.1);
    let series = "portcullis_rollout_requests_total{bundle=\"on_trial\"}";
    assert_eq!(format!("{:.0}", gateway.metric(series)), (2 * share.len()).to_string());
    // What is on the disk knows both bundles, and takes neither for the other.
    for _ in 0..3 {
        gateway.crash_and_restart();
        assert_eq!(versions(&gateway), (Some(1), Some(2)));
    }
    assert_eq!(judged_by(&gateway, 2, all), share, "the same after a crash");
    // Even where the source has nothing any more.
    std::fs::remove_file(gateway.path("policy.bundle")).expect("the file");
    gateway.crash_and_restart();
    assert_eq!(versions(&gateway), (Some(1), Some(2)));
}

#[test]
fn a_bundle_that_refuses_too_much_is_rolled_back_and_nobody_else_has_seen_it() {
    let signer = Signer::new("k1");
    let mut gateway = start(
        &signer,
        "percent: 20, guard: { max_reject_ratio: 0.05, window: 1h, min_requests: 20 }",
    );
    let all = 400_u32;
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4_u32)
        .map(|client| {
            let (stop, public) = (Arc::clone(&stop), gateway.public);
            std::thread::spawn(move || {
                let mut connection = Connection::open(public);
                let mut refused = BTreeSet::new();
                while !stop.load(Ordering::Relaxed) {
                    for number in (0..all).filter(|number| number % 4 == client) {
                        match ask(&mut connection, number).0 {
                            200 => {}
                            403 => {
                                refused.insert(number);
                            }
                            other => panic!("{other}"),
                        }
                    }
                }
                refused
            })
        })
        .collect();
    assert_eq!(publish(&gateway, &signer.sign(&closed(2))).0, 200);
    wait("the end of the trial", || {
        last(&gateway) == (Some(2), "rolled_back".to_owned())
    });
    assert_eq!(versions(&gateway), (Some(1), None));
    stop.store(true, Ordering::Relaxed);
    let refused: BTreeSet<u32> = clients
        .into_iter()
        .flat_map(|client| client.join().expect("a client"))
        .collect();
    assert!((1..=140).contains(&refused.len()), "{} of {all}", refused.len());
    assert!(
        judged_by(&gateway, 1, all).len() == all as usize,
        "the one in force serves all"
    );
    // The same bundle once more, with another percentage all are in: the share of 20 % was within it.
    assert!((gateway.metric("portcullis_rollout_steps_total{step=\"rolled_back\"}") - 1.0).abs() < 0.1);
    let why = json(&gateway, "/-/rollout")["last"]["detail"]
        .as_str()
        .expect("why")
        .to_owned();
    assert!(
        why.contains("requests were rejected (100.00 %)") && why.contains("max_reject_ratio is 0.05"),
        "{why}"
    );
    // It is never tried again, and its version is used up.
    let (status, body) = gateway.reload();
    assert!(status == 422 && body.contains("rolled_back"), "{status} {body}");
    gateway.crash_and_restart();
    assert_eq!(versions(&gateway), (Some(1), None));
    let (status, body) = publish(&gateway, &signer.sign(&open(2)));
    assert!(
        status == 422 && body.contains("version_not_monotonic"),
        "{status} {body}"
    );
    assert_eq!(
        json(&gateway, "/readyz")["warnings"],
        serde_json::json!(["bundle_refused"])
    );
    assert_eq!(publish(&gateway, &signer.sign(&open(3))).0, 200);
    assert_eq!(versions(&gateway), (Some(1), Some(3)));
}

#[test]
fn a_bundle_whose_requests_fail_is_rolled_back_and_one_of_an_outage_is_not() {
    let signer = Signer::new("k1");
    let settings = "percent: 50, guard: { max_5xx_ratio: 0.1, max_reject_ratio: 1, window: 1h, min_requests: 20 }";
    let gateway = start(&signer, settings);
    // A rule that breaks where a query has too many parameters.
    let broken = open(2).replace("ip:address", "query:k");
    assert_eq!(publish(&gateway, &signer.sign(&broken)).0, 200);
    let mut query = String::new();
    for number in 0..101 {
        let _ = write!(query, "&p{number}=1");
    }
    let mut number = 0;
    wait("the end of the trial", || {
        for _ in 0..20 {
            number += 1;
            let address = address(number);
            let answer = h1::get(
                gateway.public,
                "a",
                &format!("/?{query}"),
                &[("X-Forwarded-For", &address)],
            );
            assert!([200, 500].contains(&answer.status), "{}", answer.status);
        }
        last(&gateway) == (Some(2), "rolled_back".to_owned())
    });
    let why = json(&gateway, "/-/rollout")["last"]["detail"]
        .as_str()
        .expect("why")
        .to_owned();
    assert!(why.contains("max_5xx_ratio is 0.1"), "{why}");
}

#[test]
fn a_bundle_that_does_no_harm_comes_into_force_and_is_the_new_floor() {
    let signer = Signer::new("k1");
    let mut gateway = start(&signer, "percent: 50, guard: { window: 300ms, min_requests: 20 }");
    let clients = Load::of_200(gateway.public);
    assert_eq!(publish(&gateway, &signer.sign(&open(2))).0, 200);
    // The load is one identity, which may be on either side.
    let mut connection = Connection::open(gateway.public);
    wait("version 2", || {
        for number in 0..50 {
            assert_eq!(ask(&mut connection, number).0, 200);
        }
        versions(&gateway) == (Some(2), None)
    });
    assert_eq!(last(&gateway), (Some(2), "promoted".to_owned()));
    clients.finish_later();
    assert_eq!(judged_by(&gateway, 2, 100).len(), 100);
    // Versions do not go back, whatever the source has.
    let (status, body) = publish(&gateway, &signer.sign(&open(1)));
    assert!(
        status == 422 && body.contains("version_not_monotonic"),
        "{status} {body}"
    );
    gateway.crash_and_restart();
    assert_eq!(versions(&gateway), (Some(2), None));
}

#[test]
fn crashes_while_a_bundle_is_tried_neither_promote_nor_lose_it() {
    let signer = Signer::new("k1");
    let mut gateway = start(&signer, "percent: 50, guard: { window: 1h, min_requests: 0 }");
    assert_eq!(publish(&gateway, &signer.sign(&open(2))).0, 200);
    for round in 0..5 {
        let busy = AtomicBool::new(true);
        let public = gateway.public;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while busy.load(Ordering::Relaxed) {
                    // It dies under this load: what is not answered is no matter here.
                    if let Ok(stream) = std::net::TcpStream::connect(public) {
                        let _ = Connection::over(stream).ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
                    }
                }
            });
            // In one round the newer bundle comes just before.
            if round == 3 {
                replace(&gateway.path("policy.bundle"), &signer.sign(&open(3)));
            }
            gateway.crash();
            busy.store(false, Ordering::Relaxed);
        });
        gateway.restart();
        let on_trial = if round < 3 { 2 } else { 3 };
        wait("the trial", || versions(&gateway) == (Some(1), Some(on_trial)));
    }
    // An abort outlives a crash too.
    assert_eq!(gateway.admin("POST", "/-/rollout/abort", "").0, 200);
    gateway.crash_and_restart();
    assert_eq!(versions(&gateway), (Some(1), None));
    assert_eq!(gateway.admin("POST", "/-/rollout/abort", "").0, 409);
}

#[test]
fn a_later_bundle_takes_the_place_of_the_one_on_trial() {
    let signer = Signer::new("k1");
    let gateway = start(&signer, "percent: 50, guard: { window: 1h }");
    for version in [2, 4] {
        assert_eq!(publish(&gateway, &signer.sign(&open(version))).0, 200);
        assert_eq!(versions(&gateway), (Some(1), Some(version.into())));
    }
    assert_eq!(last(&gateway), (Some(2), "replaced".to_owned()));
    // Neither an earlier one nor another of the same version does, and the one in force changes nothing.
    for (bundle, status) in [(open(3), 422), (closed(4), 422), (open(2), 422), (open(1), 200)] {
        assert_eq!(publish(&gateway, &signer.sign(&bundle)).0, status);
        assert_eq!(versions(&gateway), (Some(1), Some(4)));
    }
}

#[test]
fn kill_switches_of_a_bundle_on_trial_are_in_force_at_once_for_all() {
    let signer = Signer::new("k1");
    let gateway = start(&signer, "percent: 0.01, guard: { window: 1h }");
    let killing = format!(
        "{}kill_switches: [{{ scope_key: \"header:x-tenant\", scope_value: t1 }}]\n",
        open(2)
    );
    assert_eq!(publish(&gateway, &signer.sign(&killing)).0, 200);
    assert_eq!(versions(&gateway), (Some(1), Some(2)));
    let asked = |tenant: &str, number: u32| {
        let headers = [("X-Tenant", tenant), ("X-Forwarded-For", &address(number))];
        h1::get(gateway.public, "a", "/", &headers).status
    };
    assert!((0..20).all(|number| asked("t1", number) == 429));
    assert!((0..20).all(|number| asked("t2", number) == 200));
    assert_eq!(json(&gateway, "/-/kill/status")["active"]["bundle"], 1);
    // They go with it, and come with the next.
    assert_eq!(gateway.admin("POST", "/-/rollout/abort", "").0, 200);
    assert_eq!(asked("t1", 1), 200);
    let killing = killing.replace("bundle_version: 2", "bundle_version: 3");
    assert_eq!(publish(&gateway, &signer.sign(&killing)).0, 200);
    assert_eq!(gateway.admin("POST", "/-/rollout/promote", "").0, 200);
    assert_eq!((versions(&gateway), asked("t1", 1)), ((Some(3), None), 429));
    assert_eq!(json(&gateway, "/-/kill/status")["active"]["bundle"], 1);
}

#[test]
fn both_bundles_count_on_the_same_counters() {
    let signer = Signer::new("k1");
    let limited = |version| bucket(version, "header:x-tenant", 0.001, 50.0);
    let gateway = Builder::new(&format!(
        "{}{}{SITE}",
        signer.policy(),
        rollout("percent: 50, guard: { max_reject_ratio: 1, window: 1h }")
    ))
    .file("policy.bundle", signer.sign(&limited(1)))
    .start();
    assert_eq!(publish(&gateway, &signer.sign(&limited(2))).0, 200);
    let passed = (0..200).filter(|number| {
        let headers = [("X-Tenant", "t1"), ("X-Forwarded-For", &*address(*number))];
        h1::get(gateway.public, "a", "/", &headers).status == 200
    });
    assert_eq!(passed.count(), 50, "one budget, whoever of the tenant's people asks");
    let status = json(&gateway, "/-/rollout");
    assert!(status["rollout"]["on_trial"]["requests"].as_u64() > Some(50));
    assert!(status["rollout"]["in_force"]["requests"].as_u64() > Some(50));
}

#[test]
fn no_request_is_lost_while_bundles_come_and_go() {
    let signer = Signer::new("k1");
    let gateway = start(&signer, "percent: 50, guard: { window: 1h }");
    let clients = Load::of_200(gateway.public);
    let mut in_force = 1;
    for version in 2..22_u32 {
        assert_eq!(publish(&gateway, &signer.sign(&open(version))).0, 200);
        assert_eq!(versions(&gateway), (Some(in_force), Some(version.into())));
        let (step, after) = if version % 2 == 0 {
            ("abort", in_force)
        } else {
            ("promote", version.into())
        };
        assert_eq!(gateway.admin("POST", &format!("/-/rollout/{step}"), "").0, 200);
        in_force = after;
        assert_eq!(versions(&gateway), (Some(in_force), None));
    }
    clients.finish_later();
}

#[test]
fn gateways_can_be_divided_in_place_of_identities() {
    let signer = Signer::new("k1");
    let tried = start(&signer, "percent: 100, by: node, guard: { window: 1h }");
    assert_eq!(publish(&tried, &signer.sign(&open(2))).0, 200);
    assert_eq!(
        (versions(&tried), judged_by(&tried, 2, 50).len()),
        ((Some(1), Some(2)), 50)
    );
    // One outside the share waits until the others have tried it.
    let other = start(
        &signer,
        "percent: 0.01, by: node, guard: { window: 1s, min_requests: 1000000 }",
    );
    assert_eq!(publish(&other, &signer.sign(&open(2))).0, 200);
    let mut connection = Connection::open(other.public);
    wait("version 2", || {
        ask(&mut connection, 1);
        versions(&other) == (Some(2), None)
    });
    assert!(other.metric("portcullis_rollout_requests_total{bundle=\"on_trial\"}") < 0.5);
    assert_eq!(judged_by(&other, 2, 50).len(), 50);
}

#[test]
fn without_the_setting_and_without_a_bundle_in_force_there_is_no_trial() {
    let signer = Signer::new("k1");
    let gateway = start(&signer, "percent: 50, guard: { window: 1h }");
    assert_eq!(
        versions(&gateway),
        (Some(1), None),
        "the first has nothing beside which it could be tried"
    );
    assert_eq!(publish(&gateway, &signer.sign(&open(2))).0, 200);
    assert_eq!(versions(&gateway), (Some(1), Some(2)));
    gateway.write_config(&format!("{}{SITE}", signer.policy()));
    assert_eq!(gateway.reload().0, 200);
    assert_eq!(versions(&gateway), (Some(2), None));
    assert!(!gateway.admin("GET", "/metrics", "").1.contains("portcullis_rollout"));
}

#[test]
fn a_configuration_must_meet_what_either_bundle_requires() {
    let signer = Signer::new("k1");
    let gateway = start(&signer, "percent: 50, guard: { window: 1h }");
    let requiring = format!("{}require: [{{ path_prefix: /, filters: [policy] }}]\n", open(2));
    assert_eq!(publish(&gateway, &signer.sign(&requiring)).0, 200);
    let yaml = format!(
        "{}{}{SITE}",
        signer.policy(),
        rollout("percent: 50, guard: { window: 1h }")
    );
    gateway.write_config(&yaml.replace("filters: [{ policy: {} }], ", ""));
    let (status, body) = gateway.reload();
    assert!(status == 422 && body.contains("the bundle on trial"), "{status} {body}");
    assert_eq!(versions(&gateway), (Some(1), Some(2)));
    let unmeetable = format!("{}require: [{{ path_prefix: /, filters: [jwt] }}]\n", open(3));
    let (status, body) = publish(&gateway, &signer.sign(&unmeetable));
    assert!(status == 422, "{status} {body}");
    assert_eq!(versions(&gateway), (Some(1), Some(2)));
}

#[test]
fn the_command_line_shows_and_ends_it() {
    let signer = Signer::new("k1");
    let gateway = start(&signer, "percent: 5, guard: { window: 1h }");
    let portcullis = |step: &str| {
        let admin = gateway.admin.to_string();
        let output = Command::new(binary())
            .args(["bundle", "rollout", step, "--admin", &admin])
            .output()
            .expect("the binary");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    assert_eq!(portcullis("abort").0, Some(2));
    assert_eq!(publish(&gateway, &signer.sign(&open(2))).0, 200);
    let (code, said) = portcullis("status");
    assert!(
        code == Some(0) && said.contains("version 2 on 5 % of identities"),
        "{said}"
    );
    let (code, said) = portcullis("promote");
    assert!(code == Some(0) && said.contains("version 2 promoted"), "{said}");
    assert_eq!(versions(&gateway), (Some(2), None));
}

#[test]
fn a_debug_session_and_the_control_plane_are_told_what_came_of_it() {
    let (control_plane, signer) = (ControlPlane::start(), Signer::new("k1"));
    control_plane.publish(&signer.sign(&open(1)));
    let yaml =
        control_plane.yaml(&signer, "") + &rollout("percent: 100, guard: { window: 1h, min_requests: 20 }") + SITE;
    let gateway = Builder::new(&yaml).file("token", ControlPlane::TOKEN).start();
    wait("version 1", || versions(&gateway).0 == Some(1));
    wait("an answer", || control_plane.acks() == ["applied"]);
    control_plane.publish(&signer.sign(&open(2)));
    wait("the trial", || versions(&gateway) == (Some(1), Some(2)));
    let cookie =
        serde_json::from_str::<Value>(&gateway.admin("POST", "/-/debug", "").1).expect("JSON")["cookie"].clone();
    let answer = h1::get(
        gateway.public,
        "a",
        "/",
        &[("Cookie", cookie.as_str().expect("a cookie"))],
    );
    assert_eq!(answer.header("x-portcullis-debug-bundle-version"), Some("2"));
    let pulls = control_plane.pulls();
    wait("more questions", || control_plane.pulls() > pulls + 2);
    assert_eq!(control_plane.acks(), ["applied"], "nothing is decided yet");
    assert_eq!(gateway.admin("POST", "/-/rollout/promote", "").0, 200);
    wait("an answer", || control_plane.acks().len() == 2);
    let ack = control_plane.bodies("/config/ack").pop().expect("an answer");
    assert_eq!((&ack["status"], &ack["version"]), (&"applied".into(), &2.into()));
    control_plane.publish(&signer.sign(&closed(3)));
    wait("the end of the trial", || {
        h1::get(gateway.public, "a", "/", &[]);
        last(&gateway) == (Some(3), "rolled_back".to_owned())
    });
    wait("an answer", || {
        control_plane.acks() == ["applied", "applied", "rolled_back"]
    });
    let ack = control_plane.bodies("/config/ack").pop().expect("an answer");
    assert_eq!((&ack["status"], &ack["version"]), (&"rejected".into(), &2.into()));
}
