//! TLS: the system's roots decide whom the client trusts, without any process-wide provider.

#![allow(clippy::unwrap_used)]

use std::process::Command;
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use sse::{Client, ClientConfig, ErrorKind, Item, Signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const URL: &str = "SSE_TEST_TLS_URL";
const TRUSTED: &str = "SSE_TEST_TLS_TRUSTED";
const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: secret\n\n";

/// Runs this very test in a process of its own, whose trusted roots are those in `roots`.
fn client_process(url: &str, roots: &std::path::Path, trusted: bool) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_certificate_needs_a_trusted_root"])
        .env("SSL_CERT_FILE", roots)
        .env(URL, url)
        .env(TRUSTED, trusted.to_string())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let ran = output.status.success() && text.contains("1 passed");
    assert!(ran, "trusted {trusted}: {text}");
}

async fn expect(url: &str, trusted: bool) {
    let mut client =
        Client::new(ClientConfig { max_attempts: Some(1), ..ClientConfig::new(url) }).unwrap();
    if !trusted {
        let error = client.advance().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Rejected, "{error}");
        assert!(error.to_string().contains("certificate"), "{error}");
        return;
    }
    assert!(matches!(client.advance().await, Ok(Signal::Connected(_))));
    assert!(matches!(client.advance().await, Ok(Signal::Bytes(_))));
    assert!(matches!(client.next_item(), Some(Item::Event(event)) if event.data == "secret"));
}

#[test]
fn a_certificate_needs_a_trusted_root() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let Ok(url) = std::env::var(URL) {
        let trusted = std::env::var(TRUSTED).unwrap() == "true";
        return runtime.block_on(expect(&url, trusted));
    }

    let make = || generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let CertifiedKey { cert, signing_key } = make();
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    runtime.spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            if let Ok(mut stream) = acceptor.accept(socket).await {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(RESPONSE).await;
                let _ = stream.shutdown().await;
            }
        }
    });

    let folder = std::env::temp_dir().join(format!("sse-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for (name, pem, trusted) in
        [("right.pem", cert.pem(), true), ("wrong.pem", make().cert.pem(), false)]
    {
        let roots = folder.join(name);
        std::fs::write(&roots, pem).unwrap();
        client_process(&url, &roots, trusted);
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
