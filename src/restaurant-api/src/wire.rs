//! Events as bytes. Each event is written once, as a complete SSE block; `/stream` hands out runs
//! of blocks, `/events` the JSON inside them.

use crate::simulator::{Event, EventType, Micros, Payload, sites};

/// Length of every timestamp on the wire: `2026-11-20T17:57:20.123456Z`.
pub const TIMESTAMP_LEN: usize = 27;

/// Where a block ends and its JSON begins, and what filters look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// End of the block, in bytes from the start of its page.
    pub end: u32,
    /// Start of the JSON, in bytes from the start of the block.
    pub json: u16,
    pub event_type: u8,
    pub site: u8,
}

/// Bytes behind the JSON of a block: the end of its line and the empty line.
pub const BLOCK_TAIL: usize = 2;

/// Serialises events, remembering the text of the latest time.
#[derive(Default)]
pub struct Encoder {
    at: Option<Micros>,
    text: [u8; TIMESTAMP_LEN],
}

impl Encoder {
    /// Appends the block of `event` to `out`.
    pub fn block(&mut self, offset: u64, event: &Event, out: &mut Vec<u8>) -> Entry {
        if self.at != Some(event.ts) {
            self.at = Some(event.ts);
            self.text = timestamp(event.ts);
        }
        let event_type = event.event_type();
        let code = sites()[usize::from(event.site)].code.as_bytes();
        let start = out.len();
        put(out, b"id: ");
        put_number(out, offset);
        put(out, b"\nevent: ");
        put(out, event_type.as_str().as_bytes());
        put(out, b"\ndata: ");
        let json = out.len() - start;
        put(out, b"{\"offset\":");
        put_number(out, offset);
        put(out, b",\"event_id\":");
        put_uuid(out, event.event_id);
        put(out, b",\"event_type\":\"");
        put(out, event_type.as_str().as_bytes());
        put(out, TS_KEY);
        put(out, &self.text);
        put(out, b"\",\"partition_key\":\"");
        put(out, code);
        put(out, b"\",\"payload\":{");
        self.payload(&event.payload, code, out);
        put(out, b"}}\n\n");
        Entry {
            end: out.len() as u32,
            json: json as u16,
            event_type: event_type as u8,
            site: event.site,
        }
    }

    fn payload(&self, payload: &Payload, code: &[u8], out: &mut Vec<u8>) {
        match *payload {
            Payload::OrderCreated { order_id, visit_id, service_type } => {
                put(out, b"\"order_id\":");
                put_uuid(out, order_id);
                put(out, b",\"visit_id\":");
                put_uuid(out, visit_id);
                put_text(out, b",\"service_type\":", service_type.as_bytes());
                put_text(out, b",\"order_ts\":", &self.text);
                put_text(out, b",\"location_code\":", code);
            }
            Payload::OrderItemAdded { order_item_id, order_id, item, qty } => {
                put(out, b"\"order_item_id\":");
                put_uuid(out, order_item_id);
                put(out, b",\"order_id\":");
                put_uuid(out, order_id);
                put(out, b",\"menu_item_id\":");
                put_uuid(out, item.id);
                put_text(out, b",\"category\":", item.category.as_str().as_bytes());
                put_text(out, b",\"item_name\":", item.name.as_bytes());
                put_money(out, b",\"unit_price\":", item.price_cents);
                put(out, b",\"qty\":");
                put_number(out, u64::from(qty));
                put_money(out, b",\"extended_price\":", item.price_cents * qty);
            }
            Payload::PaymentCaptured {
                payment_id,
                order_id,
                method,
                provider,
                auth_code,
                subtotal,
                tax,
                tip,
            } => {
                let total = subtotal + tax + tip;
                put(out, b"\"payment_id\":");
                put_uuid(out, payment_id);
                put(out, b",\"order_id\":");
                put_uuid(out, order_id);
                put_text(out, b",\"method\":", method.as_bytes());
                match provider {
                    Some(name) => put_text(out, b",\"provider\":", name.as_bytes()),
                    None => put(out, b",\"provider\":null"),
                }
                put_money(out, b",\"amount\":", total);
                match auth_code {
                    Some(code) => put_text(out, b",\"auth_code\":", &hex(code)),
                    None => put(out, b",\"auth_code\":null"),
                }
                put_money(out, b",\"subtotal\":", subtotal);
                put_money(out, b",\"tax\":", tax);
                put_money(out, b",\"tip\":", tip);
                put_money(out, b",\"total\":", total);
                put_text(out, b",\"location_code\":", code);
            }
            Payload::FeedbackSubmitted { feedback_id, order_id, customer_id, rating, nps } => {
                put(out, b"\"feedback_id\":");
                put_uuid(out, feedback_id);
                put(out, b",\"order_id\":");
                put_uuid(out, order_id);
                put(out, b",\"customer_id\":");
                put_uuid(out, customer_id);
                put(out, b",\"rating\":");
                put_number(out, u64::from(rating));
                put(out, b",\"nps\":");
                put_number(out, u64::from(nps));
                put(out, b",\"comment\":null");
                put_text(out, b",\"created_ts\":", &self.text);
            }
        }
    }
}

