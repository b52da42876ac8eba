//! TLS against real servers: whom the client trusts, and to whom it shows its certificate.

#![allow(clippy::unwrap_used)]

mod secure;

use std::path::Path;
use std::process::Command;

use secure::{Authority, Folder, Secure, redirect, stream};
use sse::{Client, ClientConfig, Error, ErrorKind, Item, Pages, Signal, Tls};

const URL: &str = "SSE_TEST_TLS_URL";
const TRUSTED: &str = "SSE_TEST_TLS_TRUSTED";

/// The data of the first event, or the error that ended the only attempt.
async fn read(url: &str, tls: Tls) -> Result<String, Error> {
    let config = ClientConfig { max_attempts: Some(1), tls, ..ClientConfig::new(url) };
    let mut client = Client::new(config)?;
    loop {
        if let Signal::Bytes(_) = client.advance().await?
            && let Some(Item::Event(event)) = client.next_item()
        {
            return Ok(event.data.to_owned());
        }
    }
}

async fn fetch(url: &str, tls: Tls) -> Result<String, Error> {
    let page = Pages::new(ClientConfig { tls, ..ClientConfig::new(url) }, 1000)?;
    Ok(String::from_utf8(page.fetch(&[]).await?.body.to_vec()).unwrap())
}

fn trusting(ca_file: &Path) -> Tls {
    Tls { ca_file: Some(ca_file.into()), ..Tls::default() }
}

