//! Bundles: only what a trusted key has signed is let in, what is signed verifies, and the fast reader of the gateway and
//! the thorough one of authors agree about every text.

use std::sync::OnceLock;

use portcullis_bundles::author::{self, Authored, Format};
use portcullis_bundles::compile::compile;
use portcullis_bundles::digest::Digest;
use portcullis_bundles::envelope::{open, payload_unverified, sign_dsse, sign_line};
use portcullis_bundles::format::Bundle;
use portcullis_bundles::lint;
use portcullis_bundles::loader::{Loader, Settings};
use portcullis_bundles::policies::{Matches, Policies, Provenance};
use portcullis_bundles::signing::SigningKey;
use portcullis_bundles::trust::{KeyAlgorithm, Trust};
use portcullis_bundles::version::Standing;
use portcullis_config::secret::Secret;
use portcullis_filters::policy::PolicyExaminer;

use crate::seeds::{Seed, blocks, files};

/// 2026-02-03T14:00:00Z: the golden files are written for it.
const NOW: i64 = 1_770_127_200;
/// Tests of a bundle may ask for 100,000 repetitions each, which is a lot of time for one input.
const TESTS_RUN_BELOW: u64 = 2_000;

const HMAC: &[u8] = include_bytes!("../../bundles/tests/vectors/hmac.key");
const ED25519: &[u8] = include_bytes!("../../bundles/tests/vectors/ed25519.pem");
const P256: &[u8] = include_bytes!("../../bundles/tests/vectors/p256.pem");
/// The only text that the signed vectors sign.
const SIGNED: &[u8] = include_bytes!("../../bundles/tests/vectors/payload.json");

struct World {
    keys: [SigningKey; 3],
    trust: Trust,
    loader: Loader,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let key = |id, algorithm, bytes: &[u8]| {
            SigningKey::read(id, Some(algorithm), &Secret::new(bytes.to_vec())).expect("a key of the tests")
        };
        World {
            keys: [
                key("shared", KeyAlgorithm::HmacSha256, HMAC),
                key("release", KeyAlgorithm::Ed25519, ED25519),
                key("p256", KeyAlgorithm::EcdsaP256, P256),
            ],
            trust: trust(),
            loader: Loader::new(
                Settings {
                    max_bytes: 1 << 20,
                    max_version_jump: None,
                    insecure_unsigned: false,
                    names: None,
                },
                trust(),
                Box::new(PolicyExaminer),
            ),
        }
    })
}

fn trust() -> Trust {
    let public = |bytes| SigningKey::read("any", None, &Secret::new(bytes)).ok()?.public_key();
    let ed25519 = public(ED25519.to_vec()).expect("a public key");
    let p256 = public(P256.to_vec()).expect("a public key");
    let mut trust = Trust::default();
    trust.add_hmac("shared", &Secret::new(HMAC.to_vec())).expect("a key");
    trust.add_ed25519("release", &ed25519).expect("a key");
    trust.add_ecdsa_p256("p256", &p256).expect("a key");
    trust
}

/// What must hold for the bytes of a bundle.
///
/// # Panics
///
/// When it does not.
pub fn check(data: &[u8]) {
    as_received(data);
    if !data.is_empty() {
        signed_here(data);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        as_authored(text);
    }
}

/// Nobody here has the keys, so what verifies is what was signed before.
fn as_received(data: &[u8]) {
    let world = world();
    if let Ok(verified) = open(data, &world.trust, false) {
        assert_eq!(verified.payload(), SIGNED, "let in, and never signed");
        assert!(!verified.signed_by().is_empty());
        assert_eq!(verified.digest(), Digest::of(SIGNED));
    }
    if let Ok(verified) = open(data, &world.trust, true) {
        let unsigned = verified.signed_by().is_empty() && verified.payload() == data && data.starts_with(b"{");
        assert!(
            unsigned || verified.payload() == SIGNED,
            "let in, and not what was sent"
        );
    }
    assert!(
        open(data, &Trust::default(), false).is_err(),
        "let in, and nobody is trusted"
    );
    if let Ok((payload, ids)) = payload_unverified(data) {
        assert!(payload.len() <= data.len() && ids.len() <= data.len());
    }
}

/// What is signed verifies; changed in one place, it does not.
fn signed_here(payload: &[u8]) {
    let world = world();
    let choice = payload.len() + usize::from(payload[0]);
    let key = &world.keys[choice % 3];
    let line = sign_line(payload, key)
        .expect("a signature")
        .filter(|_| choice.is_multiple_of(2));
    let bytes = line.unwrap_or_else(|| sign_dsse(payload, std::slice::from_ref(key)).expect("a signature"));
    let verified = open(&bytes, &world.trust, false).expect("it was signed a moment ago");
    assert_eq!(verified.payload(), payload);
    let line_form = !bytes.starts_with(b"{");
    assert!(line_form || verified.signed_by().iter().all(|id| **id == *key.id()));

    let sum = payload.iter().fold(choice, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(usize::from(*byte))
    });
    let mut changed = bytes.clone();
    changed[sum % bytes.len()] ^= 1 << (sum / bytes.len() % 8);
    assert!(
        open(&changed, &world.trust, false).is_err(),
        "byte {} was changed",
        sum % bytes.len()
    );

    loaded(&bytes, payload);
}

