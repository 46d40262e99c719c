//! Replacing what listeners serve while they serve.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_next_handshake_sees_the_new_certificate_and_old_connections_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let files = certificate(folder.path(), "a", &["a.test"]);
    let running = start(long(), |listener| {
        listener.tls = Some(ListenerTls::new(vec![files.clone()]));
    })
    .await;
    let before = tls::client(&[&files], &["http/1.1"], &[]);
    let mut old = tls::handshake(running.connect().await, &before, "a.test")
        .await
        .unwrap();
    get(&mut old, "/").await;

    certificate(folder.path(), "a", &["a.test", "b.test"]);
    let prepared = running
        .handles
        .prepare(std::slice::from_ref(&running.listener))
        .unwrap();
    let mut still = tls::handshake(running.connect().await, &before, "a.test")
        .await
        .unwrap();
    get(&mut still, "/").await;
    prepared.commit();
    assert_eq!(running.handles.certificates()[0].certificate.names.len(), 2);

    let after = tls::client(&[&files], &["http/1.1"], &[]);
    let mut new = tls::handshake(running.connect().await, &after, "b.test").await.unwrap();
    let served = new.get_ref().1.peer_certificates().unwrap()[0].clone();
    assert_eq!(served, CertificateDer::from_pem_file(&files.certificate).unwrap());
    for stream in [&mut old, &mut still, &mut new] {
        get(stream, "/").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let files = certificate(folder.path(), "a", &["a.test"]);
    let running = start(long(), |listener| {
        listener.tls = Some(ListenerTls::new(vec![files.clone()]));
    })
    .await;
    let config = tls::client(&[&files], &["http/1.1"], &[]);
    std::fs::write(&files.key, "").unwrap();
    let error = running
        .handles
        .prepare(std::slice::from_ref(&running.listener))
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("listener `test`: ") && text.contains("a.key holds no private key"),
        "{text}"
    );
    let mut stream = tls::handshake(running.connect().await, &config, "a.test")
        .await
        .unwrap();
    get(&mut stream, "/").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_but_the_address_may_change() {
    let folder = tempfile::tempdir().unwrap();
    let files = certificate(folder.path(), "a", &["a.test"]);
    let running = start(long(), |_| {}).await;
    let mut plain = running.connect().await;
    get(&mut plain, "/").await;
    let mut listener = running.listener.clone();
    listener.name = "renamed".to_owned();
    listener.tls = Some(ListenerTls::new(vec![files.clone()]));
    running
        .handles
        .prepare(std::slice::from_ref(&listener))
        .unwrap()
        .commit();
    let config = tls::client(&[&files], &["http/1.1"], &[]);
    let mut secure = tls::handshake(running.connect().await, &config, "a.test")
        .await
        .unwrap();
    assert!(get(&mut secure, "/facts").await.contains("listener=renamed"));
    assert!(
        get(&mut plain, "/facts").await.contains("listener=test"),
        "an open connection stays what it is"
    );

    listener.address = "127.0.0.1:1".parse().unwrap();
    let error = running.handles.prepare(&[listener]).unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "the addresses of listeners changed: new 127.0.0.1:1, gone {}; restart or upgrade the process to bind them",
            running.address
        )
    );
}
