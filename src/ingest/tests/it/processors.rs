//! Event processors: inside the transaction, in order, each in its savepoint, never for duplicates.

use std::sync::{Arc, Mutex};

use ingest::{Cursor, Host, ProcessorEvent};

use crate::support::{Db, Script, config, run_with};

/// Handles `item` events by a statement of its own.
#[derive(Default)]
struct Items {
    calls: Mutex<Vec<String>>,
}

impl Host for Items {
    fn processor(&self, event_type: &str) -> bool {
        event_type == "item"
    }

    fn process(&self, event: &ProcessorEvent, cursor: &mut Cursor) -> Result<(), String> {
        let data: serde_json::Value = serde_json::from_str(&event.data).unwrap();
        let number = data["item"].as_i64().unwrap();
        self.calls.lock().unwrap().push(format!("{} {number}", event.event_type));
        let raw = cursor.execute(
            "select count(*) from shop.raw where (data->>'item') = %s",
            Some(&[(None, Some(number.to_string()))]),
        )?;
        assert_eq!(
            raw.rows[0][0].as_deref(),
            Some(&1i64.to_be_bytes()[..]),
            "its raw row stands before the call"
        );
        let name = data["name"].as_str().map(str::to_owned);
        cursor.execute(
            "insert into shop.stock (sku, level) values (%(sku)s, %(level)s)",
            Some(&[(Some("level"), Some(number.to_string())), (Some("sku"), name)]),
        )?;
        match data["fail"].as_str() {
            Some("swallow") => {
                let _ = cursor.execute("select 1/0", None);
                Ok(())
            }
            Some("commit") => cursor.execute("commit", None).map(|_| ()),
            Some(why) => Err(why.to_owned()),
            None => Ok(()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processors_replace_the_routes_of_their_type() {
    let db = Db::new().await;
    let source = Script::of(&[
        ("order", r#"{"order":1,"at":"2026-01-01T00:00:00Z"}"#),
        ("item", r#"{"item":1,"name":"a"}"#),
        ("item", r#"{"item":2,"name":"b","fail":"on purpose"}"#),
        ("visit", r#"{"visit":1}"#),
        ("item", r#"{"item":3,"name":"a"}"#),
        ("item", r#"{"item":4,"name":"c","fail":"swallow"}"#),
        ("item", r#"{"item":5,"name":"d","fail":"commit"}"#),
        ("item", r#"{"item":6,"name":"e"}"#),
    ]);
    let host = Arc::new(Items::default());
    let report = run_with(config(&db, &source), host.clone()).await.unwrap();
    assert_eq!((report.events_processed, report.dead_letters), (8, 4));
    assert_eq!(
        *host.calls.lock().unwrap(),
        ["item 1", "item 2", "item 3", "item 4", "item 5", "item 6"]
    );
    assert_eq!(db.list("select sku, level from shop.stock order by 2").await, ["a|1", "e|6"]);
    assert_eq!(db.list("select id from shop.raw order by 1").await, ["1", "2", "4", "8"]);
    assert_eq!(db.one("select count(*) from shop.items").await, "0");
    let reasons = db
        .list("select reason_code, reason from sse_stream.dead_letters order by event_offset")
        .await;
    for (row, part) in reasons.iter().zip([
        "on purpose",
        "duplicate key",
        "caught a database error",
        "COMMIT is not allowed",
    ]) {
        assert!(row.starts_with("processor_error|") && row.contains(part), "{row}");
    }

    // A replay calls nobody but the dead.
    host.calls.lock().unwrap().clear();
    db.run("update sse_stream.offsets set position = 0").await;
    let report = run_with(config(&db, &source), host.clone()).await.unwrap();
    assert_eq!((report.duplicates, report.dead_letters), (4, 4));
    assert_eq!(*host.calls.lock().unwrap(), ["item 2", "item 3", "item 4", "item 5"]);
}

/// Inserts orders itself; their items go by the route.
struct Orders;

impl Host for Orders {
    fn processor(&self, event_type: &str) -> bool {
        event_type == "order"
    }

    fn process(&self, event: &ProcessorEvent, cursor: &mut Cursor) -> Result<(), String> {
        let data: serde_json::Value = serde_json::from_str(&event.data).unwrap();
        let sql = "insert into shop.orders (order_id, placed_at) values (%s, now())";
        cursor.execute(sql, Some(&[(None, Some(data["order"].to_string()))])).map(|_| ())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn children_find_the_parent_that_a_processor_brings() {
    let db = Db::new().await;
    let order = |n| ("order", format!(r#"{{"order":{n}}}"#));
    let item = |n, of| ("item", format!(r#"{{"item":{n},"order":{of},"name":"Tea","qty":1}}"#));
    let paid = ("paid", r#"{"order":1,"total":2.00}"#.to_owned());
    let events =
        [order(1), item(11, 1), order(2), item(21, 2), paid, item(31, 3), item(12, 1), item(22, 2)];
    let events: Vec<(&str, &str)> =
        events.iter().map(|(event, data)| (*event, data.as_str())).collect();
    let source = Script::of(&events);
    let report = run_with(config(&db, &source), Arc::new(Orders)).await.unwrap();
    assert_eq!((report.events_processed, report.dead_letters, report.waiting), (8, 0, 1));
    assert_eq!(db.waiting().await, ["6|shop.orders|order_id=3"]);
    let items = db.list("select item_id from shop.items order by 1").await;
    assert_eq!(items, ["11", "12", "21", "22"]);
    assert_eq!(db.one("select total from shop.orders where order_id = 1").await, "2.00");
}
