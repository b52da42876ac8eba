//! The direct path: what is provably new is not staged, and what the database refuses there is
//! decided as ever.

use std::time::Duration;

use ingest::{DatabaseConfig, Preset};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};

use crate::support::{Db, PRESET, Script, config, land, run, run_with};

/// Keeps the statements that insert items or change orders.
const WATCHED: &str = "
    create table shop.statements (id bigint generated always as identity, sql text not null);
    create function shop.watch() returns trigger language plpgsql as $$
        begin insert into shop.statements (sql) values (split_part(current_query(), ' ', 1)); return null; end $$;
    create trigger items_watch after insert on shop.items for each statement execute function shop.watch();
    create trigger orders_watch after update on shop.orders for each statement execute function shop.watch()";
const STATEMENTS: &str = "select sql from shop.statements order by id";

const ORDER: (&str, &str) = ("order", r#"{"order":1,"at":"2026-01-01T00:00:00Z"}"#);
const ITEM: (&str, &str) = ("item", r#"{"item":11,"order":1,"name":"Tea","qty":1}"#);
const PAID: (&str, &str) = ("paid", r#"{"order":1,"total":12.50}"#);

#[tokio::test(flavor = "multi_thread")]
async fn new_events_are_copied_and_known_ones_compared() {
    let db = Db::new().await;
    db.run(WATCHED).await;
    let source = Script::of(&[ORDER, ITEM]);
    let report = land(&db, &source).await;
    assert_eq!((report.rows["shop.raw"], report.rows["shop.items"], report.duplicates), (2, 1, 0));
    assert_eq!(db.list(STATEMENTS).await, ["copy"]);

    // A payment of an order that landed before fills it without being staged.
    source.add(&[PAID]);
    let report = land(&db, &source).await;
    assert_eq!((report.rows["shop.orders"], report.duplicates), (1, 0));
    assert_eq!(db.list(STATEMENTS).await, ["copy", "update"]);
    assert_eq!(db.one("select total from shop.orders").await, "12.50");

    // Read again, and something new behind it in the same batch: all of it is compared.
    db.run("update sse_stream.offsets set position = 0").await;
    source.add(&[("item", r#"{"item":12,"order":1,"name":"Pie","qty":1}"#)]);
    let report = land(&db, &source).await;
    assert_eq!((report.rows["shop.items"], report.duplicates), (1, 3));
    assert_eq!(db.list(STATEMENTS).await, ["copy", "update", "insert"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_goes_the_other_way_and_so_do_the_next_batches_for_a_while() {
    let db = Db::new().await;
    db.run(WATCHED).await;
    let item = |n: u32| format!(r#"{{"item":{n},"order":1,"name":"Tea","qty":1}}"#);
    let source = Script::of(&[ORDER, ITEM]);
    land(&db, &source).await;
    // The key of another event: the unique violation takes nothing else along.
    source.add(&[("item", &item(11)), ("item", &item(12))]);
    let report = land(&db, &source).await;
    assert_eq!((report.rows["shop.items"], report.rows["shop.raw"]), (1, 2));
    assert_eq!((report.duplicates, report.dead_letters), (0, 0));
    assert_eq!(db.list(STATEMENTS).await, ["copy", "insert"]);

    let source = Script::of(&[ORDER, ITEM]);
    let mut many = config(&db, &source);
    many.stream = Some("other".into());
    many.batch.events = 1;
    many.batch.max_bytes = 1;
    for n in 12..32 {
        source.add(&[("item", &item(n))]);
    }
    db.run("truncate shop.orders, shop.items, shop.raw, shop.statements").await;
    db.run("insert into shop.orders values (1, '2026-01-01T00:00:00Z')").await;
    let report = run(many).await.unwrap();
    assert_eq!((report.rows["shop.items"], report.duplicates), (21, 0));
    // The order stood there, so the first batch was refused: four go the other way, then all
    // directly.
    let ways = db.list("select sql, count(*) from shop.statements group by 1 order by 1").await;
    assert_eq!(ways, ["copy|17", "insert|4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_payments_of_one_order_are_told_apart_wherever_the_order_is() {
    let other = ("paid", r#"{"order":1,"total":99.00}"#);
    for (first, second) in [(vec![], vec![ORDER, PAID, other]), (vec![ORDER], vec![PAID, other])] {
        let db = Db::new().await;
        let source = Script::of(&first);
        if !first.is_empty() {
            land(&db, &source).await;
        }
        source.add(&second);
        land(&db, &source).await;
        assert_eq!(db.one("select total from shop.orders").await, "12.50");
        assert_eq!(db.dead().await, ["3|conflict|1"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_value_fills_a_row_that_landed_before() {
    let db = Db::new().await;
    db.run(
        "create type shop.mood as enum ('good', 'bad'); create domain shop.cents as integer;
         create table shop.wide (
            id uuid primary key, a text, b bigint, c numeric(12, 3), d timestamptz, e shop.mood,
            f jsonb, g boolean, h double precision, i date, j shop.cents, k varchar(5))",
    )
    .await;
    let columns = "a = \"/a\", b = \"/b\", c = \"/c\", d = \"/d\", e = \"/e\", f = \"/f\", g = \"/g\", \
                   h = \"/h\", i = \"/i\", j = \"/j\", k = \"/k\"";
    let preset = format!(
        "[stream]\nname = \"wide\"\nepoch_header = \"X-Epoch\"\n\
         [[route]]\nevent = \"new\"\ntable = \"shop.wide\"\nmode = \"insert\"\nkey = [\"id\"]\ncolumns = {{ id = \"/id\" }}\n\
         [[route]]\nevent = \"fill\"\ntable = \"shop.wide\"\nmode = \"update\"\nkey = [\"id\"]\ncolumns = {{ id = \"/id\", {columns} }}\n"
    );
    let id = |n: u8| format!("0193b3f0-0000-7000-8000-0000000000{n:02x}");
    let new = |n: u8| format!(r#"{{"id":"{}"}}"#, id(n));
    let full = format!(
        r#"{{"id":"{}","a":"ä","b":5,"c":1.250,"d":"2026-01-01T00:00:00.5Z","e":"bad","f":{{"x":[1]}},"g":true,"h":0.5,"i":"2026-01-02","j":7,"k":"kurz"}}"#,
        id(1)
    );
    let half = format!(r#"{{"id":"{}","a":null,"b":6}}"#, id(2));
    let source = Script::of(&[("new", &new(1)), ("new", &new(2))]);
    let with = |source: &Script| {
        let mut config = config(&db, source);
        config.preset = Preset::parse(&preset).unwrap();
        config
    };
    run(with(&source)).await.unwrap();
    // Were they staged, the trigger would see another statement.
    db.run(
        "create table shop.seen (sql text);
         create function shop.see() returns trigger language plpgsql as $$
            begin insert into shop.seen select current_query(); return null; end $$;
         create trigger see after update on shop.wide for each statement execute function shop.see()",
    )
    .await;
    source.add(&[("fill", &full), ("fill", &half)]);
    let report = run(with(&source)).await.unwrap();
    assert_eq!((report.rows["shop.wide"], report.dead_letters), (2, 0));
    assert_eq!(db.one("select count(*) from shop.seen where sql like '%unnest(%'").await, "1");
    let rows = db.list("select a, b, c, d, e, f, g, h, i, j, k from shop.wide order by id").await;
    assert_eq!(
        rows,
        [
            r#"ä|5|1.250|2026-01-01 00:00:00.5+00|bad|{"x": [1]}|t|0.5|2026-01-02|7|kurz"#,
            "|6|||||||||"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn where_copy_would_do_something_else_than_an_insert_it_is_not_used() {
    // A view that can be written, and a table with a rule.
    for change in [
        "alter table shop.items rename to lines; create view shop.items as select * from shop.lines;
         create function shop.pass() returns trigger language plpgsql as $$
            begin insert into shop.lines values (new.*); return new; end $$;
         create trigger pass instead of insert on shop.items for each row execute function shop.pass()",
        "create table shop.lines (like shop.items);
         create rule pass as on insert to shop.items do also insert into shop.lines values (new.*)",
    ] {
        let db = Db::new().await;
        db.run(change).await;
        let (kept, _) = PRESET.split_once("    [[route]]\n    event = \"order\"").unwrap();
        let preset = kept.replace("parent = \"shop.orders\"", "").replace("\"insert\"\n    key = [\"item_id\"]", "\"append\"");
        db.run("insert into shop.orders values (1, now())").await;
        let source = Script::of(&[ITEM]);
        let mut config = config(&db, &source);
        config.preset = Preset::parse(&preset).unwrap();
        let report = run_with(config, std::sync::Arc::new(ingest::NoHost)).await.unwrap();
        assert_eq!((report.events_processed, report.dead_letters), (1, 0));
        assert_eq!(db.one("select item_id from shop.lines").await, "11", "{change}");
    }
}

/// Brings the bytes of one direction over, each piece after a while.
async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, ms: u64) {
    let mut buffer = vec![0; 1 << 20];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

async fn forward(near: impl AsyncRead + AsyncWrite, server: String, ms: u64) {
    let (near_in, near_out) = tokio::io::split(near);
    let (far_in, far_out) = TcpStream::connect(server).await.unwrap().into_split();
    tokio::select! {
        () = carry(Box::pin(near_in), Box::pin(far_out), ms) => {}
        () = carry(far_in, Box::pin(near_out), ms) => {}
    }
}

fn server(db: &Db) -> String {
    let (_, place) = db.url.split_once('@').unwrap();
    place.split('/').next().unwrap().to_owned()
}

/// A run of which each event is a batch of its own.
fn one_by_one(db: &Db, source: &Script) -> ingest::RunConfig {
    let mut config = config(db, source);
    config.batch.events = 1;
    config.batch.max_bytes = 1;
    config
}

fn orders(range: std::ops::Range<u32>) -> Vec<(&'static str, String)> {
    range.map(|n| ("order", format!(r#"{{"order":{n},"at":"2026-01-01T00:00:00Z"}}"#))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_costs_two_trips_to_the_database_however_many_tables_it_has() {
    const HALF_TRIP: u64 = 25;
    let db = Db::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let place = server(&db);
    let away = db.url.replace(&place, &format!("127.0.0.1:{port}"));
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            near.set_nodelay(true).unwrap();
            tokio::spawn(forward(near, place.clone(), HALF_TRIP));
        }
    });
    let feed = orders(0..10);
    let feed: Vec<(&str, &str)> = feed.iter().map(|(event, data)| (*event, &data[..])).collect();
    let source = Script::of(&feed);
    let mut config = one_by_one(&db, &source);
    // Four COPYs each.
    let visit = r#"
        [[route]]
        event = "order"
        table = "shop.visits"
        mode = "append"
        columns = { visit_id = "/order", seen = "$received_at" }
    "#;
    config.preset = Preset::parse(&format!("{PRESET}{visit}{visit}")).unwrap();
    config.database = DatabaseConfig::from_url(&away).unwrap();
    let report = run(config).await.unwrap();
    assert_eq!((report.batches_processed, report.rows["shop.visits"]), (10, 20));
    // 20, and a few for the beginning and the end; one COPY after the other would take 50.
    let trips = report.execution_time.as_millis() as u64 / (2 * HALF_TRIP);
    assert!(trips < 36, "{trips} trips");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_unix_socket_rows_are_copied_in_the_drivers_own_way() {
    let db = Db::new().await;
    let folder = std::env::temp_dir().join(format!("sse-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(".s.PGSQL.5432");
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let place = server(&db);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            tokio::spawn(forward(near, place.clone(), 0));
        }
    });
    let source = Script::of(&[ORDER, ITEM]);
    // The second has the key of another event: the direct path is refused, and the staged one decides.
    for item in [11, 12] {
        source.add(&[("item", &format!(r#"{{"item":{item},"order":1,"name":"Tea","qty":1}}"#))]);
    }
    let mut config = one_by_one(&db, &source);
    config.database = db.by_socket(&folder);
    let report = run(config).await.unwrap();
    assert_eq!((report.rows["shop.items"], report.rows["shop.raw"]), (2, 4));
    assert_eq!(report.events_processed, 4);
    std::fs::remove_dir_all(&folder).unwrap();
}
