//! Every key of `control_plane`, with two values that make a difference.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests fail by panicking, as tests do

use portcullis_e2e::bundle::{Signer, bucket};
use portcullis_e2e::control_plane::ControlPlane;
use portcullis_e2e::gateway::{Builder, Gateway, wait};
use portcullis_e2e::tls::Authority;
use serde_json::Value;

const SITES: &str =
    "sites: [{ hosts: [\"*\"], filters: [{ policy: {} }], routes: [{ respond: { status: 200, body: here } }] }]\n";

fn bundle(signer: &Signer, version: u64) -> Vec<u8> {
    signer.sign(&bucket(version, "header:x-key", 1000.0, 1000.0))
}

fn builder(yaml: &str) -> Builder {
    Builder::new(&(yaml.to_owned() + SITES)).file("token", ControlPlane::TOKEN)
}

fn status(gateway: &Gateway) -> Value {
    let (_, body) = gateway.admin("GET", "/-/status", "");
    let status: Value = serde_json::from_str(&body).expect("JSON");
    status["control_plane"].clone()
}

fn registered(gateway: &Gateway) {
    wait("a registration", || status(gateway)["registered"] == true);
}

fn version(gateway: &Gateway) -> Option<u64> {
    let (_, body) = gateway.admin("GET", "/readyz", "");
    let ready: Value = serde_json::from_str(&body).expect("JSON");
    ready["bundle"]["version"].as_u64()
}

#[test]
fn url_and_edge_id() {
    let (one, other, signer) = (ControlPlane::start(), ControlPlane::start(), Signer::new("k1"));
    let yaml = one.yaml(&signer, "");
    let gateway = builder(&yaml).start();
    registered(&gateway);
    assert!(other.seen().is_empty());
    assert!(one.bodies("/register").iter().all(|body| body["edge_id"] == "edge-1"));
    // A base path, and another control plane: the client follows the configuration without a restart.
    let yaml = yaml
        .replace(&one.address.to_string(), &format!("{}/", other.address))
        .replace("edge_id: edge-1", "edge_id: edge-9");
    gateway.write_config(&(yaml + SITES));
    assert_eq!(gateway.reload().0, 200);
    wait("the other one", || !other.bodies("/register").is_empty());
    assert_eq!(other.bodies("/register")[0]["edge_id"], "edge-9");
    // It says that the token is that of edge-1.
    wait("a refusal", || {
        status(&gateway)["last_error"]["reason"] == "edge_mismatch"
    });
    let before = one.seen().len();
    assert_eq!(status(&gateway)["edge_id"], "edge-9");
    assert_eq!(one.seen().len(), before);
}

#[test]
fn tokens() {
    let (control_plane, signer) = (ControlPlane::start(), Signer::new("k1"));
    for (slots, good) in [
        ("{ current: \"file:{dir}/token\" }", true),
        ("{ current: \"env:EDGE_TOKEN\" }", false),
        ("{ current: \"env:EDGE_TOKEN\", previous: \"file:{dir}/token\" }", true),
        ("{ current: \"file:{dir}/none\", previous: \"file:{dir}/token\" }", true),
    ] {
        let yaml = control_plane.yaml(&signer, &format!(", token: {slots}"));
        let gateway = builder(&yaml).environment("EDGE_TOKEN", "not-known").start();
        if good {
            registered(&gateway);
        } else {
            wait("a refusal", || status(&gateway)["last_error"]["reason"] == "denied");
        }
    }
    let yaml = control_plane.yaml(&signer, ", token: { current: \"file:{dir}/none\" }");
    let before = control_plane.seen().len();
    let gateway = builder(&yaml).start();
    wait("a complaint", || {
        status(&gateway)["last_error"]["reason"] == "token_unreadable"
    });
    assert_eq!(control_plane.seen().len(), before, "nothing is sent without a token");
}

#[test]
fn fv_27_region() {
    let signer = Signer::new("k1");
    for (named, good) in [(Some("eu-west-1"), true), (Some("us-east-1"), false), (None, false)] {
        let control_plane = ControlPlane::start();
        control_plane.be(|conduct| conduct.region = named.map(str::to_owned));
        control_plane.publish(&bundle(&signer, 1));
        let gateway = builder(&control_plane.yaml(&signer, ", region: eu-west-1")).start();
        if !good {
            wait("a refusal", || {
                status(&gateway)["last_error"]["reason"] == "region_mismatch"
            });
            assert_eq!(status(&gateway)["reachable"], false);
            assert!(
                control_plane
                    .seen()
                    .iter()
                    .all(|seen| seen.target().ends_with("/register"))
            );
            assert_eq!(version(&gateway), None, "nothing was asked for, nothing was taken");
            continue;
        }
        wait("the bundle", || version(&gateway) == Some(1));
        // It moves: what it offers from there is not taken.
        control_plane.be(|conduct| conduct.region = Some("us-east-1".into()));
        control_plane.publish(&bundle(&signer, 2));
        wait("a refusal", || {
            status(&gateway)["last_error"]["reason"] == "region_mismatch"
        });
        let heartbeats = control_plane.bodies("/heartbeat").len();
        wait("another try", || control_plane.bodies("/register").len() > 2);
        assert_eq!(
            control_plane.bodies("/heartbeat").len(),
            heartbeats,
            "nothing is told there"
        );
        assert_eq!(version(&gateway), Some(1));
    }
    // Without the pin any region will do.
    let control_plane = ControlPlane::start();
    control_plane.be(|conduct| conduct.region = Some("us-east-1".into()));
    registered(&builder(&control_plane.yaml(&signer, "")).start());
}

