//! Every figure equals what SQL says over the facts for the same window.

use serde_json::{Value, json};

use crate::database::Db;
use crate::server::Server;

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_else(|| panic!("{path} in {value}"))
}

/// The figures of a span, from the facts alone.
async fn facts(db: &Db, from: &str, until: &str, filter: &str) -> Value {
    let row = db
        .one(&format!(
            "with o as (
                select * from analytics.orders o
                where order_ts >= '{from}' and order_ts < {until} and {filter}
            ), f as (
                select f.* from analytics.feedback f join analytics.orders o using (order_id)
                where f.created_ts >= '{from}' and f.created_ts < {until} and {filter}
            )
            select json_build_object(
                'orders', (select count(*) from o),
                'revenue', (select round(coalesce(sum(total), 0), 2)::text from o),
                'mean_ticket', (select round(avg(total), 2)::text from o),
                'tips', (select round(coalesce(sum(tip), 0), 2)::text from o),
                'items', (select coalesce(sum(qty), 0) from analytics.order_items join o using (order_id)),
                'feedback', (select count(*) from f),
                'rating', (select round(avg(rating), 2)::text from f),
                'nps', (
                    select round(100.0 * (count(*) filter (where nps >= 9) - count(*) filter (where nps <= 6))
                        / nullif(count(nps), 0), 1)::float8 from f))"
        ))
        .await;
    let mut facts: Value = serde_json::from_str(&row).unwrap();
    // As we tell it: a number with a fraction, be it none.
    if let Some(nps) = facts["nps"].as_f64() {
        facts["nps"] = json!(nps);
    }
    facts
}

fn without_rate(kpis: &Value) -> Value {
    let mut kpis = kpis.clone();
    kpis.as_object_mut().unwrap().remove("orders_per_minute").unwrap();
    kpis
}

#[tokio::test]
async fn sums_equal_the_facts_in_the_window_and_before_it() {
    let db = Db::new().await;
    db.sell(4000, 130).await;
    let server = Server::ready(&db, &[]).await;
    let two = "location_code in ('LOC-ON-001', 'LOC-ON-003')";
    for (query, filter) in [
        ("minutes=60", "true"),
        ("minutes=7", "true"),
        ("minutes=1", "true"),
        ("location=LOC-ON-001&location=LOC-ON-003", two),
        ("location=LOC-ON-003,LOC-ON-001&minutes=20", two),
        ("service_type=takeout,delivery", "service_type in ('takeout', 'delivery')"),
    ] {
        let kpis = server.json(&format!("/kpis?{query}")).await;
        let (from, until) = (text(&kpis, "/window/from"), text(&kpis, "/window/until"));
        // What the running minute holds counts, and nothing here is of the future.
        let current = facts(&db, from, "'infinity'", filter).await;
        assert_eq!(without_rate(&kpis["current"]), current, "{query}");
        assert!(current["orders"].as_i64().unwrap() > 0 || query == "minutes=1");
        let start =
            format!("'{from}'::timestamptz - ('{until}'::timestamptz - '{from}'::timestamptz)");
        let start = db.one(&format!("select {start}")).await;
        let before = facts(&db, &start, &format!("'{from}'"), filter).await;
        assert_eq!(without_rate(&kpis["before"]), before, "{query} before");
        let seconds: f64 = db
            .one(&format!(
                "select extract(epoch from '{until}'::timestamptz - '{from}'::timestamptz)"
            ))
            .await
            .parse()
            .unwrap();
        let rate = kpis["current"]["orders_per_minute"].as_f64().unwrap();
        let expected = current["orders"].as_f64().unwrap() * 60.0 / seconds.max(1.0);
        assert!((rate - expected).abs() < 0.006, "{query}: {rate} is not {expected}");
    }
}

