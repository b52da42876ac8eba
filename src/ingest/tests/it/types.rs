//! Every type of column, and what is put together: compared with PostgreSQL's own reading.

use std::fmt::Write;

use ingest::{ErrorKind, Preset};

use crate::support::{Db, Script, config, run};

const TABLE: &str = "
    create type shop.size as enum ('s', 'm', 'l');
    create domain shop.code as varchar(4);
    create table shop.kinds (
        n integer primary key,
        small smallint, real_one real, flag boolean, name varchar(5), fixed char(3), code shop.code,
        at_s timestamptz, at_ms timestamp, day_us date, day date,
        bytes bytea, hex bytea, net inet, block cidr, size shop.size, number bigint, amount numeric(12,3),
        word text, inner_json jsonb, plain json,
        ints integer[], words varchar(5)[], times timestamptz[], sizes shop.size[], docs jsonb[],
        codes shop.code[], blobs bytea[], flags boolean[], sums numeric(6,2)[], nets inet[]
    );
    create table shop.told (
        n integer primary key, at_s text, at_ms text, day_us text, bytes text, hex text, net text,
        block text, ints text, words text, times text, sizes text, sums text, nets text
    );";

const ROUTES: &str = r#"
    [stream]
    name = "kinds"
    [[route]]
    event = "kind"
    table = "shop.kinds"
    mode = "insert"
    key = ["n"]
    [route.columns]
    n = "/n"
    small = "/small"
    real_one = "/real"
    flag = "/flag"
    name = "/name"
    fixed = "/fixed"
    code = "/code"
    at_s = { from = "/at_s", as = "epoch_s" }
    at_ms = { from = "/at_ms", as = "epoch_ms" }
    day_us = { from = "/day_us", as = "epoch_us" }
    day = "/day"
    bytes = { from = "/bytes", as = "base64" }
    hex = { from = "/hex", as = "hex" }
    net = "/net"
    block = "/block"
    size = "/size"
    number = { from = "/number", as = "number" }
    amount = "/amount"
    word = { from = "/word", as = "text" }
    inner_json = { from = "/inner", as = "json" }
    plain = "/plain"
    ints = "/ints"
    words = "/words"
    times = { from = "/times", as = "epoch_ms" }
    sizes = "/sizes"
    docs = "/docs"
    codes = "/codes"
    blobs = { from = "/blobs", as = "base64" }
    flags = "/flags"
    sums = "/sums"
    nets = "/nets"
    [[route]]
    event = "kind"
    table = "shop.told"
    mode = "insert"
    key = ["n"]
    [route.columns]
    n = "/n"
    at_s = { from = "/at_s", as = "text" }
    at_ms = { from = "/at_ms", as = "text" }
    day_us = { from = "/day_us", as = "text" }
    bytes = "/told/bytes"
    hex = "/told/hex"
    net = "/net"
    block = "/block"
    ints = "/told/ints"
    words = "/told/words"
    times = "/told/times"
    sizes = "/told/sizes"
    sums = "/told/sums"
    nets = "/told/nets"
"#;

