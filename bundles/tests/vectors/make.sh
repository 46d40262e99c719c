#!/bin/sh
# Makes the signed vectors with OpenSSL alone, so that they do not depend on the code they test. The keys are for tests.
# Needs openssl 3 and python3 (only to turn a DER signature into r || s). Run in this folder.
set -eu
type=application/vnd.portcullis.bundle+json
printf '%s\n' '{"bundle_version": 7, "policies": []}' > payload.json
pae() { printf 'DSSEv1 %d %s %d ' "${#type}" "$type" "$(wc -c < payload.json)"; cat payload.json; }
b64() { base64 -w0; }
envelope() { printf '{"payload":"%s","payloadType":"%s","signatures":[{"keyid":"%s","sig":"%s"}]}' "$(b64 < payload.json)" "$type" "$1" "$2"; }

[ -f hmac.key ] || openssl rand -base64 32 | tr -d '\n' > hmac.key
key=$(cat hmac.key)
{ openssl dgst -sha256 -hmac "$key" -binary payload.json | b64; echo; cat payload.json; } > line.bundle
envelope shared "$(pae | openssl dgst -sha256 -hmac "$key" -binary | b64)" > hmac.dsse.json

[ -f ed25519.pem ] || openssl genpkey -algorithm ed25519 -out ed25519.pem
openssl pkey -in ed25519.pem -pubout -outform DER | tail -c 32 | b64 > ed25519.pub
pae > pae.tmp
envelope release "$(openssl pkeyutl -sign -rawin -in pae.tmp -inkey ed25519.pem | b64)" > ed25519.dsse.json

[ -f p256.pem ] || openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out p256.pem
openssl pkey -in p256.pem -pubout -outform DER | tail -c 65 | b64 > p256.pub
openssl dgst -sha256 -sign p256.pem -out der.tmp pae.tmp
raw=$(python3 - <<'P'
import base64
der = open('der.tmp', 'rb').read()
def integer(at):
    assert der[at] == 2
    length = der[at + 1]
    return int.from_bytes(der[at + 2:at + 2 + length], 'big'), at + 2 + length
r, at = integer(2)
s, at = integer(at)
print(base64.b64encode(r.to_bytes(32, 'big') + s.to_bytes(32, 'big')).decode(), end='')
P
)
envelope release "$raw" > p256.dsse.json
rm -f pae.tmp der.tmp
