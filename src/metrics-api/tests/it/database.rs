//! A database of its own per test, with the restaurant's schema, and sales to look at.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::server::PATIENCE;

/// A login that may read what `analytics_reader` may, without its limit of connections.
const LOGIN: &str = "metrics_tests";
const ROLES: &str = "
    do $$
    declare v_role text;
    begin
        perform pg_advisory_xact_lock(4711);
        foreach v_role in array array['restaurant_owner', 'restaurant_user', 'analytics_reader'] loop
            if not exists (select from pg_roles where rolname = v_role) then
                execute format('create role %I nologin', v_role);
            end if;
        end loop;
        if not exists (select from pg_roles where rolname = 'metrics_tests') then
            create role metrics_tests login password 'reader' in role analytics_reader;
        end if;
    end $$";

static TEMPLATE: OnceCell<String> = OnceCell::const_new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Db {
    pub(crate) name: String,
    client: Client,
}

impl Db {
    pub(crate) async fn new() -> Self {
        let template = TEMPLATE.get_or_init(template).await;
        let number = DATABASES.fetch_add(1, Ordering::Relaxed);
        let name = format!("metrics_{}_{number}", std::process::id());
        let admin = connect(&admin_url()).await;
        admin.batch_execute(&format!("drop database if exists {name} with (force)")).await.unwrap();
        // A copy fails while another one is made, or the session that made the template still ends.
        let copy = format!("create database {name} template {template}");
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = admin.batch_execute(&copy).await {
            assert_eq!(error.code(), Some(&SqlState::OBJECT_IN_USE), "{error}");
            assert!(Instant::now() < deadline, "{error:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { client: connect(&with_name(&admin_url(), &name)).await, name }
    }

    /// Another session with it.
    pub(crate) async fn another(&self) -> Self {
        let name = self.name.clone();
        Self { client: connect(&with_name(&admin_url(), &name)).await, name }
    }

    /// Where the reader finds it.
    pub(crate) fn address(&self) -> String {
        let url = admin_url();
        let (_, rest) = url.rsplit_once('@').unwrap();
        rest.split('/').next().unwrap().to_owned()
    }

    pub(crate) fn url_at(&self, address: &str) -> String {
        format!("postgresql://{LOGIN}:reader@{address}/{}", self.name)
    }

    pub(crate) fn url(&self) -> String {
        self.url_at(&self.address())
    }

    pub(crate) async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    /// Each row's values as PostgreSQL writes them, joined by `|`.
    pub(crate) async fn list(&self, sql: &str) -> Vec<String> {
        let messages = self.client.simple_query(sql).await.unwrap();
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        rows.map(|row| {
            let values: Vec<&str> =
                (0..row.len()).map(|at| row.get(at).unwrap_or("null")).collect();
            values.join("|")
        })
        .collect()
    }

    pub(crate) async fn one(&self, sql: &str) -> String {
        self.list(sql).await.join(",")
    }

    /// Orders of the last `minutes` at some sites, most of them paid, some judged.
    pub(crate) async fn sell(&self, orders: u32, minutes: u32) {
        self.run(&format!(
            "select setseed(0.5);
            create temporary table sold as
            select
                gen_random_uuid() as order_id,
                now() - random() * interval '{minutes} minutes' as order_ts,
                'LOC-ON-00' || (1 + floor(random() * 3))::text as location_code,
                (array['dine_in', 'takeout', 'delivery'])[1 + floor(random() * 3)::integer] as service_type,
                round((5 + random() * 95)::numeric, 2) as total,
                random() < 0.8 as paid,
                random() as mood
            from generate_series(1, {orders});
            insert into analytics.orders (order_id, service_type, order_ts, location_code, tip, total)
            select order_id, service_type, order_ts, location_code,
                case when paid then round(total / 10, 2) end, case when paid then total end
            from sold;
            insert into analytics.order_items
                (order_item_id, order_id, category, item_name, unit_price, qty, extended_price)
            select gen_random_uuid(), s.order_id, 'category ' || n % 2, 'item ' || n, 2, n, 2 * n
            from sold s, generate_series(1, 1 + floor(s.mood * 3)::integer) n;
            insert into analytics.payments (payment_id, order_id, method, amount, processed_at)
            select gen_random_uuid(), order_id, case when mood < 0.3 then 'cash' else 'card' end, total,
                least(order_ts + interval '20 seconds', now())
            from sold where paid;
            insert into analytics.feedback (feedback_id, order_id, rating, nps, created_ts)
            select gen_random_uuid(), order_id, 1 + floor(mood * 5)::integer,
                case when mood < 0.9 then floor(mood * 11)::integer end,
                least(order_ts + interval '30 seconds', now())
            from sold where mood > 0.4;
            drop table sold"
        ))
        .await;
    }

    /// One order now, with a commit that is told of; returns its id.
    pub(crate) async fn order(&self, location: &str, total: &str) -> String {
        self.quiet_order(location, total, true).await
    }

    pub(crate) async fn quiet_order(&self, location: &str, total: &str, is_told: bool) -> String {
        let id = self.one("select gen_random_uuid()").await;
        let notice = r#"{"stream":"restaurant","writer":0,"position":1,"events":1}"#;
        let tell = if is_told { format!("notify sse_stream, '{notice}';") } else { String::new() };
        self.run(&format!(
            "begin;
            insert into analytics.orders (order_id, service_type, order_ts, location_code, total)
            values ('{id}', 'takeout', now(), '{location}', {total});
            {tell} commit"
        ))
        .await;
        id
    }

    /// Says that the source was heard so many seconds ago.
    pub(crate) async fn heard(&self, seconds: f64) {
        self.run(&format!(
            "insert into sse_stream.offsets (stream, position, high_water, highest, epoch, last_heard_at)
            values ('restaurant', 41, 41, 42, 'e1', clock_timestamp() - interval '{seconds} seconds')
            on conflict on constraint offsets_pkey do update set last_heard_at = excluded.last_heard_at"
        ))
        .await;
    }
}

/// Applies the migrations once, for all tests to copy.
async fn template() -> String {
    let admin = connect(&admin_url()).await;
    admin.batch_execute(ROLES).await.unwrap();
    let name = format!("metrics_{}_template", std::process::id());
    admin.batch_execute(&format!("drop database if exists {name} with (force)")).await.unwrap();
    admin.batch_execute(&format!("create database {name} owner restaurant_owner")).await.unwrap();
    let client = connect(&with_name(&admin_url(), &name)).await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    client
        .batch_execute(
            "set session authorization restaurant_owner; create schema sse_stream;
            create table sse_stream.migrations (
                owner text, version integer, name text, checksum text, applied_at timestamptz)",
        )
        .await
        .unwrap();
    for folder in ["src/ingest/migrations", "python/sse_stream/presets/restaurant/migrations"] {
        let mut files: Vec<_> =
            std::fs::read_dir(root.join(folder)).unwrap().map(|it| it.unwrap().path()).collect();
        files.sort();
        for file in files {
            let sql = std::fs::read_to_string(&file).unwrap();
            if let Err(error) = client.batch_execute(&sql).await {
                panic!("{}: {error:?}", file.display());
            }
        }
    }
    name
}

fn admin_url() -> String {
    std::env::var("TEST_DATABASE_URL")
        .expect("TEST_DATABASE_URL names a PostgreSQL superuser for tests; `make test` sets it")
}

fn with_name(url: &str, name: &str) -> String {
    let (base, _) = url.rsplit_once('/').expect("the URL ends in /database");
    format!("{base}/{name}")
}

async fn connect(url: &str) -> Client {
    let (client, connection) =
        tokio_postgres::connect(&format!("{url}?options=-ctimezone%3DUTC"), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
