//! A database of its own per test, and a source that serves a script.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ingest::{
    BadEvents, BatchConfig, DatabaseConfig, Error, GapPolicy, Host, Limits, Migration, NoHost,
    Preset, Report, RunConfig, RunIdentity, SourceKind, Stop, UnknownEvents,
};

pub(crate) const SCHEMA: &str = "
    create schema shop;
    create table shop.raw (
        epoch text not null, id bigint not null, type text not null, data jsonb not null,
        constraint raw_pkey primary key (epoch, id)
    );
    create table shop.orders (
        order_id integer primary key, placed_at timestamptz not null,
        total numeric(8,2), created_at timestamptz not null default clock_timestamp()
    );
    create table shop.items (
        item_id integer primary key,
        order_id integer not null references shop.orders,
        name text not null, qty smallint not null constraint items_qty_check check (qty > 0)
    );
    create table shop.visits (visit_id integer not null, seen text);
    create table shop.stock (sku text primary key, level integer not null);
    create table shop.changes (id bigint generated always as identity, what text not null);
    create function shop.note() returns trigger language plpgsql as $$
        begin insert into shop.changes (what) values (tg_op || ' ' || tg_table_name); return null; end $$;
    create trigger orders_note after insert or update on shop.orders
        for each row execute function shop.note();
";

pub(crate) const PRESET: &str = r#"
    [stream]
    name = "shop"
    epoch_header = "X-Epoch"
    gap_event = "gap"
    [[route]]
    event = "*"
    table = "shop.raw"
    mode = "insert"
    key = ["epoch", "id"]
    columns = { epoch = "$epoch", id = "$id", type = "$event", data = "$data" }
    [[route]]
    event = "item"
    table = "shop.items"
    mode = "insert"
    key = ["item_id"]
    parent = "shop.orders"
    columns = { item_id = "/item", order_id = "/order", name = "/name", qty = "/qty" }
    [[route]]
    event = "order"
    table = "shop.orders"
    mode = "insert"
    key = ["order_id"]
    columns = { order_id = "/order", placed_at = "/at" }
    [[route]]
    event = "paid"
    table = "shop.orders"
    mode = "update"
    key = ["order_id"]
    columns = { order_id = "/order", total = "/total" }
    [[route]]
    event = "visit"
    table = "shop.visits"
    mode = "append"
    columns = { visit_id = "/visit", seen = "$received_at" }
    [[route]]
    event = "stock"
    table = "shop.stock"
    mode = "upsert"
    key = ["sku"]
    columns = { sku = "/sku", level = "/level" }
"#;

/// The shop as several writers can take it: split by order, without the routes that depend on the
/// order of all events.
pub(crate) fn split_preset() -> Preset {
    let (kept, _) = PRESET.split_once("    [[route]]\n    event = \"visit\"").unwrap();
    Preset::parse(&kept.replacen("name = \"shop\"", "name = \"shop\"\nsplit = \"/order\"", 1))
        .unwrap()
}

/// A fresh database with the engine's books and the shop's tables.
pub(crate) struct Db {
    pub(crate) url: String,
    client: tokio_postgres::Client,
}

static DATABASES: AtomicU32 = AtomicU32::new(0);

impl Db {
    pub(crate) async fn new() -> Self {
        let admin = std::env::var("TEST_DATABASE_URL").expect(
            "TEST_DATABASE_URL names a PostgreSQL superuser for tests; `make test` sets it",
        );
        let number = DATABASES.fetch_add(1, Ordering::Relaxed);
        let name = format!("ingest_{}_{number}", std::process::id());
        let control = connect(&admin).await;
        control
            .batch_execute(&format!("drop database if exists {name} with (force)"))
            .await
            .unwrap();
        control.batch_execute(&format!("create database {name}")).await.unwrap();
        let (base, _) = admin.rsplit_once('/').expect("the URL ends in /database");
        let url = format!("{base}/{name}");
        let shop = Migration { version: 1, name: "shop".into(), sql: SCHEMA.into() };
        ingest::migrate(&DatabaseConfig::from_url(&url).unwrap(), "shop", &[shop]).await.unwrap();
        Self { client: connect(&url).await, url }
    }

    /// A second session.
    pub(crate) async fn new_session(db: &Db) -> tokio_postgres::Client {
        connect(&db.url).await
    }

    pub(crate) fn config(&self) -> DatabaseConfig {
        DatabaseConfig::from_url(&self.url).unwrap()
    }