fn refused(answer: Result<String, Error>, kind: ErrorKind, words: &str) {
    let error = answer.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

/// Runs this very test in a process of its own, whose trusted roots are those in `roots`.
fn client_process(url: &str, roots: &Path, trusted: bool) {
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

#[tokio::test]
async fn a_certificate_needs_a_trusted_root() {
    if let Ok(url) = std::env::var(URL) {
        if std::env::var(TRUSTED).unwrap() == "true" {
            assert_eq!(read(&url, Tls::default()).await.unwrap(), "secret");
        } else {
            let answer = read(&url, Tls::default()).await;
            refused(answer, ErrorKind::Rejected, "certificate is refused");
            refused(fetch(&url, Tls::default()).await, ErrorKind::Rejected, "certificate");
        }
        return;
    }
    let folder = Folder::new();
    let server = Secure::start(&Authority::new(), None, |_| stream("secret")).await;
    let right = folder.write("right.pem", &server.pem);
    let wrong = folder.write("wrong.pem", &Authority::new().pem());
    let url = server.url("/");
    tokio::task::spawn_blocking(move || {
        client_process(&url, &right, true);
        client_process(&url, &wrong, false);
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_file_of_authorities_takes_the_place_of_the_systems() {
    let folder = Folder::new();
    let server = Secure::start(&Authority::new(), None, |_| stream("secret")).await;
    let other = Authority::new();
    let right = folder.write("right.pem", &server.pem);
    let wrong = folder.write("wrong.pem", &other.pem());
    let both = folder.write("both.pem", &(other.pem() + &server.pem));
    for ca_file in [&right, &both] {
        assert_eq!(read(&server.url("/"), trusting(ca_file)).await.unwrap(), "secret");
        assert!(fetch(&server.url("/"), trusting(ca_file)).await.unwrap().contains("secret"));
    }
    for answer in [
        read(&server.url("/"), trusting(&wrong)).await,
        fetch(&server.url("/"), trusting(&wrong)).await,
        // The name counts too: the certificate is for localhost.
        read(&server.url("/").replace("localhost", "127.0.0.1"), trusting(&right)).await,
    ] {
        refused(answer, ErrorKind::Rejected, "certificate is refused");
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_who_asks_for_it() {
    let folder = Folder::new();
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = Secure::start(&theirs, Some(&ours), |_| stream("secret")).await;
    let trust = trusting(&folder.write("ca.pem", &server.pem));
    let shown = folder.identity(&trust, "client", &ours);
    assert_eq!(read(&server.url("/"), shown.clone()).await.unwrap(), "secret");
    assert!(fetch(&server.url("/"), shown).await.unwrap().contains("secret"));
    assert_eq!(server.identified(), [true, true]);

    let stranger = folder.identity(&trust, "stranger", &Authority::new());
    for tls in [trust, stranger] {
        refused(read(&server.url("/"), tls.clone()).await, ErrorKind::Rejected, "client_cert");
        refused(fetch(&server.url("/"), tls).await, ErrorKind::Rejected, "client_cert");
    }
}

#[tokio::test]
async fn a_client_certificate_does_not_follow_a_redirect_to_another_host() {
    let folder = Folder::new();
    let ours = Authority::new();
    let there = Secure::start_asking(&Authority::new(), &ours, |_| stream("there")).await;
    let away = there.url("/");
    let here = Secure::start(&Authority::new(), Some(&ours), move |path| match path {
        "/here" => stream("here"),
        "/near" => redirect("/here"),
        _ => redirect(&away),
    })
    .await;
    let trust = trusting(&folder.write("ca.pem", &(here.pem.clone() + &there.pem)));
    let shown = folder.identity(&trust, "client", &ours);
    // The server over there knows the certificate well: it is asked for it, and does not get it.
    assert_eq!(read(&there.url("/"), shown.clone()).await.unwrap(), "there");
    assert_eq!(there.identified(), [true]);

    assert_eq!(read(&here.url("/away"), shown.clone()).await.unwrap(), "there");
    assert!(fetch(&here.url("/away"), shown.clone()).await.unwrap().contains("there"));
    assert_eq!(there.identified(), [true, false, false]);
    assert_eq!(here.identified(), [true, true]);
    assert_eq!(read(&here.url("/near"), shown).await.unwrap(), "here");
    assert_eq!(here.identified(), [true, true, true, true]);
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_and_never_quoted() {
    let folder = Folder::new();
    let ours = Authority::new();
    let cert = folder.write("cert.pem", &ours.pem());
    let key = folder.write("key.pem", &ours.key_pem());
    let other_key = folder.write("other.pem", &Authority::new().key_pem());
    let none = folder.write("none.pem", "no certificate here: s3cret");
    let torn = folder.write("torn.pem", "-----BEGIN PRIVATE KEY-----\ns3cret\n");
    let missing = folder.path("missing.pem");
    let inline = ours.key_pem();
    let bare: String = inline.lines().filter(|line| !line.starts_with("---")).collect();
    let tls = |cert: &Path, key: &Path| Tls {
        client_cert: Some(cert.into()),
        client_key: Some(key.into()),
        ca_file: None,
    };
    for (tls, words) in [
        (trusting(&missing), "missing.pem"),
        (trusting(&none), "none.pem"),
        (tls(&missing, &key), "client_cert"),
        (tls(&none, &key), "none.pem"),
        (tls(&cert, &missing), "missing.pem"),
        (tls(&cert, &none), "none.pem"),
        (tls(&cert, &torn), "torn.pem"),
        (tls(&cert, &other_key), "belongs to client_cert"),
        (tls(&cert, Path::new(&inline)), "no path"),
        (tls(&cert, Path::new(&bare)), "no path"),
        (Tls { client_cert: Some(cert.clone()), ..Tls::default() }, "set both"),
        (Tls { client_key: Some(key.clone()), ..Tls::default() }, "set both"),
    ] {
        // Wrong files are wrong whatever the URL: a redirect may lead from http to https.
        for url in ["https://localhost:1/", "http://localhost:1/"] {
            let config = || ClientConfig { tls: tls.clone(), ..ClientConfig::new(url) };
            let shown = format!("{:?}", config());
            let errors = [Client::new(config()).err(), Pages::new(config(), 1).err()];
            for error in errors {
                let error = error.unwrap();
                assert_eq!(error.kind(), ErrorKind::Config, "{error}");
                assert!(error.to_string().contains(words), "{error}");
                let said = format!("{error} {error:?} {shown}");
                let body = inline.lines().nth(1).unwrap();
                assert!(!said.contains("s3cret") && !said.contains(body), "{said}");
            }
        }
    }
}
