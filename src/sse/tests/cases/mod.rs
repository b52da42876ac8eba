//! The cases shared with other languages: `tests/fixtures/sse_cases.json` says how to read them.

// Each test binary uses its own part of this.
#![allow(dead_code)]

use bytes::Bytes;
use serde::Deserialize;
use sse::{Item, Limits, Parser};

#[derive(Deserialize)]
struct File {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) source: String,
    #[serde(default)]
    start_last_event_id: String,
    limits: Option<CaseLimits>,
    input: String,
    chunkings: Vec<Chunking>,
    items: Vec<Expected>,
    pub(crate) last_event_id: String,
}

#[derive(Clone, Copy, Deserialize)]
struct CaseLimits {
    max_line_bytes: usize,
    max_event_bytes: usize,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Chunking {
    Named(String),
    Pieces(Vec<String>),
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Expected {
    Event {
        event: String,
        data: Option<String>,
        data_bytes: Option<String>,
        id: String,
        own_id: bool,
        raw_data: Option<String>,
    },
    Comment {
        text: Option<String>,
        text_bytes: Option<String>,
    },
    Retry {
        ms: u64,
    },
    IdOnly {
        id: String,
    },
    Oversize {
        event: String,
        id: String,
        own_id: bool,
        head: String,
        bytes: u64,
    },
}

/// An item that owns its bytes, so that it can be kept and compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owned {
    Event { id: Vec<u8>, own_id: bool, event: String, data: String, raw_data: Option<Vec<u8>> },
    Comment(Vec<u8>),
    Retry(u128),
    IdOnly(Vec<u8>),
    Oversize { id: Vec<u8>, own_id: bool, event: String, head: Vec<u8>, bytes: u64 },
}

impl From<Item<'_>> for Owned {
    fn from(item: Item<'_>) -> Self {
        match item {
            Item::Event(event) => Owned::Event {
                id: event.id.to_vec(),
                own_id: event.own_id,
                event: event.event.to_owned(),
                data: event.data.to_owned(),
                raw_data: event.raw_data.map(<[u8]>::to_vec),
            },
            Item::Comment(text) => Owned::Comment(text.to_vec()),
            Item::Retry(wait) => Owned::Retry(wait.as_millis()),
            Item::IdOnly(id) => Owned::IdOnly(id.to_vec()),
            Item::Oversize(over) => Owned::Oversize {
                id: over.id.to_vec(),
                own_id: over.own_id,
                event: over.event.to_owned(),
                head: over.head.to_vec(),
                bytes: over.bytes,
            },
        }
    }
}

impl From<&Expected> for Owned {
    fn from(expected: &Expected) -> Self {
        let either = |text: &Option<String>, coded: &Option<String>| match (text, coded) {
            (Some(text), None) => text.clone().into_bytes(),
            (None, Some(coded)) => decode(coded),
            _ => panic!("an item needs its text in exactly one form"),
        };
        match expected {
            Expected::Event { event, data, data_bytes, id, own_id, raw_data } => Owned::Event {
                id: id.clone().into_bytes(),
                own_id: *own_id,
                event: event.clone(),
                data: String::from_utf8(either(data, data_bytes)).unwrap(),
                raw_data: raw_data.as_deref().map(decode),
            },
            Expected::Comment { text, text_bytes } => Owned::Comment(either(text, text_bytes)),
            Expected::Retry { ms } => Owned::Retry(u128::from(*ms)),
            Expected::IdOnly { id } => Owned::IdOnly(id.clone().into_bytes()),
            Expected::Oversize { event, id, own_id, head, bytes } => Owned::Oversize {
                id: id.clone().into_bytes(),
                own_id: *own_id,
                event: event.clone(),
                head: decode(head),
                bytes: *bytes,
            },
        }
    }
}

impl Case {
    pub(crate) fn input(&self) -> Vec<u8> {
        decode(&self.input)
    }

    pub(crate) fn expected(&self) -> Vec<Owned> {
        self.items.iter().map(Owned::from).collect()
    }

    pub(crate) fn parser(&self) -> Parser {
        let limits = self.limits.map_or_else(Limits::default, |limits| Limits {
            max_line_bytes: limits.max_line_bytes,
            max_event_bytes: limits.max_event_bytes,
        });
        Parser::with_last_event_id(limits, self.start_last_event_id.as_bytes())
    }

    /// Every way this case is to be cut, with a name for messages.
    pub(crate) fn chunkings(&self) -> Vec<(String, Vec<Bytes>)> {
        let input = self.input();
        let cut = |size| input.chunks(size).map(Bytes::copy_from_slice).collect();
        let chunkings = self.chunkings.iter().map(|chunking| match chunking {
            Chunking::Named(name) => {
                let chunks = match name.as_str() {
                    "one" => vec![Bytes::copy_from_slice(&input)],
                    "bytes" => cut(1),
                    "pairs" => cut(2),
                    other => panic!("unknown chunking {other}"),
                };
                (name.clone(), chunks)
            }
            Chunking::Pieces(pieces) => {
                let chunks: Vec<Bytes> = pieces.iter().map(|piece| decode(piece).into()).collect();
                assert_eq!(chunks.concat(), input, "pieces of {}", self.name);
                ("pieces".to_owned(), chunks)
            }
        });
        chunkings.collect()
    }
}

pub(crate) fn load() -> Vec<Case> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/sse_cases.json");
    let text = std::fs::read_to_string(path).unwrap();
    let file: File = serde_json::from_str(&text).unwrap();
    assert!(file.cases.len() > 100);
    file.cases
}

/// Everything `parser` finds in these chunks.
pub(crate) fn parse(parser: &mut Parser, chunks: &[Bytes]) -> Vec<Owned> {
    let mut items = Vec::new();
    for chunk in chunks {
        parser.push(chunk.clone());
        while let Some(item) = parser.next() {
            items.push(item.into());
        }
    }
    items
}

/// Hex groups parted by blanks; `xx*N` repeats a group.
fn decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for group in text.split_ascii_whitespace() {
        let (hex, times) = group.split_once('*').unwrap_or((group, "1"));
        let group: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect();
        bytes.extend(group.repeat(times.parse().unwrap()));
    }
    bytes
}