const TS_KEY: &[u8] = b"\",\"ts\":\"";

/// The text of an event's `ts`, found by position: every part before it has a known length.
pub fn ts_of<'a>(block: &'a [u8], entry: &Entry) -> &'a [u8] {
    let kind = EventType::ALL[usize::from(entry.event_type)].as_str().len();
    let json = usize::from(entry.json);
    // `id: N\nevent: T\ndata: ` is 4 + digits + 8 + kind + 7 bytes long.
    let digits = json - 19 - kind;
    let start = json + 10 + digits + 12 + 38 + 15 + kind + TS_KEY.len();
    &block[start..start + TIMESTAMP_LEN]
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
}

fn put_text(out: &mut Vec<u8>, key: &[u8], text: &[u8]) {
    put(out, key);
    out.push(b'"');
    put(out, text);
    out.push(b'"');
}

fn put_uuid(out: &mut Vec<u8>, id: uuid::Uuid) {
    let mut text = [b'"'; 38];
    id.hyphenated().encode_lower(&mut text[1..37]);
    put(out, &text);
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    put(out, &digits[at..]);
}

fn put_money(out: &mut Vec<u8>, key: &[u8], cents: u32) {
    put(out, key);
    put_number(out, u64::from(cents / 100));
    put(out, &[b'.', digit(cents / 10), digit(cents)]);
}

fn digit(number: u32) -> u8 {
    b'0' + (number % 10) as u8
}

fn hex(code: u32) -> [u8; 6] {
    std::array::from_fn(|i| b"0123456789ABCDEF"[(code >> (20 - 4 * i) & 15) as usize])
}

/// RFC 3339 in UTC with six fractional digits. Times of years 0 to 9999 sort as their text does.
pub fn timestamp(at: Micros) -> [u8; TIMESTAMP_LEN] {
    let days = at.div_euclid(86_400_000_000);
    let rest = at.rem_euclid(86_400_000_000) as u64;
    let (year, month, day) = civil(days);
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    let mut write = |at: usize, len: usize, mut number: u64| {
        for place in (at..at + len).rev() {
            text[place] = b'0' + (number % 10) as u8;
            number /= 10;
        }
    };
    write(0, 4, year);
    write(5, 2, month);
    write(8, 2, day);
    write(11, 2, rest / 3_600_000_000);
    write(14, 2, rest / 60_000_000 % 60);
    write(17, 2, rest / 1_000_000 % 60);
    write(20, 6, rest % 1_000_000);
    text
}

/// Days since 1970 to year, month, day, by counting 400-year eras that start on 1 March.
fn civil(days: i64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097) as u64;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era as i64 + era * 400 + i64::from(month <= 2);
    (year.max(0) as u64, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::{Settings, Simulator, State, Step};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn timestamps_read_back(at in -2_000_000_000_000_000_i64..200_000_000_000_000_000) {
            let text = String::from_utf8(timestamp(at).to_vec()).unwrap();
            let back = chrono::DateTime::parse_from_rfc3339(&text).unwrap();
            prop_assert_eq!(back.timestamp_micros(), at);
        }
    }

    #[test]
    fn every_block_is_sound_json_with_its_ts_where_it_is_looked_for() {
        let settings = Settings { seed: 3, epoch: uuid::Uuid::nil(), feedback_delay: (0, 5) };
        let mut simulator = Simulator::new(settings, State::default());
        let (mut step, mut out, mut encoder) = (Step::default(), Vec::new(), Encoder::default());
        for n in 0..300 {
            let now = 1_700_000_000_000_000 + n * 1_234_567;
            simulator.order(now, &mut step);
            simulator.feedback(now + 9, &mut step);
        }
        for (n, event) in step.events.iter().enumerate() {
            let offset = 1 + (n as u64) * 7919;
            out.clear();
            let entry = encoder.block(offset, event, &mut out);
            let head = format!("id: {offset}\nevent: {}\ndata: ", event.event_type().as_str());
            assert_eq!(usize::from(entry.json), head.len());
            assert!(out.starts_with(head.as_bytes()) && out.ends_with(b"\n\n"));
            let json: serde_json::Value =
                serde_json::from_slice(&out[head.len()..out.len() - BLOCK_TAIL]).unwrap();
            assert_eq!(json["offset"], offset);
            assert_eq!(json["ts"].as_str().unwrap().as_bytes(), ts_of(&out, &entry));
            assert!(!json["payload"].as_object().unwrap().is_empty());
        }
    }
}
