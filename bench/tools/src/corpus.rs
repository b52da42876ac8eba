//! A corpus of SSE blocks in memory, played once as it is and again and again with fresh ids.
//!
//! The first pass hands out the bytes of the file. In every later one the offsets go on, and all
//! identifiers and times move on by the length of the corpus, so that a table that receives ten
//! million events from a file of a hundred thousand grows like one that received ten million
//! different ones: keys are new and still ordered by time, and children still find their parents.

use std::io;
use std::ops::Range;

use jiff::Timestamp;
use memchr::memmem::Finder;

const TIME_LEN: usize = "2026-01-15T00:00:00.000000Z".len();
const DIGITS: &[u8; 16] = b"0123456789abcdef";
const UUID_LEN: usize = 36;
const DATA: &[u8] = b"\ndata: {\"offset\":";
/// Names in front of a time, ending where the value begins.
const TIMES: [&[u8]; 3] = [b"\"ts\":\"", b"\"order_ts\":\"", b"\"created_ts\":\""];
/// End of the name in front of an identifier.
const IDENTIFIER: &[u8] = b"_id\":\"";

enum Field {
    /// Decimal digits at the range of the block.
    Offset(Range<usize>),
    /// Where a time-ordered UUID begins; its first twelve hexadecimal digits are milliseconds.
    Millis(usize, u64),
    /// An RFC 3339 time to the microsecond.
    Time(usize, i64),
}

struct Block {
    start: usize,
    end: usize,
    fields: Range<usize>,
}

/// Blocks with the places of everything that differs from pass to pass.
pub struct Corpus {
    bytes: Vec<u8>,
    blocks: Vec<Block>,
    fields: Vec<Field>,
    span_micros: i64,
    random_ids: bool,
}

impl Corpus {
    /// Takes the bytes of a file of complete blocks with the ids 1, 2, 3 and so on.
    ///
    /// # Errors
    /// If a block lacks what the generator writes into each.
    pub fn new(bytes: Vec<u8>) -> io::Result<Self> {
        let mut corpus = Self {
            bytes,
            blocks: Vec::new(),
            fields: Vec::new(),
            span_micros: 0,
            random_ids: false,
        };
        let end_of_block = Finder::new(b"\n\n");
        let mut times = Range { start: i64::MAX, end: i64::MIN };
        let mut start = 0;
        while let Some(length) = end_of_block.find(&corpus.bytes[start..]) {
            let end = start + length + 2;
            let first = corpus.fields.len();
            let found = fields(&corpus.bytes[start..end]).ok_or_else(|| {
                io::Error::other(format!("block {} is not one of ours", corpus.blocks.len() + 1))
            })?;
            for field in &found {
                if let Field::Time(_, micros) = field {
                    times.start = times.start.min(*micros);
                    times.end = times.end.max(*micros);
                }
            }
            corpus.fields.extend(found);
            corpus.blocks.push(Block { start, end, fields: first..corpus.fields.len() });
            start = end;
        }
        if corpus.blocks.is_empty() {
            return Err(io::Error::other("the corpus holds no block"));
        }
        // Whole seconds, so that the milliseconds of identifiers and the times agree.
        corpus.span_micros = (times.end - times.start) / 1_000_000 * 1_000_000 + 2_000_000;
        // Identifiers of before the corpus are constants, such as those of the menu.
        let oldest = (times.start / 1000) as u64;
        corpus.fields.iter_mut().for_each(|field| {
            if let Field::Millis(_, millis) = field
                && *millis < oldest
            {
                *millis = u64::MAX;
            }
        });
        Ok(corpus)
    }

    /// Number of blocks in one pass, at least 1.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.blocks.len() as u64
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Gives every identifier another one that no time can be seen in, the same wherever it stands:
    /// what sources do that know no time-ordered UUIDs.
    pub fn scatter_ids(&mut self) {
        self.random_ids = true;
    }

    /// Makes every `every`-th event, or the next order item after it, one that cannot land: by
    /// turns a CHECK refuses it and a field is missing.
    pub fn spoil(&mut self, every: usize) {
        const SPOILS: [(&[u8], &[u8]); 2] =
            [(b"\"qty\":", b"\"qty\":0"), (b"\"category\":", b"\"kategory\":")];
        let mut owed = 0;
        let mut turn = 0;
        for (index, block) in self.blocks.iter().enumerate() {
            owed += usize::from(index % every == every - 1);
            let bytes = &mut self.bytes[block.start..block.end];
            let (name, wrong) = SPOILS[turn % SPOILS.len()];
            if owed > 0
                && let Some(at) = memchr::memmem::find(bytes, name)
            {
                bytes[at..at + wrong.len()].copy_from_slice(wrong);
                owed -= 1;
                turn += 1;
            }
        }
    }

