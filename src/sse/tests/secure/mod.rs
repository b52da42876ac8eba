//! A server behind TLS that notes who came with a certificate.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, crypto::ring};
use sse::Tls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A certificate for localhost that vouches for itself, and its key.
pub(crate) struct Authority(CertifiedKey<KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        Self(generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.cert.pem()
    }

    pub(crate) fn key_pem(&self) -> String {
        self.0.signing_key.serialize_pem()
    }
}

pub(crate) struct Secure {
    pub(crate) pem: String,
    port: u16,
    identified: Arc<Mutex<Vec<bool>>>,
    task: JoinHandle<()>,
}

impl Secure {
    /// Answers each path by `respond`; wants a certificate of `clients` where they are given.
    pub(crate) async fn start(
        own: &Authority,
        clients: Option<&Authority>,
        respond: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self::serve(own, clients, true, respond).await
    }

    /// Asks for a certificate, and answers as well without one.
    pub(crate) async fn start_asking(
        own: &Authority,
        clients: &Authority,
        respond: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self::serve(own, Some(clients), false, respond).await
    }

    async fn serve(
        own: &Authority,
        clients: Option<&Authority>,
        needed: bool,
        respond: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(server_config(own, clients, needed)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let identified = Arc::new(Mutex::new(Vec::new()));
        let seen = identified.clone();
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                answer(&acceptor, socket, &respond, &seen).await;
            }
        });
        Self { pem: own.pem(), port, identified, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    /// For each request, whether it came with a certificate.
    pub(crate) fn identified(&self) -> Vec<bool> {
        self.identified.lock().unwrap().clone()
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn server_config(own: &Authority, clients: Option<&Authority>, needed: bool) -> ServerConfig {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.0.cert.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if needed { verifier } else { verifier.allow_unauthenticated() };
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let key = PrivateKeyDer::Pkcs8(own.0.signing_key.serialize_der().into());
    builder.with_single_cert(vec![own.0.cert.der().clone()], key).unwrap()
}

async fn answer(
    acceptor: &TlsAcceptor,
    socket: TcpStream,
    respond: impl Fn(&str) -> Vec<u8>,
    seen: &Mutex<Vec<bool>>,
) {
    let Ok(mut stream) = acceptor.accept(socket).await else { return };
    let identified = stream.get_ref().1.peer_certificates().is_some();
    let mut request = [0; 4096];
    let Ok(length) = stream.read(&mut request).await else { return };
    let line = String::from_utf8_lossy(&request[..length]).into_owned();
    seen.lock().unwrap().push(identified);
    let _ = stream.write_all(&respond(line.split(' ').nth(1).unwrap_or_default())).await;
    let _ = stream.shutdown().await;
}

pub(crate) fn stream(data: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {data}\n\n").into()
}

pub(crate) fn redirect(location: &str) -> Vec<u8> {
    let head = "HTTP/1.1 307 Away\r\nContent-Length: 0\r\nConnection: close";
    format!("{head}\r\nLocation: {location}\r\n\r\n").into()
}

/// A directory for one test, removed afterwards.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sse-tls-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// These settings with the certificate of `who`.
    pub(crate) fn identity(&self, tls: &Tls, name: &str, who: &Authority) -> Tls {
        Tls {
            client_cert: Some(self.write(&format!("{name}.pem"), &who.pem())),
            client_key: Some(self.write(&format!("{name}.key"), &who.key_pem())),
            ..tls.clone()
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
