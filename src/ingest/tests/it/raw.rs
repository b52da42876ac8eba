//! Raw-only landing: a table without a route of one's own.

use ingest::{ErrorKind, Preset, RawTable};

use crate::support::{Db, Script, config, run};

fn preset(raw: &RawTable) -> Preset {
    let mut preset = Preset::parse("[stream]\nname = \"raw\"\nepoch_header = \"X-Epoch\"").unwrap();
    raw.add_to(&mut preset).unwrap();
    preset
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_lands_in_a_table_that_the_run_makes() {
    let db = Db::new().await;
    let source = Script::of(&[
        ("a", r#"{"n":1}"#),
        ("message", "[DONE]"),
        ("b", r#"{"nul":"\u0000"}"#),
        ("c", "12345"),
        ("d", ""),
    ]);
    let raw = RawTable { table: "raw.my \"feed\"".into(), create: true };
    for round in 0..2 {
        let mut config = config(&db, &source);
        config.preset = preset(&raw);
        config.raw_table = Some(raw.clone());
        let report = run(config).await.unwrap();
        assert_eq!(
            (report.dead_letters, report.duplicates),
            (0, round * 5),
            "{:?}",
            db.dead().await
        );
        db.run("update sse_stream.offsets set position = 0").await;
    }
    assert_eq!(
        db.list("select epoch, event_offset, sse_id, event_type, data, data_text, received_at > now() - interval '1 min' from raw.\"my \"\"feed\"\"\" order by 2")
            .await,
        [
            r#"one|1|1|a|{"n": 1}||t"#,
            "one|2|2|message||[DONE]|t",
            r#"one|3|3|b||{"nul":"\u0000"}|t"#,
            "one|4|4|c|12345||t",
            "one|5|5|d|||t"
        ]
    );
    let comments =
        "select count(*) from pg_description where objoid = 'raw.\"my \"\"feed\"\"\"'::regclass";
    assert_eq!(db.one(comments).await, "8");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_leave_to_create_it_the_error_says_how() {
    let db = Db::new().await;
    let source = Script::serve(true);
    let raw = RawTable { table: "raw.my_feed".into(), create: false };
    let mut config = config(&db, &source);
    config.preset = preset(&raw);
    config.raw_table = Some(raw.clone());
    let error = run(config).await.unwrap_err();
    assert_eq!((error.kind(), source.requests()), (ErrorKind::Schema, 0));
    let text = error.to_string();
    let (_, sql) = text.split_once('\n').unwrap();
    db.run(sql).await;
    let mut config = crate::support::config(&db, &Script::of(&[("a", "1")]));
    config.preset = preset(&raw);
    config.raw_table = Some(raw);
    assert_eq!(run(config).await.unwrap().rows["raw.my_feed"], 1);

    let raw = RawTable { table: "my_feed".into(), create: true };
    assert_eq!(
        raw.add_to(&mut Preset::parse("[stream]\nname = \"x\"").unwrap()).unwrap_err().kind(),
        ErrorKind::Config
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_of_which_nothing_is_known_lands_whole() {
    let db = Db::new().await;
    let source = Script::of(&[("a", "1"), ("b", "2")]);
    source.add_bare("data: without an id\n\n");
    let raw = RawTable { table: "raw.any".into(), create: true };
    for (round, landed) in [(0, 3), (1, 1)] {
        if round == 1 {
            source.add(&[("c", "3")]);
        }
        let mut config = config(&db, &source);
        config.preset = Preset::parse("[stream]\nname = \"any\"\nids = \"any\"").unwrap();
        raw.add_to(&mut config.preset).unwrap();
        config.raw_table = Some(raw.clone());
        let report = run(config).await.unwrap();
        assert_eq!((report.rows["raw.any"], report.dead_letters), (landed, 0));
    }
    assert_eq!(
        db.list(
            "select event_offset, sse_id, coalesce(data::text, data_text) from raw.any order by 1"
        )
        .await,
        ["1|1|1", "2|2|2", "3||without an id", "4|3|3"]
    );
}
