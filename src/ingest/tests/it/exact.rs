//! Exact or refused: what the engine lands is what PostgreSQL itself makes of the same JSON.

use std::collections::BTreeSet;

use ingest::Preset;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::support::{Db, Script, config, run};

/// A column of each kind.
const COLUMNS: [(&str, &str); 18] = [
    ("text", "text"),
    ("varchar", "varchar(5)"),
    ("char", "char(3)"),
    ("uuid", "uuid"),
    ("int2", "smallint"),
    ("int4", "integer"),
    ("int8", "bigint"),
    ("float4", "real"),
    ("float8", "double precision"),
    ("numeric", "numeric"),
    ("money", "numeric(8,2)"),
    ("tiny", "numeric(3,5)"),
    ("bool", "boolean"),
    ("at", "timestamptz"),
    ("local", "timestamp"),
    ("day", "date"),
    ("json", "json"),
    ("jsonb", "jsonb"),
];

/// The independent path: PostgreSQL reads the value as JSON, takes its text and assigns that to
/// the column as if it had been written into a statement.
const BY_ITSELF: &str = "
    create function exact.assign(id bigint, of text, said text) returns void language plpgsql as $$
    begin
        execute format('insert into exact.by_itself (id, %I) values ($1, %L)', of,
                       case when of in ('json', 'jsonb') then said else said::json #>> '{}' end)
        using id;
    exception when data_exception or program_limit_exceeded or statement_too_complex then
        null;
    end $$;";

/// Values at the edges; each is tried in every column.
const EDGES: &[&str] = &[
    "null",
    "true",
    "0",
    "-0",
    "1.50",
    "1e3",
    "12500E-3",
    "0.00999",
    "0.01",
    "123456.78",
    "999999.99",
    "\"7.25\"",
    "\"-0.00\"",
    "1.005",
    "32767",
    "32768",
    "-2147483649",
    "9223372036854775807",
    "9223372036854775808",
    "16777217",
    "3.4028235677973366e38",
    "3.4028236e38",
    // Halfway between two reals, and a trifle more: wrong by way of a double.
    "1.00000017881393432617187499",
    "1.00000017881393432617187501",
    "1e-45",
    "1e-46",
    "5e-324",
    "1e-400",
    "1e400",
    "1e131071",
    "1e131072",
    "1e-16383",
    "0e-30",
    "\"NaN\"",
    "\"\"",
    "\"abc\"",
    "\"abc  \"",
    "\"äöüß\"",
    "\"\u{1f600}\u{1f600}\u{1f600}\u{1f600}\u{1f600}\u{1f600}\"",
    r#""\ud83d\ude00""#,
    r#""a\u0000""#,
    r#""a\\u0000""#,
    r#""\ud800""#,
    r#""\udc00\ud800""#,
    r#""\ud800\u0041""#,
    "\"0193b3f0-0000-7000-8000-0000000000ff\"",
    "\"{0193B3F0-0000-7000-8000-0000000000FF}\"",
    "\"0193b3f0000070008000 0000000000ff\"",
    "\"0193b3f0000070008000000000000ff0\"",
    "\"2026-01-02\"",
    "\"2026-02-29\"",
    "\"2026-01-02T03:04:05\"",
    "\"2026-01-02 03:04:05+01\"",
    "\"2026-01-02T03:04:05.1234565Z\"",
    "\"2026-01-02T03:04:05.1234575Z\"",
    "\"1969-12-31T23:59:59.9999995Z\"",
    "\"1960-02-29T12:00:00.0000015\"",
    "\"2026-01-02T03:04:05.123456Z\"",
    "\"9999-12-31T23:59:59.999999Z\"",
    "\"9999-12-31\"",
    "\"0001-01-01T00:00:00Z\"",
    "\"2016-12-31T23:59:60Z\"",
    "\"2016-12-31T23:59:60\"",
    "\"2016-12-31T23:59:60.5Z\"",
    "\"2026-01-02T24:00:00Z\"",
    "\"2026-01-02T03:04:05-15:59\"",
    "\"2026-01-02T03:04:05+02:00\"",
    "\"-009999-01-01T00:00:00Z\"",
    "\"infinity\"",
    "\"now\"",
    "{}",
    r#"{"a":[1,{"b":null}],"a":2}"#,
    r#"{"\u0000":1}"#,
    "[1e131071,1e-16383]",
    "[1e999999]",
];

/// Values that the column must take, whatever the engine's strictness.
fn fitting(of: &str) -> BoxedStrategy<String> {
    let quoted = |text: String| format!("\"{text}\"");
    let day =
        (1i16..=9999, 1i8..=12, 1i8..=28).prop_map(|(y, m, d)| format!("{y:04}-{m:02}-{d:02}"));
    let local = (day.clone(), "[T ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?")
        .prop_map(|(day, clock)| format!("{day}{clock}"));
    match of {
        "text" | "json" | "jsonb" => any::<String>()
            .prop_map(|text| text.replace('\0', ""))
            .prop_map(|text| serde_json::to_string(&text).unwrap())
            .boxed(),
        "varchar" => "[a-zé ]{0,5}".prop_map(quoted).boxed(),
        "char" => "[a-zé ]{0,3}".prop_map(quoted).boxed(),
        "uuid" => "[0-9a-fA-F]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}".prop_map(quoted).boxed(),
        "int2" => any::<i16>().prop_map(|n| n.to_string()).boxed(),
        "int4" => any::<i32>().prop_map(|n| n.to_string()).boxed(),
        "int8" => any::<i64>().prop_map(|n| n.to_string()).boxed(),
        "float4" => "-?[1-9][.][0-9]{0,29}[0-9]e-?[12]?[0-9]".boxed(),
        "float8" => "-?[1-9][.][0-9]{0,29}[0-9]e-?[12]?[0-9]{1,2}".boxed(),
        "numeric" => "-?(0|[1-9][0-9]{0,40})([.][0-9]{1,40})?([eE][+-]?[0-9]{1,3})?".boxed(),
        "money" => "-?(0|[1-9][0-9]{0,5})([.][0-9]{1,2}0{0,3})?".boxed(),
        "tiny" => "-?0[.]00[0-9]{0,3}0{0,3}".boxed(),
        "bool" => any::<bool>().prop_map(|value| value.to_string()).boxed(),
        "at" => (local, "Z|[+-](0[0-9]|1[0-4]):[0-5][0-9]")
            .prop_map(move |(local, offset)| quoted(local + &offset))
            .boxed(),
        "local" => local.prop_map(quoted).boxed(),
        "day" => day.prop_map(quoted).boxed(),
        _ => unreachable!("{of}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_column_holds_what_postgresql_reads_itself_or_nothing() {
    let mut values: Vec<(&str, String, bool)> = Vec::new();
    let mut runner = TestRunner::default();
    for (of, _) in COLUMNS {
        values.extend(EDGES.iter().map(|edge| (of, (*edge).to_owned(), false)));
        let fitting = fitting(of);
        for _ in 0..60 {
            values.push((of, fitting.new_tree(&mut runner).unwrap().current(), true));
        }
    }
    // The longest number that numeric holds.
    values.push(("numeric", format!("-{}.{}", "1".repeat(131_072), "3".repeat(16_383)), true));
    let db = Db::new().await;
    let columns: String = COLUMNS.iter().map(|(name, sql)| format!(", \"{name}\" {sql}")).collect();
    db.run(&format!(
        "create schema exact; create table exact.landed (id bigint primary key{columns});
        create table exact.by_itself (like exact.landed including all);{BY_ITSELF}"
    ))
    .await;
    let said: String = values
        .iter()
        .zip(1..)
        .map(|((of, json, _), id)| {
            format!("select exact.assign({id}, '{of}', $said${json}$said$);")
        })
        .collect();
    db.run(&said).await;

    let mut preset = String::from(
        "[stream]\nname = \"exact\"\n[[route]]\nevent = \"value\"\ntable = \"exact.landed\"\nmode = \"insert\"\nkey = [\"id\"]\n[route.columns]\nid = \"$id\"\n",
    );
    for (name, _) in COLUMNS {
        preset += &format!("{name} = \"/{name}\"\n");
    }
    let events: Vec<String> =
        values.iter().map(|(of, json, _)| format!("{{\"{of}\":{json}}}")).collect();
    let events: Vec<(&str, &str)> = events.iter().map(|data| ("value", data.as_str())).collect();
    let source = Script::of(&events);
    let mut settings = config(&db, &source);
    settings.preset = Preset::parse(&preset).unwrap();
    let report = run(settings).await.unwrap();

    let value = |id: &str| values[id.parse::<usize>().unwrap() - 1].clone();
    let changed = db
        .list(
            "select l.id, l::text, coalesce(i::text, 'refused') from exact.landed l
             left join exact.by_itself i using (id) where l::text is distinct from i::text",
        )
        .await;
    let changed: Vec<_> =
        changed.iter().map(|row| (value(row.split('|').next().unwrap()), row)).collect();
    assert!(changed.is_empty(), "landed otherwise than PostgreSQL reads them: {changed:#?}");

    let landed: BTreeSet<String> =
        db.list("select id from exact.landed").await.into_iter().collect();
    let missed: Vec<_> = (1..=values.len())
        .map(|id| id.to_string())
        .filter(|id| value(id).2 && !landed.contains(id))
        .map(|id| value(&id))
        .collect();
    assert!(missed.is_empty(), "refused although they fit: {missed:#?}");

    // What did not land is a dead letter that says why, and only jsonb's numbers are left to the
    // database to refuse.
    assert_eq!(landed.len() + report.dead_letters as usize, values.len());
    let late = db
        .list("select event_offset from sse_stream.dead_letters where reason like '%sqlstate%'")
        .await;
    let late: Vec<_> = late.iter().map(|id| value(id)).collect();
    let too_large = ["1e131072", "[1e999999]"].map(|json| ("jsonb", json.to_owned(), false));
    assert_eq!(late, too_large);
}
