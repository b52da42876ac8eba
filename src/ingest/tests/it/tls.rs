//! What `sslmode` and its files mean, against servers with and without TLS.
//!
//! Those of the embedded server know no TLS, so `make test` leaves this module to its run on
//! PostgreSQL 15.

use ingest::{DatabaseConfig, Error, ErrorKind};

use server::{Identity, Server};

#[path = "../../../pgtls/tests/server/mod.rs"]
mod server;

/// Connects as `user` to `host` with these parameters, by keywords and by URL.
async fn connect(
    server: &Server,
    user: &str,
    host: &str,
    extra: &[(&str, &str)],
) -> Result<(), Error> {
    let port = server.port.to_string();
    let by_name = [("host", host), ("port", &port), ("user", user), ("dbname", "postgres")];
    let by_name = DatabaseConfig::from_params(by_name.iter().chain(extra).copied())?;
    let answer = attempt(&by_name).await;
    if !host.starts_with('/') {
        let query: Vec<_> = extra.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let query = query.join("&");
        let url = format!("postgresql://{user}@{host}:{port}/postgres?{query}");
        let by_url = attempt(&DatabaseConfig::from_url(&url)?).await;
        let text = |answer: &Result<(), Error>| answer.as_ref().err().map(Error::to_string);
        assert_eq!(text(&answer), text(&by_url));
    }
    answer
}

async fn attempt(config: &DatabaseConfig) -> Result<(), Error> {
    ingest::migrate(config, "tls", &[]).await.map(drop)
}

fn refused(answer: Result<(), Error>, words: &str) {
    let error = answer.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

const CERTIFICATE: &str = "set sslrootcert to the authority of the server's certificate";
const LOGIN: &str = "no pg_hba.conf entry";

#[tokio::test]
async fn sslmode_decides_whether_to_encrypt_and_whom_to_trust() {
    let own = Identity::new("server");
    let server = Server::start(Some((&own, &Identity::new("badge")))).await;
    let right = server.write("right.pem", &own.cert);
    let wrong = server.write("wrong.pem", &Identity::new("server").cert);
    let (right, wrong) = (right.as_str(), wrong.as_str());

    // Whether to encrypt: one login is let in only with TLS, one only without.
    connect(&server, "crypt", "localhost", &[]).await.unwrap();
    connect(&server, "plain", "localhost", &[]).await.unwrap();
    for (mode, crypt, plain) in [
        ("disable", false, true),
        ("allow", true, true),
        ("prefer", true, true),
        ("require", true, false),
    ] {
        for (user, welcome) in [("crypt", crypt), ("plain", plain)] {
            let answer = connect(&server, user, "localhost", &[("sslmode", mode)]).await;
            match welcome {
                true => answer.unwrap(),
                false => refused(answer, LOGIN),
            }
        }
    }

    // Whom to trust: the right authority, and with verify-full only the right name.
    for (mode, host, root, welcome) in [
        ("require", "127.0.0.1", None, true),
        ("require", "127.0.0.1", Some(right), true),
        ("require", "localhost", Some(wrong), false),
        ("verify-ca", "127.0.0.1", Some(right), true),
        ("verify-ca", "localhost", Some(right), true),
        ("verify-ca", "localhost", Some(wrong), false),
        ("verify-ca", "localhost", None, false),
        ("verify-full", "localhost", Some(right), true),
        ("verify-full", "127.0.0.1", Some(right), false),
        ("verify-full", "localhost", Some(wrong), false),
        ("verify-full", "localhost", None, false),
        ("verify-full", "localhost", Some("system"), false),
    ] {
        let mut extra = vec![("sslmode", mode)];
        extra.extend(root.map(|root| ("sslrootcert", root)));
        let answer = connect(&server, "crypt", host, &extra).await;
        match welcome {
            true => answer.unwrap(),
            false => refused(answer, CERTIFICATE),
        }
    }
    // Without a mode the system's authorities are trusted with all care, else not at all.
    refused(
        connect(&server, "crypt", "localhost", &[("sslrootcert", "system")]).await,
        CERTIFICATE,
    );

    // A socket of this machine knows no TLS, whatever the mode; here no login may use it.
    let folder = server.folder.to_str().unwrap();
    let answer = connect(&server, "crypt", folder, &[("sslmode", "verify-full")]).await;
    refused(answer, LOGIN);
}

#[tokio::test]
async fn a_client_certificate_opens_the_door_it_is_for() {
    let (own, badge) = (Identity::new("server"), Identity::new("badge"));
    let server = Server::start(Some((&own, &badge))).await;
    let file = |name: &str, text: &str| server.write(name, text);
    let (cert, key) = (file("badge.pem", &badge.cert), file("badge.key", &badge.key));
    let stranger = Identity::new("badge");
    let (other, other_key) = (file("other.pem", &stranger.cert), file("other.key", &stranger.key));
    let root = file("right.pem", &own.cert);
    let with = |cert, key| {
        [
            ("sslmode", "verify-full"),
            ("sslrootcert", root.as_str()),
            ("sslcert", cert),
            ("sslkey", key),
        ]
    };
    connect(&server, "badge", "localhost", &with(&cert, &key)).await.unwrap();
    // It is another's, is missing, or opens another door.
    let answer = connect(&server, "badge", "localhost", &with(&other, &other_key)).await;
    refused(answer, "does not accept sslcert");
    let none = [("sslmode", "verify-full"), ("sslrootcert", root.as_str())];
    refused(connect(&server, "badge", "localhost", &none).await, "valid client certificate");
    refused(connect(&server, "plain", "localhost", &with(&cert, &key)).await, LOGIN);

    let empty = file("empty.pem", "s3cret");
    let missing = "/nowhere/missing.pem";
    let body: String = badge.key.lines().filter(|line| !line.starts_with("---")).collect();
    for (cert, key, words) in [
        (cert.as_str(), missing, "missing.pem"),
        (missing, key.as_str(), "missing.pem"),
        (&empty, &key, "empty.pem"),
        (&cert, &empty, "empty.pem"),
        (&cert, &other_key, "do not belong together"),
        (&cert, &body, "no path"),
    ] {
        let params = [("host", "localhost"), ("user", "badge")];
        let params = params.into_iter().chain(with(cert, key));
        let error = attempt(&DatabaseConfig::from_params(params).unwrap()).await.unwrap_err();
        let said = format!("{error} {error:?}");
        assert_eq!(error.kind(), ErrorKind::Config, "{said}");
        assert!(said.contains(words), "{said}");
        assert!(!said.contains("s3cret") && !said.contains(&body), "{said}");
    }
}

#[tokio::test]
async fn a_server_without_tls_gets_no_session_that_wants_it() {
    let server = Server::start(None).await;
    let root = server.write("right.pem", &Identity::new("server").cert);
    for mode in ["disable", "allow", "prefer"] {
        connect(&server, "plain", "localhost", &[("sslmode", mode)]).await.unwrap();
    }
    for mode in ["require", "verify-ca", "verify-full"] {
        let extra = [("sslmode", mode), ("sslrootcert", root.as_str())];
        let error = connect(&server, "plain", "localhost", &extra).await.unwrap_err();
        assert!(error.to_string().contains("server does not support TLS"), "{error}");
    }
}
