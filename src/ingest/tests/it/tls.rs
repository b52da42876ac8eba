//! What `sslmode` and its files mean, against servers with and without TLS.
//!
//! The servers are started here, with the programs of the server behind `TEST_DATABASE_URL`. Those
//! of the embedded one know no TLS, so `make test` leaves this module to its run on PostgreSQL 15.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ingest::{DatabaseConfig, Error, ErrorKind};
use rcgen::{CertificateParams, DnType, KeyPair};

/// Who may come how: each line of the first column is a login.
const ACCESS: &str = "
hostssl   all crypt all trust
hostnossl all plain all trust
hostssl   all badge all cert
host      all postgres all trust
";
const LOGINS: &str = "
    create role crypt login superuser; create role plain login superuser;
    create role badge login superuser;";
const NOBODY: u32 = 65534;

/// A certificate for localhost and for the login of this name; it vouches for itself.
struct Identity {
    cert: String,
    key: String,
}

impl Identity {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap();
        Self { cert: cert.pem(), key: key.serialize_pem() }
    }
}

/// A server of its own in a directory of its own; stopped and removed when dropped.
struct Server {
    folder: PathBuf,
    port: u16,
    process: Child,
}

impl Server {
    /// Starts it with TLS as `own`, trusting `clients`; without TLS where there is none.
    async fn start(identities: Option<(&Identity, &Identity)>) -> Self {
        let programs = programs().await;
        let port = free_port();
        let folder = std::env::temp_dir().join(format!("ingest-tls-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let data = folder.join("data");
        let root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
        if root {
            chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let command = |name: &str| {
            let mut command = Command::new(programs.join(name));
            command.arg("-D").arg(&data).current_dir(&folder).env("LC_ALL", "C");
            command.stdin(Stdio::null()).stdout(Stdio::null());
            if root {
                // PostgreSQL does not run as root.
                command.uid(NOBODY).gid(NOBODY);
            }
            command
        };
        let made =
            command("initdb").args(["-U", "postgres", "-A", "trust", "-N"]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        std::fs::write(data.join("pg_hba.conf"), ACCESS).unwrap();
        let mut options = vec![
            format!("port={port}"),
            "listen_addresses=localhost".to_owned(),
            format!("unix_socket_directories={}", folder.display()),
            "fsync=off".to_owned(),
        ];
        if let Some((own, clients)) = identities {
            for (name, text) in
                [("own.pem", &own.cert), ("own.key", &own.key), ("ca", &clients.cert)]
            {
                let path = data.join(name);
                std::fs::write(&path, text).unwrap();
                std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
                if root {
                    chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
                }
            }
            options.extend(
                ["ssl=on", "ssl_cert_file=own.pem", "ssl_key_file=own.key", "ssl_ca_file=ca"]
                    .map(str::to_owned),
            );
        }
        let mut postgres = command("postgres");
        for option in options {
            postgres.args(["-c", &option]);
        }
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let process = postgres.stderr(log).spawn().unwrap();
        let server = Self { folder, port, process };
        server.ready().await;
        server
    }

    async fn ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let url =
            format!("postgresql://postgres@localhost:{}/postgres?connect_timeout=5", self.port);
        loop {
            match tokio_postgres::connect(&url, tokio_postgres::NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(connection);
                    return client.batch_execute(LOGINS).await.unwrap();
                }
                Err(error) => {
                    let log = std::fs::read_to_string(self.folder.join("log")).unwrap();
                    assert!(
                        !log.contains("SSL is not supported"),
                        "the server behind TEST_DATABASE_URL was built without TLS; run this \
                         module on another, as make test does"
                    );
                    assert!(Instant::now() < deadline, "{error}: {log}");
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Connects as `user` to `host` with these parameters, by keywords and by URL.
    async fn connect(&self, user: &str, host: &str, extra: &[(&str, &str)]) -> Result<(), Error> {
        let port = self.port.to_string();
        let by_name = [("host", host), ("port", &port), ("user", user), ("dbname", "postgres")];
        let by_name = DatabaseConfig::from_params(by_name.iter().chain(extra).copied())?;
        let answer = attempt(&by_name).await;
        if !host.starts_with('/') {
            let query: Vec<_> =
                extra.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let query = query.join("&");
            let url = format!("postgresql://{user}@{host}:{port}/postgres?{query}");
            let by_url = attempt(&DatabaseConfig::from_url(&url)?).await;
            let text = |answer: &Result<(), Error>| answer.as_ref().err().map(Error::to_string);
            assert_eq!(text(&answer), text(&by_url));
        }
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = self.process.id().to_string();
        let asked = Command::new("kill").args(["-INT", &pid]).status();
        if asked.is_err() {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn attempt(config: &DatabaseConfig) -> Result<(), Error> {
    ingest::migrate(config, "tls", &[]).await.map(drop)
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Where the programs of the server under test are.
async fn programs() -> PathBuf {
    let url = std::env::var("TEST_DATABASE_URL").expect("TEST_DATABASE_URL names a superuser");
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let row = client
        .query_one("select setting from pg_config where name = 'BINDIR'", &[])
        .await
        .expect("TEST_DATABASE_URL names a superuser");
    let folder = PathBuf::from(row.get::<_, String>(0));
    assert!(Path::new(&folder).join("initdb").exists(), "the server must run on this machine");
    folder
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
    server.connect("crypt", "localhost", &[]).await.unwrap();
    server.connect("plain", "localhost", &[]).await.unwrap();
    for (mode, crypt, plain) in [
        ("disable", false, true),
        ("allow", true, true),
        ("prefer", true, true),
        ("require", true, false),
    ] {
        for (user, welcome) in [("crypt", crypt), ("plain", plain)] {
            let answer = server.connect(user, "localhost", &[("sslmode", mode)]).await;
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
        let answer = server.connect("crypt", host, &extra).await;
        match welcome {
            true => answer.unwrap(),
            false => refused(answer, CERTIFICATE),
        }
    }
    // Without a mode the system's authorities are trusted with all care, else not at all.
    refused(server.connect("crypt", "localhost", &[("sslrootcert", "system")]).await, CERTIFICATE);

    // A socket of this machine knows no TLS, whatever the mode; here no login may use it.
    let folder = server.folder.to_str().unwrap();
    let answer = server.connect("crypt", folder, &[("sslmode", "verify-full")]).await;
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
    server.connect("badge", "localhost", &with(&cert, &key)).await.unwrap();
    // It is another's, is missing, or opens another door.
    let answer = server.connect("badge", "localhost", &with(&other, &other_key)).await;
    refused(answer, "does not accept sslcert");
    let none = [("sslmode", "verify-full"), ("sslrootcert", root.as_str())];
    refused(server.connect("badge", "localhost", &none).await, "valid client certificate");
    refused(server.connect("plain", "localhost", &with(&cert, &key)).await, LOGIN);

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
        server.connect("plain", "localhost", &[("sslmode", mode)]).await.unwrap();
    }
    for mode in ["require", "verify-ca", "verify-full"] {
        let extra = [("sslmode", mode), ("sslrootcert", root.as_str())];
        let error = server.connect("plain", "localhost", &extra).await.unwrap_err();
        assert!(error.to_string().contains("server does not support TLS"), "{error}");
    }
}