/// The whole way of a signed bundle, as the gateway goes it.
fn loaded(bytes: &[u8], payload: &[u8]) {
    let repetitions = |bundle: Bundle| {
        bundle
            .tests
            .iter()
            .map(|test| u64::from(test.repeat.unwrap_or(1)))
            .sum()
    };
    if Bundle::parse_unverified(payload).map_or(0, repetitions) > TESTS_RUN_BELOW {
        return;
    }
    let loader = &world().loader;
    match loader.accept(bytes, NOW, None) {
        Ok(accepted) => {
            assert_eq!(accepted.floor.digest, Digest::of(payload));
            assert_eq!(accepted.floor.version, accepted.policies.version());
            let again = loader
                .accept(bytes, NOW, Some(accepted.floor))
                .expect("the floor itself is accepted");
            assert_eq!(again.standing, Standing::Same);
            loader
                .restore(bytes, accepted.floor, NOW)
                .expect("it is what was accepted");
            judges(&accepted.policies);
        }
        Err(refused) => {
            assert!(!refused.detail.is_empty());
            let _ = refused.explanation.render_text();
        }
    }
}

fn as_authored(text: &str) {
    let json = author::read("bundle.json", text, Format::Json);
    let yaml = author::read("bundle.yaml", text, Format::Yaml);
    for read in [&json, &yaml] {
        match read {
            Ok(authored) => written_again(authored),
            Err(explanation) => {
                assert!(!explanation.diagnostics.is_empty(), "refused without a reason");
                assert!(!explanation.render_text().is_empty());
            }
        }
    }
    let fast = Bundle::parse_unverified(text.as_bytes())
        .ok()
        .filter(|bundle| compile(bundle, origin()).is_ok());
    let thorough = json.ok().map(|authored| authored.bundle);
    assert_eq!(fast, thorough, "the two readers disagree");
}

fn origin() -> Provenance {
    Provenance {
        version: 1,
        digest: Digest::of(b""),
        signed_by: Box::default(),
    }
}

/// The text that is signed says what the author wrote, and is its own canonical form.
fn written_again(authored: &Authored) {
    let canonical = authored.canonical_json().expect("a bundle can be written");
    let bundle = Bundle::parse_unverified(&canonical).expect("what is written can be read");
    assert_eq!(bundle, authored.bundle);
    assert_eq!(author::canonical_json(&bundle).ok(), Some(canonical));
    let _ = authored.explain(&lint::hints(&bundle, NOW)).render_text();
    judges(&authored.compiled.policies);
}

fn judges(policies: &Policies) {
    for (host, path, method) in [
        ("a.test", "/", "GET"),
        ("api.example.com", "/v1/search", "POST"),
        ("", "", ""),
    ] {
        let mut matches = Matches::new();
        policies.matching(host, path, method, &mut matches);
        for place in &matches {
            let policy = policies.get(*place).expect("a match is a policy");
            let _ = policies.mode(policy, NOW);
        }
    }
    let _ = (
        policies.is_expired(NOW),
        policies.global_shadow(NOW),
        policies.kill_switch_override(NOW),
    );
}

/// Bundles to begin with.
pub fn seeds() -> Vec<Seed> {
    let endings = [".json", ".yaml", ".bundle"];
    let mut seeds = files(&["bundles/examples", "bundles/tests", "examples"], &endings);
    seeds.extend(blocks(
        &files(&["filters/src", "docs"], &[".md"]),
        &["```yaml bundle", "```json bundle"],
    ));
    for (number, keys) in [
        &world().keys[..1],
        &world().keys[1..2],
        &world().keys[2..],
        &world().keys,
    ]
    .iter()
    .enumerate()
    {
        seeds.push(Seed::new(
            format!("signed {number}"),
            sign_dsse(SIGNED, keys).expect("a signature"),
        ));
    }
    for format in [Format::Json, Format::Yaml] {
        let readable = seeds.iter().filter_map(|seed| {
            let text = std::str::from_utf8(&seed.bytes).ok()?;
            Some((seed, author::read("seed", text, format).ok()?.canonical_json().ok()?))
        });
        // The canonical form of each, alone and signed.
        let more: Vec<Seed> = readable
            .flat_map(|(seed, canonical)| {
                let signed = sign_dsse(&canonical, &world().keys).expect("a signature");
                let name = |what| format!("{} {what} {format:?}", seed.name);
                [
                    Seed::new(name("canonical"), canonical),
                    Seed::new(name("untrusted"), untrusted(&signed)),
                ]
            })
            .collect();
        seeds.extend(more);
    }
    seeds
}

/// The same envelope under ids that nobody knows: its text may not be let in.
fn untrusted(envelope: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(envelope);
    text.replace("\"keyid\":\"", "\"keyid\":\"un").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A check that nothing ever passes would hold for every loader.
    #[test]
    fn some_seeds_are_let_in() {
        let world = world();
        let seeds = seeds();
        let opened = |seed: &&Seed| open(&seed.bytes, &world.trust, false).is_ok();
        assert!(seeds.iter().filter(opened).count() >= 6);
        let accepted = |seed: &&Seed| {
            let signed = sign_dsse(&seed.bytes, &world.keys).expect("a signature");
            !seed.bytes.is_empty() && world.loader.accept(&signed, NOW, None).is_ok()
        };
        assert!(seeds.iter().filter(accepted).count() >= 5);
    }
}
