//! A database behind TLS. The servers are those of `pgtls`; the embedded one knows no TLS, so that
//! `make test` leaves this module to its run on PostgreSQL 15.

use crate::server::Server;
use tls_server::{Identity, Server as Postgres};

#[path = "../../../pgtls/tests/server/mod.rs"]
mod tls_server;

/// What a server without our schema is told of.
const CONNECTED: &str = "the database lacks";
const NOT_YET: &str = "the database was not asked yet";
const REFUSED: &str = "the database cannot be reached";

#[tokio::test]
async fn the_database_is_reached_as_sslmode_says() {
    let own = Identity::new("server");
    let postgres = Postgres::start(Some((&own, &Identity::new("badge")))).await;
    let right = postgres.write("right.pem", &own.cert);
    let wrong = postgres.write("wrong.pem", &Identity::new("server").cert);
    for (user, query, message) in [
        ("crypt", String::new(), CONNECTED),
        ("plain", String::new(), CONNECTED),
        ("crypt", "?sslmode=disable".into(), REFUSED),
        ("plain", "?sslmode=require".into(), REFUSED),
        ("crypt", "?sslmode=require".into(), CONNECTED),
        ("crypt", format!("?sslmode=verify-full&sslrootcert={right}"), CONNECTED),
        ("crypt", format!("?sslmode=verify-full&sslrootcert={wrong}"), REFUSED),
    ] {
        let url = format!("postgresql://{user}@localhost:{}/postgres{query}", postgres.port);
        let server = Server::over(&url, &[]);
        let said = server.until("/ready", |_, body| body["message"] != NOT_YET).await;
        let said = said["message"].as_str().unwrap();
        assert!(said.starts_with(message), "{user} {query}: {said}");
    }
}
