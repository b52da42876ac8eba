//! `serde_json` is the oracle: what it accepts, we accept, and what it finds, we find.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn pick<'a>(pointers: &[&str], json: &'a str) -> Result<Vec<Option<&'a str>>, serde_json::Error> {
    let mut selector = Selector::default();
    let slots: Vec<usize> = pointers.iter().map(|p| selector.add(p)).collect();
    let mut found = Found::default();
    selector.pick(json, &mut found)?;
    assert_eq!(found.is_plain(), !json.contains('\\'));
    let first: Vec<_> = slots.iter().map(|slot| found.get(json, *slot)).collect();
    // Now the order of the keys is known; that must change nothing.
    selector.pick(json, &mut found)?;
    assert_eq!(slots.iter().map(|slot| found.get(json, *slot)).collect::<Vec<_>>(), first);
    Ok(first)
}

/// The value at a pointer by way of maps, of which the last of equal keys survives.
fn by_maps<'a>(pointer: &str, json: &'a str) -> Option<&'a str> {
    let mut raw: &RawValue = serde_json::from_str(json).unwrap();
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        raw = match raw.get().as_bytes()[0] {
            b'{' => {
                serde_json::from_str::<HashMap<String, _>>(raw.get()).unwrap().remove(&token)?
            }
            b'[' => {
                let list: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap();
                let index: usize = token.parse().ok()?;
                list.get(index).filter(|_| index.to_string() == token)?
            }
            _ => return None,
        };
    }
    Some(raw.get())
}

