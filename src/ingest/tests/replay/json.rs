//! JSON looked at in ways that the engine does not use.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

pub(crate) fn is_valid(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// The text of the value that a pointer names: by a tree of raw values, the last of equal keys.
pub(crate) fn lookup<'a>(json: &'a str, pointer: &str) -> Option<&'a str> {
    let mut value = json.trim_matches([' ', '\t', '\n', '\r']);
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        value = if value.starts_with('{') {
            serde_json::from_str::<BTreeMap<String, &RawValue>>(value).ok()?.get(&token)?.get()
        } else if value.starts_with('[') {
            let list: Vec<&RawValue> = serde_json::from_str(value).ok()?;
            let index: usize = token.parse().ok()?;
            list.get(index).filter(|_| index.to_string() == token)?.get()
        } else {
            return None;
        };
    }
    Some(value)
}

/// What `jsonb` cannot hold, read off the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Oddities {
    pub(crate) nul: bool,
    pub(crate) lone_surrogate: bool,
    pub(crate) depth: usize,
}

/// Looks through valid JSON.
pub(crate) fn oddities(json: &str) -> Oddities {
    let mut odd = Oddities::default();
    let (mut depth, mut bytes) = (0usize, json.bytes());
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                odd.depth = odd.depth.max(depth);
            }
            b']' | b'}' => depth -= 1,
            b'"' => {
                let mut units: Vec<u16> = Vec::new();
                while let Some(byte) = bytes.next().filter(|byte| *byte != b'"') {
                    let unit = match (byte, byte == b'\\') {
                        (_, true) => match bytes.next() {
                            Some(b'u') => {
                                let hex: String = bytes.by_ref().take(4).map(char::from).collect();
                                u16::from_str_radix(&hex, 16).expect("four digits")
                            }
                            _ => u16::from(b'.'),
                        },
                        _ => u16::from(b'.'),
                    };
                    units.push(unit);
                }
                odd.nul |= units.contains(&0);
                odd.lone_surrogate |= char::decode_utf16(units).any(|unit| unit.is_err());
            }
            _ => {}
        }
    }
    odd
}