    /// The same by way of the socket in this folder.
    pub(crate) fn by_socket(&self, folder: &std::path::Path) -> DatabaseConfig {
        let url: tokio_postgres::Config = self.url.parse().unwrap();
        let password = url.get_password().map(|it| String::from_utf8_lossy(it).into_owned());
        let params = [
            ("host", folder.to_str().unwrap().to_owned()),
            ("port", "5432".to_owned()),
            ("user", url.get_user().unwrap().to_owned()),
            ("password", password.unwrap_or_default()),
            ("dbname", url.get_dbname().unwrap().to_owned()),
        ];
        DatabaseConfig::from_params(params).unwrap()
    }

    /// Each row's values as PostgreSQL writes them, joined by `|`.
    pub(crate) async fn list(&self, sql: &str) -> Vec<String> {
        let messages = self.client.simple_query(sql).await.unwrap();
        let rows = messages.iter().filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        rows.map(|row| {
            let values: Vec<&str> =
                (0..row.len()).map(|column| row.get(column).unwrap_or_default()).collect();
            values.join("|")
        })
        .collect()
    }

    pub(crate) async fn one(&self, sql: &str) -> String {
        self.list(sql).await.join(",")
    }

    pub(crate) async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    /// Every table's content, for "nothing has changed".
    pub(crate) async fn everything(&self) -> Vec<String> {
        let mut all = Vec::new();
        for table in ["raw", "orders", "items", "visits", "stock", "changes"] {
            all.extend(
                self.list(&format!("select '{table}', t::text from shop.{table} t order by 2"))
                    .await,
            );
        }
        all
    }

    pub(crate) async fn waiting(&self) -> Vec<String> {
        self.list("select event_offset, parent_table, parent_id from sse_stream.waiting order by 1")
            .await
    }

    pub(crate) async fn dead(&self) -> Vec<String> {
        self.list(
            "select event_offset, reason_code, attempts from sse_stream.dead_letters order by 1, 2",
        )
        .await
    }
}

async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) =
        tokio_postgres::connect(&format!("{url}?options=-ctimezone%3DUTC"), tokio_postgres::NoTls)
            .await
            .unwrap();
    tokio::spawn(connection);
    client
}

/// Serves events after the asked id, then stays silent with heartbeats; a client that has them
/// all gets 204 when `ends` is set.
#[derive(Clone)]
pub(crate) struct Script(Arc<Shared>);

struct Shared {
    events: Mutex<Vec<(u64, String)>>,
    epoch: Mutex<String>,
    ends: bool,
    heartbeats: bool,
    port: u16,
    requests: AtomicU64,
}

impl Script {
    pub(crate) fn serve(ends: bool) -> Self {
        Self::start(ends, true)
    }

    /// A source that says nothing at all between events.
    pub(crate) fn mute() -> Self {
        Self::start(false, false)
    }