/// What differs from PostgreSQL's reading of the same text.
const DIFFERENT: &str = "
    select k.n from shop.kinds k join shop.told t using (n)
    where k.at_s is distinct from timestamptz 'epoch' + (t.at_s::numeric * 1000000)::bigint * interval '1 us'
       or k.at_ms is distinct from timestamp 'epoch' + (t.at_ms::numeric * 1000)::bigint * interval '1 us'
       or k.day_us is distinct from (timestamp 'epoch' + t.day_us::bigint * interval '1 us')::date
       or k.bytes is distinct from decode(t.bytes, 'hex') or k.hex is distinct from decode(t.hex, 'hex')
       or k.net is distinct from t.net::inet or k.block is distinct from t.block::cidr
       or k.ints is distinct from t.ints::integer[] or k.words is distinct from t.words::varchar(5)[]
       or k.times is distinct from t.times::timestamptz[] or k.sizes is distinct from t.sizes::shop.size[]
       or k.sums is distinct from t.sums::numeric(6,2)[] or k.nets is distinct from t.nets::inet[]
    order by 1";

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn bytes(&mut self) -> Vec<u8> {
        (0..self.below(9)).map(|_| self.below(256) as u8).collect()
    }

    fn address(&mut self, masked: bool) -> String {
        let (bits, octets) = if self.below(2) == 0 { (32, 4) } else { (128, 16) };
        let prefix = self.below(bits + 1) as u32;
        let mut address: u128 = 0;
        for _ in 0..octets {
            address = address << 8 | u128::from(self.below(256) * self.below(2));
        }
        if masked {
            let behind = bits as u32 - prefix;
            address = address.checked_shr(behind).unwrap_or(0).checked_shl(behind).unwrap_or(0);
        }
        let text = if octets == 4 {
            std::net::Ipv4Addr::from(address as u32).to_string()
        } else {
            std::net::Ipv6Addr::from(address).to_string()
        };
        if masked || self.below(2) == 0 { format!("{text}/{prefix}") } else { text }
    }

    fn list(&mut self, mut item: impl FnMut(&mut Self) -> (String, String)) -> (String, String) {
        let (json, told): (Vec<String>, Vec<String>) = (0..self.below(4))
            .map(|_| match self.below(5) {
                0 => ("null".to_owned(), "NULL".to_owned()),
                _ => item(self),
            })
            .unzip();
        (format!("[{}]", json.join(",")), format!("{{{}}}", told.join(",")))
    }
}

fn base64(bytes: &[u8], padded: bool) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let mut word = [0; 4];
        word[1..=group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes(word);
        for place in 0..=group.len() {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * place)) as usize & 63]));
        }
        (group.len()..3).filter(|_| padded).for_each(|_| text.push('='));
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn event(n: usize, dice: &mut Dice) -> String {
    let seconds = dice.below(16_000_000_000) as i64 - 8_000_000_000;
    let (bytes, more) = (dice.bytes(), dice.bytes());
    let quoted = |text: String| (format!("\"{text}\""), format!("\"{text}\""));
    let ints = dice.list(|dice| {
        let n = dice.below(1 << 32) as i64 - (1 << 31);
        (n.to_string(), n.to_string())
    });
    let words = dice.list(|dice| {
        let text = ["", "a", "NULL", "a b", "{,}", "äöüß€"][dice.below(6) as usize].to_owned();
        quoted(text)
    });
    let times = dice.list(|dice| {
        let millis = dice.below(4_000_000_000_000) as i64;
        let time = jiff_text(millis);
        (millis.to_string(), format!("\"{time}\""))
    });
    let sizes = dice.list(|dice| quoted(["s", "m", "l"][dice.below(3) as usize].to_owned()));
    let sums = dice.list(|dice| {
        let sum = format!("{}.{:02}", dice.below(10_000) as i64 - 5_000, dice.below(100));
        (sum.clone(), sum)
    });
    let nets = dice.list(|dice| quoted(dice.address(false)));
    let micros = dice.below(1_000_000);
    let day = dice.below(100_000) as i64 - 50_000;
    let at_s = match dice.below(3) {
        0 => seconds.to_string(),
        1 => format!("{seconds}.{micros:06}"),
        _ => format!("\"{seconds}.{:03}\"", micros / 1000),
    };
    let (padded, net, block) = (dice.below(2) == 0, dice.address(false), dice.address(true));
    format!(
        r#"{{"n":{n},"at_s":{at_s},"at_ms":{seconds}{:03}.5,"day_us":{},"bytes":"{}","hex":"{}","net":"{net}","block":"{block}","ints":{},"words":{},"times":{},"sizes":{},"sums":{},"nets":{},"told":{{"bytes":"{}","hex":"{}","ints":{:?},"words":{:?},"times":{:?},"sizes":{:?},"sums":{:?},"nets":{:?}}}}}"#,
        micros / 1000,
        day * 86_400_000_000,
        base64(&bytes, padded),
        hex(&more),
        ints.0,
        words.0,
        times.0,
        sizes.0,
        sums.0,
        nets.0,
        hex(&bytes),
        hex(&more),
        ints.1,
        words.1,
        times.1,
        sizes.1,
        sums.1,
        nets.1,
    )
}