#[tokio::test]
async fn courses_rows_and_rankings_equal_the_facts() {
    let db = Db::new().await;
    db.sell(3000, 90).await;
    let server = Server::ready(&db, &[]).await;

    let series = server.json("/series?minutes=30&location=LOC-ON-002").await;
    let from = text(&series, "/window/from");
    let expected = db
        .list(&format!(
            "select m, count(o), round(coalesce(sum(o.total), 0), 2)
            from generate_series('{from}'::timestamptz, '{from}'::timestamptz + interval '29 minutes',
                interval '1 minute') m
            left join analytics.orders o on date_trunc('minute', o.order_ts) = m
                and o.location_code = 'LOC-ON-002'
            group by 1 order by 1"
        ))
        .await;
    let points = series["points"].as_array().unwrap();
    assert_eq!(points.len(), 30);
    for (point, expected) in points.iter().zip(&expected) {
        let minute = db.one(&format!("select '{}'::timestamptz", text(point, "/minute"))).await;
        let point = format!("{minute}|{}|{}", point["orders"], text(point, "/revenue"));
        assert_eq!(point, *expected);
    }

    let rows = server.json("/metrics?minutes=20&sort=-revenue&limit=7&service_type=dine_in").await;
    let from = text(&rows, "/window/from");
    let expected = db
        .list(&format!(
            "select round(coalesce(sum(total), 0), 2) from analytics.orders
            where order_ts >= '{from}' and service_type = 'dine_in'
            group by date_trunc('minute', order_ts), location_code order by 1 desc limit 7"
        ))
        .await;
    let found: Vec<&str> =
        rows["rows"].as_array().unwrap().iter().map(|row| text(row, "/revenue")).collect();
    assert_eq!(found, expected);
    let echo = json!({"minutes": 20, "location": [], "service_type": ["dine_in"], "sort": "-revenue", "limit": 7});
    assert_eq!(rows["filters"], echo);

    let latest = server.json("/metrics/latest").await;
    let (from, until) = (text(&latest, "/window/from"), text(&latest, "/window/until"));
    let expected = db
        .one(&format!(
            "select count(*) from analytics.orders where order_ts >= '{from}' and order_ts < '{until}'"
        ))
        .await;
    let orders: i64 =
        latest["rows"].as_array().unwrap().iter().map(|row| row["orders"].as_i64().unwrap()).sum();
    assert_eq!(orders.to_string(), expected);

    let top = server.json("/locations/top?minutes=30&metric=orders&n=2").await;
    let from = text(&top, "/window/from");
    let expected = db
        .list(&format!(
            "select location_code, name, city, count(*), round(sum(total), 2),
                round(count(*) / sum(count(*)) over (), 4)::float8
            from analytics.orders join analytics.locations using (location_code)
            where order_ts >= '{from}' group by 1, 2, 3 order by 4 desc, 1 limit 2"
        ))
        .await;
    let found: Vec<String> = top["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            format!(
                "{}|{}|{}|{}|{}|{}",
                text(row, "/key"),
                text(row, "/name"),
                text(row, "/city"),
                row["orders"],
                text(row, "/revenue"),
                row["share"]
            )
        })
        .collect();
    assert_eq!(found, expected);

    // All of them stand in roll-ups, parts are added up from the facts.
    for (filter, part) in [
        ("", "true"),
        ("&location=LOC-ON-001,LOC-ON-002", "location_code in ('LOC-ON-001', 'LOC-ON-002')"),
        ("&service_type=delivery", "service_type = 'delivery'"),
        (
            "&location=LOC-ON-001&service_type=takeout",
            "location_code = 'LOC-ON-001' and service_type = 'takeout'",
        ),
    ] {
        let top = server.json(&format!("/items/top?minutes=30&metric=items{filter}")).await;
        let from = text(&top, "/window/from");
        assert!(from.ends_with(":00:00Z"), "items are counted by the hour: {from}");
        let expected = db
            .list(&format!(
                "select item_name, category, count(*), sum(qty), round(sum(extended_price), 2)
                from analytics.order_items join analytics.orders using (order_id)
                where order_ts >= '{from}' and {part} group by 1, 2 order by 4 desc, 1"
            ))
            .await;
        let found: Vec<String> = top["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| {
                format!(
                    "{}|{}|{}|{}|{}",
                    text(row, "/key"),
                    text(row, "/category"),
                    row["lines"],
                    row["items"],
                    text(row, "/revenue")
                )
            })
            .collect();
        assert_eq!(found, expected);

        let mix = server.json(&format!("/payments/mix?minutes=30{filter}")).await;
        let from = text(&mix, "/window/from");
        let expected = db
            .list(&format!(
                "select method, count(*), sum(amount) from analytics.payments join analytics.orders using (order_id)
                where processed_at >= '{from}' and {part} group by 1 order by 3 desc"
            ))
            .await;
        let found: Vec<String> = mix["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| {
                format!("{}|{}|{}", text(row, "/key"), row["payments"], text(row, "/amount"))
            })
            .collect();
        assert_eq!(found, expected);
    }
    for by in ["service_type", "category", "payment_method"] {
        let top = server.json(&format!("/streams/top?by={by}")).await;
        let shares: f64 =
            top["rows"].as_array().unwrap().iter().map(|row| row["share"].as_f64().unwrap()).sum();
        assert!((shares - 1.0).abs() < 0.001, "{top}");
    }
}

#[tokio::test]
async fn the_newest_orders_and_the_sites() {
    let db = Db::new().await;
    db.sell(50, 30).await;
    // Of the future, so on top of nothing.
    db.run(
        "insert into analytics.orders (order_id, service_type, order_ts, location_code)
        values (gen_random_uuid(), 'takeout', now() + interval '1 day', 'LOC-ON-001')",
    )
    .await;
    let server = Server::ready(&db, &[]).await;
    let found = server.json("/orders/live?limit=5").await;
    let expected = db
        .list(
            "select order_id, city, coalesce(total::text, 'null'), (
                select sum(qty) from analytics.order_items i where i.order_id = o.order_id
            ), coalesce((select method from analytics.payments p where p.order_id = o.order_id), 'null')
            from analytics.orders o join analytics.locations using (location_code)
            where order_ts < now() order by order_ts desc limit 5",
        )
        .await;
    let or_null = |value: &Value| value.as_str().unwrap_or("null").to_owned();
    let found: Vec<String> = found["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            format!(
                "{}|{}|{}|{}|{}",
                text(row, "/order_id"),
                text(row, "/city"),
                or_null(&row["total"]),
                row["items"],
                or_null(&row["payment_method"])
            )
        })
        .collect();
    assert_eq!(found, expected);

    // A site that nobody entered sells all the same, and can be asked for.
    db.order("LOC-NEW", "10.00").await;
    let sites = server.json("/locations").await;
    let rows = sites["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 13);
    let new = json!({"code": "LOC-NEW", "name": null, "city": null, "latitude": null, "longitude": null, "time_zone": null});
    assert!(rows.contains(&new), "{rows:?}");
    let names = rows.iter().filter(|row| row["name"] == "ByWard Market").count();
    assert_eq!(names, 1);
}