#[test]
fn values_are_found_at_any_depth_and_inside_a_wanted_value() {
    let json = r#"{"a":{"b":[10,{"c":"x"}],"d":null},"e/f":1,"é":2}"#;
    let found = pick(&["/a", "/a/b/1/c", "/a/d", "/a/no", "/e~1f", "/\u{e9}", ""], json).unwrap();
    assert_eq!(found[0], Some(r#"{"b":[10,{"c":"x"}],"d":null}"#));
    assert_eq!(found[1], Some("\"x\""));
    assert_eq!(found[2], Some("null"));
    assert_eq!(found[3], None);
    assert_eq!(found[4], Some("1"));
    assert_eq!(found[5], Some("2"));
    assert_eq!(found[6], Some(json));
}

#[test]
fn keys_are_compared_as_the_text_that_they_spell() {
    let json = "{ \"a\\u0062\" : 1 , \"q\\\"\\\\\" :2,\t\"\\u0001\":3,\"ab\":4,\"a\":{\"a\":5}}";
    let found = pick(&["/ab", "/q\"\\", "/\u{1}", "/a/a"], json).unwrap();
    assert_eq!(found, [Some("4"), Some("2"), Some("3"), Some("5")]);
    // A name with a quote in it is no prefix of broken text.
    assert!(pick(&["/a\":1,\"b"], r#"{"a":1,"b":2}"#).unwrap()[0].is_none());
    assert!(pick(&["/a\"b"], r#"{"a"b":1}"#).is_err());
}

#[test]
fn keys_that_differ_in_one_byte_are_told_apart() {
    for length in 1..30 {
        let name = "x".repeat(length);
        for place in 0..length {
            let mut other = name.clone();
            other.replace_range(place..=place, "y");
            let json = format!(r#"{{"{other}":1,"{name}":2,"{name}x":3}}"#);
            let found = pick(&[&format!("/{name}")], &json).unwrap();
            assert_eq!(found, [Some("2")], "{json}");
        }
    }
}

#[test]
fn of_equal_keys_the_last_counts_with_all_that_is_below() {
    let found = pick(&["/a", "/a/b", "/a/c"], r#"{"a":{"b":1,"c":2},"a":{"b":3}}"#).unwrap();
    assert_eq!(found, [Some(r#"{"b":3}"#), Some("3"), None]);
    let found = pick(&["/a", "/a/b"], r#"{"a":{"b":1},"a":[{"b":2}]}"#).unwrap();
    assert_eq!(found, [Some(r#"[{"b":2}]"#), None]);
}

#[test]
fn half_a_surrogate_is_refused_in_keys_beside_wanted_ones_alone() {
    let half = r#"{"\ud800":1}"#;
    assert!(pick(&["/a"], half).is_err());
    assert!(pick(&["/a/b"], &format!(r#"{{"a":{half}}}"#)).is_err());
    for (pointer, json) in [
        ("", half.to_owned()),
        ("/a", format!(r#"{{"a":{half}}}"#)),
        ("/a", format!(r#"{{"b":{half}}}"#)),
        ("/a", r#"{"a":"\udc00"}"#.to_owned()),
    ] {
        assert!(pick(&[pointer], &json).is_ok(), "{pointer} in {json}");
    }
}

#[test]
fn numbers_of_any_size_and_nesting_of_any_depth_are_json() {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let wanted = format!(r#"{{"x":{deep},"a":1e999,"b":-0.0E+7}}"#);
    assert_eq!(pick(&["/a", "/b/c"], &wanted).unwrap(), [Some("1e999"), None]);
    assert!(
        pick(&["/a"], &format!(r#"{{"x":{}1{}]}}"#, "[".repeat(300), "]".repeat(300))).is_err()
    );
    for json in ["01", "1.", ".5", "-", "1e", "1e+", "+1", "1.e1", "--1", "NaN", "1_0", "0x1"] {
        assert!(pick(&["/a", ""], json).is_err(), "{json}");
        assert!(pick(&["/a"], &format!(r#"{{"a":{json}}}"#)).is_err(), "{json}");
    }
}

#[test]
fn broken_json_is_an_error_wherever_it_breaks() {
    for json in [
        "",
        "{",
        r#"{"a":1"#,
        r#"{"a":1}x"#,
        r#"{"a":tru}"#,
        "{\"b\":\"\u{1}\"}",
        r#"{"a":1]"#,
        r#"{"b":[1}}"#,
        r#"{"b":[[1}]}"#,
        r#"{"b":{"c":[]]}"#,
        r#"{"b":[1,]}"#,
        r#"{"b":{,}}"#,
    ] {
        let theirs = serde_json::from_str::<&RawValue>(json).unwrap_err();
        assert_eq!(pick(&["/a"], json).unwrap_err().to_string(), theirs.to_string(), "{json}");
    }
}

#[test]
fn every_byte_is_judged_at_every_place_of_a_word() {
    for place in 0..24 {
        for byte in 0..=0x7f_u8 {
            let json = format!("{{\"{}{}\":1}}", "x".repeat(place), char::from(byte));
            let theirs = serde_json::from_str::<&RawValue>(&json).is_ok();
            assert_eq!(pick(&[""], &json).is_ok(), theirs, "{json:?}");
            assert_eq!(pick(&["/x"], &json).is_ok(), theirs, "{json:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn agrees_with_the_tree(json in json_text(), depth in 0usize..4) {
        let pointer = ["/a", "/b/a", "/0/b/1", "/ab/a/a"][depth];
        let found = pick(&[pointer, "", "/b"], &json).unwrap();
        prop_assert_eq!(found[0], by_maps(pointer, &json));
        prop_assert_eq!(found[1], Some(json.trim()));
        prop_assert_eq!(found[2], by_maps("/b", &json));
    }

    #[test]
    fn accepts_exactly_what_serde_json_accepts(
        json in json_text(),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), 0u8..3, byte()), 1..4),
    ) {
        let mut bytes = json.into_bytes();
        for (at, how, byte) in damage {
            let at = at.index(bytes.len() + 1);
            match how {
                0 => bytes.insert(at, byte),
                1 if at < bytes.len() => bytes[at] = byte,
                _ => bytes.truncate(at.max(1)),
            }
        }
        if let Ok(json) = std::str::from_utf8(&bytes) {
            let theirs = serde_json::from_str::<&RawValue>(json);
            match (pick(&["/a", "/b/a", "/0/b/1"], json), theirs) {
                (Ok(_), Err(theirs)) => prop_assert!(false, "{:?}: {}", json, theirs),
                (Err(ours), Err(theirs)) => prop_assert_eq!(ours.to_string(), theirs.to_string()),
                (Err(ours), Ok(_)) => prop_assert!(json.contains("\\u"), "{:?}: {}", json, ours),
                (Ok(_), Ok(_)) => {}
            }
        }
    }
}

fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        proptest::sample::select(b"{}[]\":,\\ \n\tu0123456789abeE+-.truefalsn\x00\x1f".to_vec()),
        any::<u8>(),
    ]
}

/// JSON with equal keys, whitespace where it may be, and escapes that need not be.
fn json_text() -> impl Strategy<Value = String> {
    let space = || proptest::sample::select(vec!["", "", "", " ", "\n\t "]);
    let word = || {
        proptest::sample::select(vec!["a", "b", "ab", "\\u0061", "\\\"", "é", "long key, long key"])
    };
    let leaf = prop_oneof![
        proptest::sample::select(vec![
            "null",
            "true",
            "false",
            "0",
            "-1.5e+3",
            "1e999",
            "\"\\ud800\""
        ])
        .prop_map(str::to_owned),
        any::<i64>().prop_map(|number| number.to_string()),
        word().prop_map(|word| format!("\"{word}\"")),
        "[a-z\\p{Greek}]{0,40}".prop_map(|text| format!("\"{text}\"")),
    ];
    let value = leaf.prop_recursive(4, 30, 4, move |inner| {
        prop_oneof![
            (proptest::collection::vec((space(), inner.clone()), 0..4), space()).prop_map(
                |(items, space)| {
                    let items: Vec<_> = items.iter().map(|(s, v)| format!("{s}{v}{s}")).collect();
                    format!("[{space}{}]", items.join(","))
                }
            ),
            (proptest::collection::vec((space(), word(), inner), 0..4), space()).prop_map(
                |(members, space)| {
                    let members =
                        members.iter().map(|(s, k, v)| format!("{s}\"{k}\"{s}:{s}{v}{s}"));
                    format!("{{{space}{}}}", members.collect::<Vec<_>>().join(","))
                }
            ),
        ]
    });
    (space(), value, space()).prop_map(|(before, value, after)| format!("{before}{value}{after}"))
}
