//! PostgreSQL servers with and without TLS, for the tests of whoever connects to them: started by the
//! programs of the server behind `TEST_DATABASE_URL`.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

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
pub(crate) struct Identity {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Identity {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap();
        Self { cert: cert.pem(), key: key.serialize_pem() }
    }
}

/// A server of its own in a directory of its own; stopped and removed when dropped.
pub(crate) struct Server {
    pub(crate) folder: PathBuf,
    pub(crate) port: u16,
    process: Child,
}

impl Server {
    /// Starts it with TLS as `own`, trusting `clients`; without TLS where there is none.
    pub(crate) async fn start(identities: Option<(&Identity, &Identity)>) -> Self {
        let programs = programs().await;
        let port = free_port();
        let folder = std::env::temp_dir().join(format!("pgtls-{}-{port}", std::process::id()));
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

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
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