#[test]
fn heartbeat_interval() {
    let signer = Signer::new("k1");
    let (often, seldom) = (ControlPlane::start(), ControlPlane::start());
    let _one = builder(&often.yaml(&signer, ", heartbeat_interval: 100ms")).start();
    let _other = builder(&seldom.yaml(&signer, ", heartbeat_interval: 1h")).start();
    wait("heartbeats", || often.bodies("/heartbeat").len() > 5);
    wait("a heartbeat", || !seldom.bodies("/heartbeat").is_empty());
    assert_eq!(seldom.bodies("/heartbeat").len(), 1);
}

#[test]
fn poll_interval_and_bundles_of_the_control_plane() {
    let signer = Signer::new("k1");
    let policy = signer
        .policy()
        .replace("file: \"{dir}/policy.bundle\"", "control_plane: true");
    let (often, seldom, never) = (ControlPlane::start(), ControlPlane::start(), ControlPlane::start());
    let all = [&often, &seldom, &never];
    let gateways = [
        builder(&often.yaml_with(&policy, ", poll_interval: 100ms")).start(),
        builder(&seldom.yaml_with(&policy, ", poll_interval: 1h")).start(),
        builder(&never.yaml_with(&signer.policy(), ""))
            .file("policy.bundle", bundle(&signer, 7))
            .start(),
    ];
    wait("the first question", || often.pulls() > 0 && seldom.pulls() > 0);
    for control_plane in all {
        control_plane.publish(&bundle(&signer, 8));
        control_plane.be(|conduct| conduct.hint = false);
    }
    wait("the bundle", || version(&gateways[0]) == Some(8));
    let heartbeats = || all.map(|control_plane| control_plane.bodies("/heartbeat").len());
    let before = heartbeats();
    wait("heartbeats", || {
        heartbeats().iter().zip(before).all(|(now, before)| *now > before + 3)
    });
    assert_eq!((version(&gateways[1]), seldom.pulls()), (None, 1));
    assert_eq!(
        (version(&gateways[2]), never.pulls()),
        (Some(7), 0),
        "its bundle is a file"
    );
    // A hint brings it forward; where bundles come from elsewhere it changes nothing. So does a reload.
    never.be(|conduct| conduct.hint = true);
    seldom.be(|conduct| conduct.hint = true);
    wait("the bundle", || version(&gateways[1]) == Some(8));
    seldom.be(|conduct| conduct.hint = false);
    wait("quiet", || {
        let (pulls, heartbeats) = (seldom.pulls(), seldom.bodies("/heartbeat").len());
        wait("heartbeats", || seldom.bodies("/heartbeat").len() > heartbeats + 2);
        seldom.pulls() == pulls
    });
    let pulls = seldom.pulls();
    gateways[1].signal("HUP");
    wait("a question", || seldom.pulls() > pulls);
    assert_eq!((version(&gateways[2]), never.pulls()), (Some(7), 0));
}

#[test]
fn ca() {
    let signer = Signer::new("k1");
    let authority = Authority::new();
    let origin = ControlPlane::start();
    for (pem, good) in [(authority.pem(), true), (Authority::new().pem(), false)] {
        // A gateway in front of the control plane gives it TLS.
        let tls = Builder::new(
            &"listeners:\n- { name: public, address: \"{public}\", tls: { certificates: [{ certificate: \"{dir}/a.crt\", key: \"{dir}/a.key\" }] } }\nupstreams: { origin: { servers: [\"ORIGIN\"] } }\nsites: [{ hosts: [\"*\"], routes: [{ proxy: { upstream: origin } }] }]\n"
                .replace("ORIGIN", &origin.address.to_string()),
        );
        authority.issue(tls.dir(), "a", &["localhost"]);
        let tls = tls.start();
        let yaml = origin.yaml(&signer, ", ca: \"{dir}/ca.pem\"").replace(
            &format!("http://{}", origin.address),
            &format!("https://localhost:{}", tls.public.port()),
        );
        let gateway = builder(&yaml).file("ca.pem", pem).start();
        if good {
            registered(&gateway);
        } else {
            wait("a refusal", || status(&gateway)["last_error"]["reason"] == "tls");
        }
    }
}