    /// Appends events behind offset `after` to `out`, up to `last` and to about `room` bytes;
    /// returns the offset of the last one.
    pub fn play(&self, after: u64, last: u64, room: usize, out: &mut Vec<u8>) -> u64 {
        let full = out.len() + room;
        let mut offset = after;
        while offset < last && out.len() < full {
            let pass = offset / self.len();
            let block = &self.blocks[(offset % self.len()) as usize];
            offset += 1;
            if pass == 0 && !self.random_ids {
                out.extend_from_slice(&self.bytes[block.start..block.end]);
            } else {
                self.rewrite(block, offset, pass as i64 * self.span_micros, out);
            }
        }
        offset
    }

    fn rewrite(&self, block: &Block, offset: u64, shift_micros: i64, out: &mut Vec<u8>) {
        let bytes = &self.bytes[block.start..block.end];
        let mut done = 0;
        for field in &self.fields[block.fields.clone()] {
            match field {
                Field::Offset(range) => {
                    out.extend_from_slice(&bytes[done..range.start]);
                    out.extend_from_slice(offset.to_string().as_bytes());
                    done = range.end;
                }
                Field::Millis(_, u64::MAX) => {}
                Field::Millis(at, millis) => {
                    out.extend_from_slice(&bytes[done..*at]);
                    let start = out.len();
                    put_millis(millis + shift_micros as u64 / 1000, out);
                    done = at + 13;
                    if self.random_ids {
                        out.extend_from_slice(&bytes[done..at + UUID_LEN]);
                        done = at + UUID_LEN;
                        scatter(&mut out[start..]);
                    }
                }
                Field::Time(at, micros) => {
                    out.extend_from_slice(&bytes[done..*at]);
                    put_time(&bytes[*at..at + TIME_LEN], *micros, shift_micros, out);
                    done = at + TIME_LEN;
                }
            }
        }
        out.extend_from_slice(&bytes[done..]);
    }
}

/// The changing fields of one block in the order of their places.
fn fields(block: &[u8]) -> Option<Vec<Field>> {
    let digits = |at: usize| {
        let count = block[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        (count > 0).then_some(at..at + count)
    };
    block.starts_with(b"id: ").then_some(())?;
    let data = memchr::memmem::find(block, DATA)? + DATA.len();
    let mut found = vec![(4, Field::Offset(digits(4)?)), (data, Field::Offset(digits(data)?))];
    for name in TIMES {
        for at in memchr::memmem::find_iter(block, name) {
            let at = at + name.len();
            let text = std::str::from_utf8(block.get(at..at + TIME_LEN)?).ok()?;
            let time: Timestamp = text.parse().ok()?;
            found.push((at, Field::Time(at, time.as_microsecond())));
        }
    }
    for at in memchr::memmem::find_iter(block, IDENTIFIER) {
        let at = at + IDENTIFIER.len();
        let text = std::str::from_utf8(block.get(at..at + 13)?).ok()?;
        let millis = u64::from_str_radix(&text.replace('-', ""), 16).ok()?;
        found.push((at, Field::Millis(at, millis)));
    }
    found.sort_by_key(|(at, _)| *at);
    Some(found.into_iter().map(|(_, field)| field).collect())
}

/// Replaces a UUID by what a mixing function that loses nothing makes of it.
fn scatter(uuid: &mut [u8]) {
    const ODD: [u128; 2] =
        [0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835, 0xc2b2_ae3d_27d4_eb4f_1656_67b1_9e37_79f9];
    let digits = uuid.iter().filter_map(|byte| char::from(*byte).to_digit(16));
    let mut number = digits.fold(0, |number, digit| number << 4 | u128::from(digit));
    for odd in ODD {
        number = number.wrapping_mul(odd);
        number ^= number >> 64;
    }
    for place in uuid.iter_mut().rev().filter(|byte| **byte != b'-') {
        *place = DIGITS[(number & 15) as usize];
        number >>= 4;
    }
}

/// The first group, the hyphen and the second group of a UUID.
fn put_millis(millis: u64, out: &mut Vec<u8>) {
    for place in (0..12).rev() {
        out.push(DIGITS[(millis >> (place * 4)) as usize & 15]);
        if place == 4 {
            out.push(b'-');
        }
    }
}

/// `text` moved by whole seconds: only its hours, minutes and seconds change within a day.
fn put_time(text: &[u8], micros: i64, shift_micros: i64, out: &mut Vec<u8>) {
    const DAY: i64 = 86_400_000_000;
    let (before, after) = (micros.div_euclid(DAY), (micros + shift_micros).div_euclid(DAY));
    if before == after {
        let second = (micros + shift_micros).rem_euclid(DAY) / 1_000_000;
        out.extend_from_slice(&text[..11]);
        for (number, mark) in [(second / 3600, b':'), (second / 60 % 60, b':'), (second % 60, b'.')]
        {
            out.extend_from_slice(&[b'0' + (number / 10) as u8, b'0' + (number % 10) as u8, mark]);
        }
        out.extend_from_slice(&text[20..]);
    } else {
        let moved = Timestamp::from_microsecond(micros + shift_micros).unwrap_or_default();
        out.extend_from_slice(format!("{moved:.6}").as_bytes());
    }
}

#[cfg(test)]
mod tests;
