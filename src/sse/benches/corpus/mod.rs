//! A long feed for benches: events of the golden corpus drawn at random, with new ids, digits and
//! offsets, so that no branch predictor knows what comes and yet every run reads the same.

const GOLDEN: &str = include_str!("../../../../tests/fixtures/golden/restaurant.sse");

/// The wire bytes of `events` events, about 450 bytes each.
pub(crate) fn wire(events: usize) -> Vec<u8> {
    let golden: Vec<&str> = GOLDEN.split_terminator("\n\n").collect();
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut out = String::new();
    for offset in 1..=events {
        let block = golden[random.below(golden.len())];
        let event = line(block, "event: ");
        let data = line(block, "data: ");
        let rest = &data[data.find(",\"event_id\"").expect("an event id")..];
        out.push_str(&format!("id: {offset}\nevent: {event}\ndata: {{\"offset\":{offset}"));
        disguise(rest, &mut random, &mut out);
        out.push_str("\n\n");
    }
    out.into_bytes()
}

fn line<'a>(block: &'a str, field: &str) -> &'a str {
    block.lines().find_map(|line| line.strip_prefix(field)).expect("a field of the golden corpus")
}

/// Other random digits in uuids, other times of day and other amounts, all of the same length.
fn disguise(data: &str, random: &mut Random, out: &mut String) {
    let mut literals = data.split('"');
    let mut in_string = false;
    let mut first = true;
    for literal in &mut literals {
        if !first {
            out.push('"');
        }
        first = false;
        let bytes = literal.as_bytes();
        let is_uuid = in_string && bytes.len() == 36 && bytes[8] == b'-' && bytes[23] == b'-';
        let is_time = in_string && bytes.len() == 27 && bytes[10] == b'T';
        for (at, byte) in bytes.iter().enumerate() {
            out.push(match byte {
                b'0'..=b'9' | b'a'..=b'f' if is_uuid && at > 14 => {
                    if at == 19 {
                        'a'
                    } else {
                        char::from(b"0123456789abcdef"[random.below(16)])
                    }
                }
                b'0'..=b'9' if is_time && at > 13 => {
                    let most = if at == 14 || at == 17 { 6 } else { 10 };
                    char::from(b'0' + random.below(most) as u8)
                }
                b'1'..=b'9' if !in_string => char::from(b'1' + random.below(9) as u8),
                other => char::from(*other),
            });
        }
        in_string = !in_string;
    }
}

/// xorshift: the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }
}