/// The time so many milliseconds after 1970, to the day by PostgreSQL's way of writing.
fn jiff_text(millis: i64) -> String {
    let (mut days, rest) = (millis / 86_400_000, millis % 86_400_000);
    let mut year = 1970;
    let length = |year: i64| 365 + i64::from(year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
    while days >= length(year) {
        days -= length(year);
        year += 1;
    }
    let mut month = 0;
    let february = length(year) - 337;
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    while days >= months[month] {
        days -= months[month];
        month += 1;
    }
    let (hour, minute) = (rest / 3_600_000, rest / 60_000 % 60);
    let (second, milli) = (rest / 1000 % 60, rest % 1000);
    format!(
        "{year}-{:02}-{:02} {hour:02}:{minute:02}:{second:02}.{milli:03}+00",
        month + 1,
        days + 1
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_what_postgresql_reads_in_the_same_text() {
    let db = Db::new().await;
    db.run(TABLE).await;
    let mut dice = Dice(7);
    let events: Vec<String> = (0..1500).map(|n| event(n, &mut dice)).collect();
    let source = Script::of(&events.iter().map(|data| ("kind", data.as_str())).collect::<Vec<_>>());
    let mut config = config(&db, &source);
    config.preset = Preset::parse(ROUTES).unwrap();
    let report = run(config).await.unwrap();
    let dead = db.list("select reason from sse_stream.dead_letters limit 3").await;
    assert_eq!((report.rows["shop.kinds"], report.rows["shop.told"]), (1500, 1500), "{dead:?}");
    let different = db.list(DIFFERENT).await;
    assert!(
        different.is_empty(),
        "{} at {}",
        events[different[0].parse::<usize>().unwrap()],
        different.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_type_takes_what_it_can_hold_and_refuses_the_rest() {
    let db = Db::new().await;
    db.run(TABLE).await;
    let cases: &[(&str, &str, Result<&str, &str>)] = &[
        ("small", "-32768", Ok("-32768")),
        ("small", "32768", Err("out_of_range")),
        ("real", "0.1", Ok("0.1")),
        ("flag", "true", Ok("true")),
        ("flag", "1", Err("wrong_type")),
        ("name", "\"äöüß€\"", Ok("äöüß€")),
        ("name", "\"too long\"", Err("out_of_range")),
        ("fixed", "\"ab\"", Ok("ab")),
        ("code", "\"12345\"", Err("out_of_range")),
        ("at_s", "\"1767225600\"", Ok("2026-01-01 00:00:00+00")),
        ("at_s", "\"2026-01-01T00:00:00Z\"", Err("wrong_type")),
        ("at_s", "1e40", Err("out_of_range")),
        ("day_us", "86400000001", Err("out_of_range")),
        ("bytes", "\"not base64\"", Err("wrong_type")),
        ("bytes", "7", Err("wrong_type")),
        ("hex", "\"\\\\x00ff\"", Ok("\\x00ff")),
        ("net", "\"::ffff:1.2.3.4/100\"", Ok("::ffff:1.2.3.4/100")),
        ("net", "\"10.0.0.300\"", Err("wrong_type")),
        ("net", "\"10.0.0.1/33\"", Err("wrong_type")),
        ("net", "10", Err("wrong_type")),
        ("block", "\"10.0.0.1/8\"", Err("out_of_range")),
        ("size", "\"m\"", Ok("m")),
        ("size", "\"xl\"", Err("out_of_range")),
        ("size", "1", Err("wrong_type")),
        ("number", "\"123\"", Ok("123")),
        ("number", "123", Ok("123")),
        ("number", "\"1x\"", Err("wrong_type")),
        ("number", "\"true\"", Err("wrong_type")),
        ("amount", "\"1.5\"", Ok("1.500")),
        ("word", "{\"a\": 1}", Ok("{\"a\": 1}")),
        ("word", "1.50", Ok("1.50")),
        ("inner", "\"{\\\"a\\\":1}\"", Ok("{\"a\": 1}")),
        ("inner", "\"{\"", Err("wrong_type")),
        ("inner", "{}", Err("wrong_type")),
        ("ints", "[]", Ok("{}")),
        ("ints", "[1,null,-3]", Ok("{1,NULL,-3}")),
        ("ints", "[1,\"2\"]", Err("wrong_type")),
        ("ints", "[[1]]", Err("wrong_type")),
        ("ints", "7", Err("wrong_type")),
        ("ints", "null", Ok("")),
        ("words", "[\"too long\"]", Err("out_of_range")),
        ("sizes", "[\"s\",\"xl\"]", Err("out_of_range")),
        ("docs", "[{\"a\":[1]},null,2]", Ok("{\"{\\\"a\\\": [1]}\",\"null\",2}")),
        ("codes", "[\"abcd\"]", Ok("{abcd}")),
        ("blobs", "[\"AQI=\",null]", Ok("{\"\\\\x0102\",NULL}")),
        ("flags", "[true,false]", Ok("{t,f}")),
        ("nets", "[\"10.0.0.0/8\"]", Ok("{10.0.0.0/8}")),
    ];
    let events: Vec<String> = cases
        .iter()
        .enumerate()
        .map(|(n, (field, json, _))| format!(r#"{{"n":{n},"{field}":{json},"told":{{}}}}"#))
        .collect();
    let source = Script::of(&events.iter().map(|data| ("kind", data.as_str())).collect::<Vec<_>>());
    let mut config = config(&db, &source);
    let (first, _) = ROUTES.rsplit_once("    [[route]]").unwrap();
    config.preset = Preset::parse(first).unwrap();
    run(config).await.unwrap();
    for (n, (field, json, expected)) in cases.iter().enumerate() {
        let column = match *field {
            "real" => "real_one",
            "inner" => "inner_json",
            other => other,
        };
        let landed = db.list(&format!("select {column}::text from shop.kinds where n = {n}")).await;
        let dead = db
            .list(&format!(
                "select reason_code from sse_stream.dead_letters where event_offset = {}",
                n + 1
            ))
            .await;
        match expected {
            Ok(text) => {
                assert_eq!((landed, dead), (vec![(*text).to_owned()], vec![]), "{field} {json}")
            }
            Err(code) => {
                assert_eq!((landed, dead), (vec![], vec![(*code).to_owned()]), "{field} {json}")
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn arrays_and_json_are_compared_when_events_come_again() {
    let db = Db::new().await;
    db.run("create table shop.lists (n integer primary key, a integer[], j json, js json[], at timestamptz)").await;
    let preset = |mode: &str, columns: &str| {
        Preset::parse(&format!(
            "[stream]\nname = \"lists\"\nepoch_header = \"X-Epoch\"\n[[route]]\nevent = \"l\"\ntable = \"shop.lists\"\nmode = \"{mode}\"\nkey = [\"n\"]\n[route.columns]\nn = \"/n\"\n{columns}"
        ))
        .unwrap()
    };
    let all = "a = \"/a\"\nj = \"/j\"\njs = \"/js\"\nat = \"$received_at\"";
    let source = Script::of(&[("l", r#"{"n":1,"a":[1,2],"j":{"b":1},"js":[{"c":2}]}"#)]);
    for (mode, duplicates) in [("insert", 0), ("insert", 1), ("upsert", 1), ("update", 1)] {
        db.run("update sse_stream.offsets set position = 0").await;
        let mut config = config(&db, &source);
        let columns = if mode == "update" { "a = \"/a\"\nj = \"/j\"" } else { all };
        config.preset = preset(mode, columns);
        let report = run(config).await.unwrap();
        assert_eq!((report.duplicates, report.dead_letters), (duplicates, 0), "{mode}");
    }
    // An update fills an array, too.
    db.run("update shop.lists set a = null; update sse_stream.offsets set position = 0, high_water = 0").await;
    let mut config = config(&db, &source);
    config.preset = preset("update", "a = \"/a\"");
    run(config).await.unwrap();
    assert_eq!(db.one("select a from shop.lists").await, "{1,2}");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_put_together_from_a_closed_set() {
    let db = Db::new().await;
    db.run(
        "create table shop.made (event_offset bigint primary key, sse_id text, kind text, chosen text, code text,
             low text, source text, amount numeric, whole jsonb, fixed jsonb)",
    )
    .await;
    let preset = r#"
        [stream]
        name = "made"
        [[route]]
        event = "made"
        table = "shop.made"
        mode = "insert"
        key = ["event_offset"]
        [route.columns]
        event_offset = "$id"
        sse_id = "$sse_id"
        kind = { lower = "$event" }
        chosen = { coalesce = ["/a", "/b", { const = "none" }] }
        code = { join = ["/a", "/n", "$id"], with = "-" }
        low = { lower = "/b" }
        source = { const = "shop" }
        amount = { coalesce = ["/n", "/m"], as = "number" }
        whole = "$data"
        fixed = { const = { version = 1, of = ["a", 2.5, true] } }
    "#;
    let source = Script::of(&[
        ("made", r#"{"a":"A\u0042","n":7,"b":"ÄX"}"#),
        ("made", r#"{"a":null,"b":"second","m":"1.5"}"#),
        ("made", r#"{}"#),
        ("made", r#"{"a":{"no":"text"},"n":1}"#),
    ]);
    let mut config = config(&db, &source);
    config.preset = Preset::parse(preset).unwrap();
    let report = run(config).await.unwrap();
    assert_eq!(
        db.list("select event_offset, sse_id, kind, chosen, code, low, source, amount from shop.made order by 1")
            .await,
        [
            "1|1|made|AB|AB-7-1|äx|shop|7",
            "2|2|made|second||second|shop|1.5",
            "3|3|made|none|||shop|"
        ]
    );
    assert_eq!(
        db.list("select distinct fixed from shop.made").await,
        [r#"{"of": ["a", 2.5, true], "version": 1}"#]
    );
    assert_eq!((report.dead_letters, db.dead().await), (1, vec!["4|wrong_type|1".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_column_can_never_hold_is_refused_before_anything_is_read() {
    let db = Db::new().await;
    db.run(TABLE).await;
    let source = Script::serve(true);
    for (column, spec, part) in [
        ("bytes", "\"/bytes\"", "say how its bytes are written"),
        ("bytes", "{ from = \"/bytes\", as = \"epoch_s\" }", "epoch_s"),
        ("small", "{ from = \"/small\", as = \"base64\" }", "base64"),
        ("small", "{ const = 40000 }", "cannot hold the constant 40000"),
        ("size", "{ const = \"xl\" }", "cannot hold the constant"),
        ("small", "\"$received_at\"", "cannot hold $received_at"),
        ("flag", "\"$id\"", "cannot hold $id"),
        ("name", "\"$json\"", "cannot hold $json"),
    ] {
        let mut config = config(&db, &source);
        let text = format!(
            "[stream]\nname = \"k\"\n[[route]]\nevent = \"k\"\ntable = \"shop.kinds\"\nmode = \"insert\"\nkey = [\"n\"]\n[route.columns]\nn = \"/n\"\n{column} = {spec}\n"
        );
        config.preset = Preset::parse(&text).unwrap();
        let error = run(config).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Schema, "{error}");
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    assert_eq!(source.requests(), 0);
}