    fn start(ends: bool, heartbeats: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let script = Self(Arc::new(Shared {
            events: Mutex::default(),
            epoch: Mutex::new("one".into()),
            ends,
            heartbeats,
            port: listener.local_addr().unwrap().port(),
            requests: AtomicU64::new(0),
        }));
        let serving = script.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let script = serving.clone();
                std::thread::spawn(move || script.answer(socket));
            }
        });
        script
    }

    /// A source that ends once everything was read.
    pub(crate) fn of(events: &[(&str, &str)]) -> Self {
        let script = Self::serve(true);
        script.add(events);
        script
    }

    /// Appends events with the next ids.
    pub(crate) fn add(&self, events: &[(&str, &str)]) {
        let mut known = self.0.events.lock().unwrap();
        for (event, data) in events {
            let id = known.last().map_or(0, |(id, _)| *id) + 1;
            known.push((id, format!("id: {id}\nevent: {event}\ndata: {data}\n\n")));
        }
    }

    /// Appends events with these ids.
    pub(crate) fn add_at(&self, events: &[(u64, &str, &str)]) {
        let block = |id, event, data| format!("id: {id}\nevent: {event}\ndata: {data}\n\n");
        let events = events.iter().map(|(id, event, data)| (*id, block(id, event, data)));
        self.0.events.lock().unwrap().extend(events);
    }

    /// Appends events with the next ids and, sent together with the last of them, a block as it is.
    pub(crate) fn add_then(&self, events: &[(&str, &str)], block: &str) {
        let mut known = self.0.events.lock().unwrap();
        for (at, (event, data)) in events.iter().enumerate() {
            let id = known.last().map_or(0, |(id, _)| *id) + 1;
            let last = if at + 1 == events.len() { block } else { "" };
            known.push((id, format!("id: {id}\nevent: {event}\ndata: {data}\n\n{last}")));
        }
    }

    /// Appends a block as it is, behind the last event.
    pub(crate) fn add_bare(&self, block: &str) {
        self.0.events.lock().unwrap().last_mut().unwrap().1.push_str(block);
    }

    /// Replaces the history.
    pub(crate) fn begin(&self, epoch: &str, events: &[(&str, &str)]) {
        self.0.events.lock().unwrap().clear();
        *self.0.epoch.lock().unwrap() = epoch.into();
        self.add(events);
    }

    pub(crate) fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::SeqCst)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/stream", self.0.port)
    }

    fn answer(&self, mut socket: TcpStream) {
        self.0.requests.fetch_add(1, Ordering::SeqCst);
        let mut after = 0;
        let mut reader = BufReader::new(socket.try_clone().unwrap());
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap_or(0) > 2 {
            if let Some(id) = line.to_ascii_lowercase().strip_prefix("last-event-id:") {
                after = id.trim().parse().unwrap_or(0);
            }
            line.clear();
        }
        let epoch = self.0.epoch.lock().unwrap().clone();
        let newest = self.0.events.lock().unwrap().last().map_or(0, |(id, _)| *id);
        // An id beyond the newest belongs to a lost history: such a reader gets all there is.
        let all_read = newest == after;
        if after > newest {
            after = 0;
        }
        if self.0.ends && all_read {
            let _ = write!(socket, "HTTP/1.1 204 No Content\r\nX-Epoch: {epoch}\r\n\r\n");
            return;
        }
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Epoch: {epoch}\r\nConnection: close\r\n\r\n:\n\nretry: 10\n\n"
        );
        if socket.write_all(head.as_bytes()).is_err() {
            return;
        }
        loop {
            let fresh: Vec<(u64, String)> = self
                .0
                .events
                .lock()
                .unwrap()
                .iter()
                .filter(|(id, _)| *id > after)
                .cloned()
                .collect();
            let body: String = fresh.iter().map(|(_, block)| block.as_str()).collect();
            after = fresh.last().map_or(after, |(id, _)| *id);
            if socket.write_all(body.as_bytes()).is_err() {
                return;
            }
            if self.0.ends || *self.0.epoch.lock().unwrap() != epoch {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
            if self.0.heartbeats && socket.write_all(b":\n").is_err() {
                return;
            }
        }
    }
}

/// A run's settings: everything in one batch if it comes at once, no limits.
pub(crate) fn config(db: &Db, script: &Script) -> RunConfig {
    RunConfig {
        source: sse::ClientConfig::new(script.url()),
        source_kind: SourceKind::Stream,
        database: db.config(),
        preset: Preset::parse(PRESET).unwrap(),
        raw_table: None,
        stream: None,
        shard: 0,
        writers: 1,
        limits: Limits { timeout: Some(Duration::from_secs(20)), ..Limits::default() },
        batch: BatchConfig { events: 1000, linger: Duration::from_millis(50), max_bytes: 4 << 20 },
        unknown_events: UnknownEvents::DeadLetter,
        backfill_url: None,
        gap_policy: GapPolicy::Warn,
        bad_events: BadEvents::Keep,
        max_wait: Duration::from_secs(3600),
        lease_timeout: Duration::from_secs(10),
        progress_every: Duration::from_secs(5),
        run: RunIdentity { owner: "test".into(), run_id: "r1".into(), ..RunIdentity::default() },
    }
}

pub(crate) async fn land(db: &Db, script: &Script) -> Report {
    run(config(db, script)).await.unwrap()
}

pub(crate) async fn run(config: RunConfig) -> Result<Report, Error> {
    run_with(config, Arc::new(NoHost)).await
}

pub(crate) async fn run_with(config: RunConfig, host: Arc<dyn Host>) -> Result<Report, Error> {
    ingest::run(config, host, Stop::default()).await
}

/// Waits until `check` holds, for at most ten seconds.
pub(crate) async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    for _ in 0..500 {
        if check().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("did not happen within ten seconds: {what}");
}
