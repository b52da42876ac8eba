//! What an event says about itself before its routes are asked: id, type, time, and whether it is
//! data at all.

use std::borrow::Cow;

use crate::preset::{Scalar, StreamSpec};
use crate::selector::{Found, Selector};

/// Where the preset finds these: in the SSE fields, or by pointers in the data.
pub(crate) struct Envelope {
    selector: Selector,
    id: Option<usize>,
    event_type: Option<usize>,
    time: Option<usize>,
    drop_when: Vec<(usize, Scalar)>,
    control: Vec<String>,
    control_data: Vec<String>,
    done: Option<String>,
    found: Found,
}

/// What one event says.
pub(crate) struct Says<'a> {
    /// Empty where there is none.
    pub(crate) id: Cow<'a, [u8]>,
    pub(crate) event_type: Option<&'a str>,
    /// The JSON text of its time.
    pub(crate) time: Option<&'a str>,
    pub(crate) kind: Kind,
}

/// What an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Data,
    /// Part of the stream, and not wanted.
    Dropped,
    /// About the stream: a greeting, a sign of life. Its id, if it has one, leads nowhere.
    Control,
    /// All has been said.
    Done,
}

impl Envelope {
    /// `timed` says whether anybody wants to know the time of events.
    pub(crate) fn new(stream: &StreamSpec, timed: bool) -> Self {
        let mut selector = Selector::default();
        let mut slot = |place: &str| (place != "sse").then(|| selector.add(place));
        let (id, event_type) = (slot(&stream.id), slot(&stream.event_type));
        let time = stream.time.as_deref().filter(|_| timed).and_then(&mut slot);
        let drop_when =
            stream.drop_when.iter().map(|(at, value)| (selector.add(at), value.clone())).collect();
        Self {
            selector,
            id,
            event_type,
            time,
            drop_when,
            control: stream.control.clone(),
            control_data: stream.control_data.clone(),
            done: stream.done.clone(),
            found: Found::default(),
        }
    }

    /// Whether a block of this type is no data, whatever stands in it.
    pub(crate) fn is_control(&self, event_type: &str) -> bool {
        self.control.iter().any(|control| control == event_type)
    }

    pub(crate) fn read<'a>(
        &mut self,
        sse_id: &'a [u8],
        sse_type: &'a str,
        data: &'a str,
    ) -> Says<'a> {
        let kind = self.kind(sse_type, data);
        let asks =
            self.id.or(self.event_type).or(self.time).is_some() || !self.drop_when.is_empty();
        if kind != Kind::Data || !asks {
            return Says { id: sse_id.into(), event_type: Some(sse_type), time: None, kind };
        }
        // Broken JSON shows as a missing id here and as `not_json` in the decoder.
        let picked = self.selector.pick(data, &mut self.found).is_ok();
        let value = |slot: usize| self.found.get(data, slot).filter(|_| picked);
        let id = match self.id {
            Some(slot) => value(slot).map_or(Cow::Borrowed(b"" as &[u8]), |json| plain_bytes(json)),
            None => sse_id.into(),
        };
        let event_type = match self.event_type {
            Some(slot) => value(slot).map(|json| json.trim_matches('"')),
            None => Some(sse_type),
        };
        let drops = |(slot, unwanted): &(usize, Scalar)| {
            value(*slot).is_some_and(|json| is_value(json, unwanted))
        };
        let kind = if event_type.is_some_and(|event_type| self.is_control(event_type)) {
            Kind::Control
        } else if self.drop_when.iter().any(drops) {
            Kind::Dropped
        } else {
            Kind::Data
        };
        Says { id, event_type, time: self.time.and_then(value), kind }
    }

    fn kind(&self, sse_type: &str, data: &str) -> Kind {
        let says = |text: &String| {
            let data = data.trim();
            let quoted = data.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            data == text || quoted == Some(text)
        };
        if self.done.as_ref().is_some_and(says) {
            Kind::Done
        } else if self.is_control(sse_type) || self.control_data.iter().any(says) {
            Kind::Control
        } else {
            Kind::Data
        }
    }
}

/// The text of a JSON string, or the JSON itself where it is none; nothing for null.
fn plain(json: &str) -> Cow<'_, str> {
    match json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) if !inner.contains('\\') => inner.into(),
        Some(_) => serde_json::from_str::<String>(json).unwrap_or_default().into(),
        None if json == "null" => "".into(),
        None => json.into(),
    }
}

fn plain_bytes(json: &str) -> Cow<'_, [u8]> {
    match plain(json) {
        Cow::Borrowed(text) => text.as_bytes().into(),
        Cow::Owned(text) => text.into_bytes().into(),
    }
}

fn is_value(json: &str, wanted: &Scalar) -> bool {
    match wanted {
        Scalar::Text(text) => json.starts_with('"') && plain(json) == text.as_str(),
        other => json == other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preset::Preset;

    fn envelope(stream: &str) -> Envelope {
        let preset = Preset::parse(&format!("[stream]\nname = \"s\"\n{stream}")).unwrap();
        Envelope::new(&preset.stream, true)
    }

    fn kind(stream: &str, event_type: &str, data: &str) -> Kind {
        envelope(stream).read(b"", event_type, data).kind
    }

    #[test]
    fn what_is_no_data_is_told_by_type_data_or_value() {
        let stream = "control = [\"open\"]\ncontrol_data = [\"hello\"]\ndone = \"[DONE]\"";
        assert_eq!(kind(stream, "open", "{}"), Kind::Control);
        assert_eq!(kind(stream, "message", "\"hello\""), Kind::Control);
        assert_eq!(kind(stream, "message", " hello "), Kind::Control);
        assert_eq!(kind(stream, "message", "{\"a\":\"hello\"}"), Kind::Data);
        assert_eq!(kind(stream, "message", "[DONE]"), Kind::Done);
        let stream = "type = \"/event\"\ncontrol = [\"keepalive\"]";
        assert_eq!(kind(stream, "message", r#"{"event":"keepalive"}"#), Kind::Control);
        assert_eq!(kind(stream, "message", r#"{"event":"message"}"#), Kind::Data);
    }

    #[test]
    fn values_are_compared_as_what_they_are() {
        let stream = "drop_when = { \"/a/b\" = \"x\", \"/n\" = 5, \"/t\" = true }";
        for (data, dropped) in [
            (r#"{"a":{"b":"x"}}"#, true),
            (r#"{"a":{"b":"\u0078"}}"#, true),
            (r#"{"a":{"b":"y"},"n":4,"t":false}"#, false),
            (r#"{"n":5}"#, true),
            (r#"{"n":"5"}"#, false),
            (r#"{"t":true}"#, true),
            (r#"{}"#, false),
            ("no json", false),
        ] {
            assert_eq!(kind(stream, "message", data) == Kind::Dropped, dropped, "{data}");
        }
    }

    #[test]
    fn ids_are_found_in_the_data() {
        let mut envelope = envelope("id = \"/id\"\nids = \"text\"");
        for (data, id) in [
            (r#"{"id":"sPs71M8A2T"}"#, "sPs71M8A2T"),
            (r#"{"id":"a\"b"}"#, "a\"b"),
            (r#"{"id":12}"#, "12"),
            (r#"{"id":null}"#, ""),
            ("{}", ""),
            ("no json", ""),
        ] {
            assert_eq!(&*envelope.read(b"sse", "message", data).id, id.as_bytes(), "{data}");
        }
    }
}
