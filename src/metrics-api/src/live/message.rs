//! Messages of the live stream, written once for all who get them.

use axum::extract::ws::Utf8Bytes;
use bytes::{Bytes, BytesMut};
use serde::Serialize;
use serde_json::value::RawValue;

/// Version of the messages' shape.
const VERSION: u32 = 1;

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Hello,
    Kpis,
    Series,
    Top,
    Orders,
    Pipeline,
    Beat,
    Bye,
}

impl Kind {
    pub const ALL: [Self; 8] = [
        Self::Hello,
        Self::Kpis,
        Self::Series,
        Self::Top,
        Self::Orders,
        Self::Pipeline,
        Self::Beat,
        Self::Bye,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Kpis => "kpis",
            Self::Series => "series",
            Self::Top => "top",
            Self::Orders => "orders",
            Self::Pipeline => "pipeline",
            Self::Beat => "beat",
            Self::Bye => "bye",
        }
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    v: u32,
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    data: &'a RawValue,
}

/// One message, as SSE and as the text of a WebSocket's frame.
#[derive(Clone, Debug)]
pub struct Message {
    pub number: u64,
    pub sse: Bytes,
    pub text: Utf8Bytes,
}

impl Message {
    /// `id` is `<boot>-<number>`; `data` is JSON.
    pub fn new(boot: &str, number: u64, kind: Kind, data: &RawValue) -> Self {
        let id = format!("{boot}-{number}");
        let kind = kind.as_str();
        let envelope = Envelope { v: VERSION, id: &id, kind, data };
        // The JSON holds no line end, so one line is enough for it.
        let json = serde_json::to_string(&envelope).unwrap_or_default();
        let head = format!("id: {id}\nevent: {kind}\ndata: ");
        let sse = Bytes::from([&head, &json, "\n\n"].concat());
        let text = Utf8Bytes::try_from(sse.slice(head.len()..head.len() + json.len()));
        Self { number, text: text.unwrap_or_default(), sse }
    }
}

/// JSON of a value.
pub(super) fn raw(value: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// Messages that go out together.
#[derive(Clone, Debug)]
pub struct Batch {
    pub messages: Vec<Message>,
    /// All of them, in one piece.
    pub sse: Bytes,
}

impl Batch {
    pub fn new(messages: Vec<Message>) -> Self {
        let mut sse = BytesMut::with_capacity(messages.iter().map(|it| it.sse.len()).sum());
        for message in &messages {
            sse.extend_from_slice(&message.sse);
        }
        Self { messages, sse: sse.freeze() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_the_same_in_both_forms() {
        let message = Message::new("b", 7, Kind::Beat, &raw(&serde_json::json!({"a": "x\ny"})));
        let text = r#"{"v":1,"id":"b-7","type":"beat","data":{"a":"x\ny"}}"#;
        assert_eq!(message.text.as_str(), text);
        assert_eq!(message.sse, format!("id: b-7\nevent: beat\ndata: {text}\n\n"));
    }
}
