//! Signatures that are none, or another spelling of one.

use portcullis_e2e::idp::{Idp, encode, unsigned};
use serde_json::json;

use super::{Case, World, case};

/// The order of P-256.
const N: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
/// The order of Ed25519, lowest byte first.
const L: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

fn bytes(hex: &str) -> Vec<u8> {
    let pair = |at: usize| u8::from_str_radix(hex.get(at..at + 2).expect("two digits"), 16).expect("digits");
    (0..hex.len()).step_by(2).map(pair).collect()
}

#[test]
fn signatures() {
    let world = World::new();
    let text = |alg: &str, kid: &str| unsigned(&json!({ "alg": alg, "kid": kid }), &Idp::claims("mallory"));
    let bad = |name: &str, text: &str, signature: &[u8]| {
        case(name, format!("{text}.{}", encode(signature)), "signature_invalid")
    };
    let ec = text("ES256", "ec");
    let (zero, n) = (vec![0; 32], bytes(N));
    let mut one = vec![0; 32];
    one[31] = 1;
    let mut cases: Vec<Case> = Vec::new();
    for (name, r, s) in [
        ("r = s = 0", &zero, &zero),
        ("r = 0", &zero, &one),
        ("s = 0", &one, &zero),
        ("r = s = 1", &one, &one),
        ("r = n", &n, &one),
        ("s = n", &one, &n),
        ("r = s = n", &n, &n),
        ("r = n, s = 0", &n, &zero),
    ] {
        cases.push(bad(name, &ec, &[r.as_slice(), s].concat()));
    }
    let good = world.ec.sign(ec.as_bytes());
    let der = [&[0x30, 68, 2, 32][..], &good[..32], &[2, 32], &good[32..]].concat();
    cases.push(bad("DER", &ec, &der));
    cases.push(bad(
        "zeros in front",
        &ec,
        &[&[0], &good[..32], &[0], &good[32..]].concat(),
    ));
    cases.push(bad("halves swapped", &ec, &[&good[32..], &good[..32]].concat()));
    cases.push(bad("half", &ec, &good[..32]));
    cases.push(bad("too long", &ec, &[good.as_slice(); 20].concat()));
    let ed = text("EdDSA", "ed");
    cases.push(bad("Ed25519: zeros", &ed, &[0; 64]));
    let mut identity = [0; 64];
    identity[0] = 1;
    cases.push(bad("Ed25519: R = 1, S = 0", &ed, &identity));
    cases.push(bad("Ed25519: S + L", &ed, &add_order(world.ed.sign(ed.as_bytes()))));
    cases.push(bad(
        "Ed25519: a byte more",
        &ed,
        &[&*world.ed.sign(ed.as_bytes()), &[0]].concat(),
    ));
    cases.push(bad("Ed25519: a byte less", &ed, &world.ed.sign(ed.as_bytes())[..63]));
    let rsa = text("RS256", "rsa");
    cases.push(bad("RSA: zeros", &rsa, &[0; 256]));
    cases.push(bad("RSA: one", &rsa, &[&[0; 255][..], &[1]].concat()));
    cases.push(bad("RSA: all bits", &rsa, &[255; 256]));
    let good = world.rsa.sign(rsa.as_bytes());
    cases.push(bad("RSA: a zero in front", &rsa, &[&[0], good.as_slice()].concat()));
    cases.push(bad("RSA: a byte short", &rsa, &good[1..]));
    cases.push(bad("RSA: another's", &rsa, &world.ed.sign(rsa.as_bytes())));
    assert_eq!(world.refuses(&cases), 24);
}

/// The same Ed25519 signature with S + L for S, as verifiers that do not reduce take it.
fn add_order(mut signature: Vec<u8>) -> Vec<u8> {
    let mut carry = 0;
    for (byte, order) in signature[32..].iter_mut().zip(bytes(L)) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = (sum & 0xff) as u8;
        carry = sum >> 8;
    }
    signature
}
