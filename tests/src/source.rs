//! What a gateway fetches and believes: a server of one document over TLS (bundles, key sets, kill-switch documents), and whose
//! signatures it trusts.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// The answer with a document in it.
pub fn answer(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Gives this answer to whatever is asked, over TLS with the `server.crt` of a folder.
pub fn serve_tls(dir: &Path, answer: Vec<u8>) -> SocketAddr {
    let chain = vec![CertificateDer::from_pem_file(dir.join("server.crt")).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_file(dir.join("server.key")).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate with its key");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = ServerConnection::new(Arc::clone(&config)).expect("a connection");
            let mut stream = StreamOwned::new(connection, stream);
            if stream.read(&mut [0; 4096]).is_ok() {
                let _ = stream.write_all(&answer);
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    });
    address
}

/// `trust` in a list of public keys, in ways of which one fits a document with version 1 that the key `own` signed as `k1`; and
/// the version that is in force then, and the reason if none is.
pub fn trusted(list: &str, own: &str, other: &str) -> [(String, (Option<u64>, &'static str)); 3] {
    [
        ("k1", own, (Some(1), "")),
        ("k2", own, (None, "unknown_key")),
        ("k1", other, (None, "invalid_signature")),
    ]
    .map(|(id, key, expected)| {
        let trust = format!("trust: {{ {list}: [{{ id: {id}, public_key: \"{key}\" }}] }}");
        (trust, expected)
    })
}
